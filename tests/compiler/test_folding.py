"""Numbers that depend on the batch, and how far they are followed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from secateur.compiler.reading import load_network
from secateur.errors import UnsupportedModelError
from secateur.format.graph import Expand
from tests.compiler.models import check, model, node, whole

# What the batch is, as one number and as a list of one.
_SIZES = [node("Shape", ["x"], ["n"], start=0, end=1), node("Squeeze", ["n"], ["m"])]


def _limited(operator: str, limit: int) -> onnx.ModelProto:
    return model(
        [
            *_SIZES,
            node(operator, ["n", "limit"], ["k"]),
            node("Slice", ["x", "zero", "k"], ["y"]),
        ],
        {"x": ("N", 4)},
        ["y"],
        {"limit": np.array([limit], np.int64), "zero": np.array([0], np.int64)},
    )


@pytest.mark.parametrize("limit", [8, 100, 20_000, 10_000_000])
@pytest.mark.parametrize("operator", ["Min", "Mod"])
def test_a_limit_beyond_the_small_batches_is_seen(operator: str, limit: int) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"node 'y_node' \(Slice\): a dimension of its output 'y' is"
    ):
        load_network(_limited(operator, limit))


def test_a_number_that_a_large_batch_changes_is_refused() -> None:
    proto = model(
        [
            *_SIZES,
            node("Greater", ["m", "eight"], ["g"]),
            node("Where", ["g", "two", "three"], ["w"]),
            node("Mul", ["x", "w"], ["y"]),
        ],
        {"x": ("N", 4)},
        ["y"],
        {"eight": np.array(8, np.int64), "two": np.float32(2), "three": np.float32(3)},
    )
    with pytest.raises(UnsupportedModelError, match="the numbers in 'w' depend on the batch size"):
        load_network(proto)


def _repeated(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    # A table for every row of the batch, of more numbers than are computed for thousands of rows.
    return model(
        [
            *_SIZES,
            node("Concat", ["n", "rest"], ["t"], axis=0),
            node("Expand", ["table", "t"], ["e"]),
            *nodes,
        ],
        {"x": ("N", 40, 50)},
        ["y"],
        {
            "rest": np.array([40, 50], np.int64),
            "table": whole((40, 50), 1),
            "one": np.float32(1),
            "eight": np.array(8, np.int64),
            "zero": np.array([0], np.int64),
            "limit": np.array([100], np.int64),
            "large": np.float32(1000),
        },
    )


def test_a_large_constant_repeated_along_the_batch_is_kept_once() -> None:
    proto = _repeated(
        [
            node("Mul", ["e", "e"], ["squares"]),
            node("Transpose", ["squares"], ["turned"], perm=[0, 2, 1]),
            node("Transpose", ["turned"], ["back"], perm=[0, 2, 1]),
            node("Concat", ["back", "x"], ["y"], axis=1),
        ]
    )
    network = check(proto, {"x": whole((3, 40, 50))}, exact=True)
    assert [array.shape for array in network.constants.values()] == [(1, 40, 50)]
    assert isinstance(network.graph.nodes[0], Expand)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Slice", ["e", "zero", "limit"], ["part"]), node("Mul", ["x", "part"], ["y"])],
        [
            node("Cast", ["m"], ["f"], to=1),
            node("Max", ["f", "large"], ["most"]),
            node("Add", ["e", "most"], ["sum"]),
            node("Mul", ["x", "sum"], ["y"]),
        ],
        [
            node("Greater", ["m", "eight"], ["g"]),
            node("Where", ["g", "e", "one"], ["w"]),
            node("Mul", ["x", "w"], ["y"]),
        ],
        [node("ReduceSum", ["e"], ["sum"], keepdims=0), node("Mul", ["x", "sum"], ["y"])],
    ],
    ids=["slice", "number", "choice", "sum"],
)
def test_a_large_constant_that_depends_on_the_batch_is_refused(nodes: list[onnx.NodeProto]) -> None:
    with pytest.raises(UnsupportedModelError, match="depend on the batch size"):
        load_network(_repeated(nodes))


def test_the_shape_of_a_large_constant_is_known() -> None:
    proto = _repeated(
        [
            node("Shape", ["e"], ["s"], start=0, end=1),
            node("Concat", ["s", "rows"], ["u"], axis=0),
            node("Reshape", ["x", "u"], ["y"]),
        ]
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2000], np.int64), "rows"))
    check(proto, {"x": whole((3, 40, 50))}, exact=True)
