from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest

import secateur as sc
from secateur.compiler.network import Array
from secateur.compiler.operators import OPERATORS
from secateur.compiler.reading import load_network
from secateur.errors import UnsupportedModelError
from tests.compiler.models import check, model, node, normal, whole


@dataclass(frozen=True)
class Row:
    """One operator on one shape, the first dimension open. Integers where the result is exact."""

    operator: str
    shape: tuple[int, ...] = (3, 4, 6)
    constants: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    exact: bool = False
    outputs: int = 1
    opset: int = 20
    positive: bool = False
    batched: bool = True

    def __str__(self) -> str:
        extras = "-".join(f"{key}{value}" for key, value in self.attributes.items())
        return f"{self.operator}-{self.opset}-{len(self.shape)}d-{extras}".replace(" ", "")


def _i(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def _f(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


_BN = tuple(np.abs(normal((4,), seed)) + 0.5 for seed in range(4))

ROWS = (
    Row("Abs", exact=True),
    Row("Add", constants=(whole((6,), 1),), exact=True),
    Row("Add", constants=(whole((4, 1), 1),), exact=True),
    Row("Add", constants=(whole((2, 1, 4, 1), 1),), exact=True),
    Row("AveragePool", (2, 3, 9, 8), (), {"kernel_shape": [3, 2], "strides": [2, 1]}),
    Row("AveragePool", (2, 3, 9), (), {"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1}),
    Row("AveragePool", (2, 3, 7, 7), (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Row("AveragePool", (2, 1, 6, 5, 4), (), {"kernel_shape": [3, 1, 1]}),
    Row("BatchNormalization", (2, 4, 5, 3), _BN, {"epsilon": 1e-3}),
    Row("BatchNormalization", (3, 4), _BN),
    Row("Cast", attributes={"to": 1}, exact=True),
    Row("CastLike", constants=(np.float32(0),), exact=True),
    Row("Celu", attributes={"alpha": 2.0}),
    Row("Clip", constants=(np.float32(-1), np.float32(2)), exact=True),
    Row("Clip", constants=(np.float32(0),), exact=True),
    Row("Clip", constants=(np.float32(3), np.float32(-3)), exact=True),
    Row("Clip", attributes={"min": -1.0, "max": 1.0}, opset=10, exact=True),
    Row("Clip", attributes={"max": 1.0}, opset=7, exact=True),
    Row("Concat", constants=(whole((3, 2, 6), 2),), attributes={"axis": -2}, exact=True, batched=False),
    Row("Conv", (2, 4, 7, 6), (whole((6, 2, 3, 2), 1), whole((6,), 2)), {"group": 2}, exact=True),
    Row("ConvTranspose", (2, 4, 5), (whole((4, 3, 4), 1),), {"strides": [2], "pads": [1, 1]}, exact=True),
    Row(
        "ConvTranspose",
        (2, 4, 3, 5),
        (whole((4, 3, 3, 2), 1), whole((6,), 2)),
        {"group": 2, "strides": [3, 1], "output_padding": [2, 0], "pads": [1, 0, 0, 2], "dilations": [2, 3]},
        exact=True,
    ),
    Row("DepthToSpace", (2, 8, 3, 2), (), {"blocksize": 2}, exact=True),
    Row("DepthToSpace", (2, 8, 3, 2), (), {"blocksize": 2, "mode": "CRD"}, exact=True),
    Row("Div", constants=(np.array([1, 2, 4, 8, 0.5, 0.25], np.float32),), exact=True),
    Row("Dropout", constants=(np.float32(0.5),), exact=True),
    Row("Dropout", attributes={"ratio": 0.3}, opset=10, exact=True),
    Row("Elu", attributes={"alpha": 1.5}),
    Row("Erf"),
    Row("Exp"),
    Row("Expand", (3, 1, 6), (_i(1, 4, 6),), exact=True),
    Row("Flatten", attributes={"axis": 2}, exact=True),
    Row("Flatten", attributes={"axis": -1}, exact=True),
    Row("Gather", constants=(_i(3, 0, -1, 0),), attributes={"axis": 1}, exact=True),
    Row("Gather", constants=(np.array(-2, np.int64),), attributes={"axis": 2}, exact=True),
    Row("Gather", constants=(np.array([[1, 0], [2, 3]], np.int64),), attributes={"axis": 2}, exact=True),
    Row("Gelu"),
    Row("Gelu", attributes={"approximate": "tanh"}),
    Row("Gemm", (3, 5), (whole((5, 4), 1), whole((4,), 2)), exact=True),
    Row("Gemm", (3, 5), (whole((4, 5), 1), whole((1, 4), 2)), {"transB": 1, "alpha": 2.0}, exact=True),
    Row("Gemm", (3, 5), (whole((5, 4), 1), whole((1, 1), 2)), {"beta": 3.0}, exact=True),
    Row("Gemm", (3, 5), (whole((5, 4), 1), np.float32(7)), exact=True),
    Row("Gemm", (3, 5), (whole((5, 4), 1), whole((4,), 1)), {"beta": 0.0}, exact=True),
    Row("Gemm", (3, 5), (whole((5, 4), 1),), exact=True),
    Row("GlobalAveragePool", (2, 3, 4, 5)),
    Row("GlobalAveragePool", (2, 3, 4)),
    Row("GlobalMaxPool", (2, 3, 4, 5), exact=True),
    Row("GroupNormalization", (2, 6, 3, 2), (normal((6,), 1), normal((6,), 2)), {"num_groups": 3}, opset=21),
    Row("HardSigmoid", attributes={"alpha": 0.3, "beta": 0.4}),
    Row("HardSwish"),
    Row("Identity", exact=True),
    Row("InstanceNormalization", (2, 4, 5, 3), (normal((4,), 1), normal((4,), 2))),
    Row("LRN", (2, 7, 3, 2), (), {"size": 5, "alpha": 0.1, "beta": 0.75, "bias": 2.0}),
    Row("LRN", (2, 7, 3, 2), (), {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 1.0}),
    Row("LayerNormalization", constants=(normal((6,), 1), normal((6,), 2))),
    Row("LayerNormalization", constants=(normal((4, 6), 1),), attributes={"axis": 1, "epsilon": 0.01}),
    Row("LeakyRelu", attributes={"alpha": 0.25}, exact=True),
    Row("MatMul", (3, 4, 5), (whole((5, 2), 1),), exact=True),
    Row("MatMul", (3, 4, 5), (whole((5,), 1),), exact=True),
    Row("MatMul", (3, 4, 5), (whole((3, 5, 2), 1),), exact=True, batched=False),
    Row("Max", constants=(whole((6,), 1), whole((4, 1), 2)), exact=True),
    Row(
        "MaxPool",
        (2, 3, 9, 8),
        (),
        {"kernel_shape": [3, 2], "strides": [2, 3], "dilations": [2, 1]},
        exact=True,
    ),
    Row("MaxPool", (2, 3, 8), (), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}, exact=True),
    Row("MaxPool", (2, 3, 8, 7), (), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}, exact=True),
    Row(
        "MaxPool",
        (2, 3, 8, 7),
        (),
        {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]},
        exact=True,
    ),
    Row("Mean", constants=(whole((6,), 1),), exact=True),
    Row("Min", constants=(whole((6,), 1),), exact=True),
    Row("Min", exact=True),
    Row("Mul", constants=(whole((1, 1, 6), 1),), exact=True),
    Row("Neg", exact=True),
    Row("PRelu", constants=(np.array([[0.5], [0.25], [2.0], [0.0]], np.float32),), exact=True),
    Row("PRelu", constants=(np.array([0.25], np.float32),), exact=True),
    Row("Pad", constants=(_i(0, 1, 2, 0, 0, 1),), exact=True),
    Row("Pad", constants=(_i(0, 1, 0, 0, 2, 0), np.float32(7)), exact=True),
    Row("Pad", constants=(_i(0, 1, 2, 0, 3, 1),), attributes={"mode": "reflect"}, exact=True),
    Row("Pad", constants=(_i(0, 1, 2, 0, 5, 1),), attributes={"mode": "edge"}, exact=True),
    Row("Pad", constants=(_i(0, -1, 2, 0, -1, -3),), exact=True),
    Row("Pad", attributes={"pads": [0, 1, 0, 0, 0, 2], "value": 3.0}, opset=10, exact=True),
    Row("Pow", constants=(np.float32(2),), exact=True),
    Row("Pow", constants=(np.float32(1),), exact=True),
    Row("Pow", constants=(np.float32(0.5),), positive=True),
    Row("Pow", constants=(np.array([3], np.int64),), exact=True),
    Row("Pow", constants=(normal((6,), 1),), positive=True),
    Row("RMSNormalization", constants=(normal((6,), 1),), opset=23),
    Row("Reciprocal", positive=True),
    Row("ReduceL1", constants=(_i(1),), attributes={"keepdims": 0}, exact=True),
    Row("ReduceL2", constants=(_i(-1, 1),)),
    Row("ReduceMax", constants=(_i(1, 2),), exact=True),
    Row("ReduceMax", attributes={"axes": [-1], "keepdims": 0}, opset=13, exact=True),
    Row("ReduceMean", constants=(_i(2),)),
    Row("ReduceMean", attributes={"axes": [1, 2]}, opset=13),
    Row("ReduceMin", constants=(_i(2),), exact=True),
    Row("ReduceSum", constants=(_i(1),), exact=True),
    Row("ReduceSum", attributes={"axes": [2], "keepdims": 0}, opset=11, exact=True),
    Row("ReduceSum", attributes={"noop_with_empty_axes": 1}, exact=True),
    Row("ReduceSumSquare", constants=(_i(1, 2),), attributes={"keepdims": 0}, exact=True),
    Row("Relu", exact=True),
    Row("Reshape", constants=(_i(-1, 8, 3),), exact=True),
    Row("Reshape", constants=(_i(0, -1),), exact=True),
    Row("Resize", (2, 3, 4, 5), (_f(), _f(1, 1, 2, 3)), exact=True),
    Row("Resize", (2, 3, 4, 5), (_f(), _f(1, 1, 2, 3)), {"mode": "linear"}),
    Row(
        "Resize",
        (2, 3, 4, 5),
        (_f(1, 1, 2, 3),),
        opset=10,
        exact=True,
    ),
    Row("Selu"),
    Row("Sigmoid"),
    Row("Slice", constants=(_i(1, -3), _i(4, 100), _i(1, 2)), exact=True),
    Row("Slice", constants=(_i(-1, 5), _i(-100, 0), _i(1, 2), _i(-1, -2)), exact=True),
    Row("Slice", attributes={"starts": [0, 2], "ends": [2**31 - 1, 4], "axes": [0, 2]}, opset=9, exact=True),
    Row("LogSoftmax", attributes={"axis": 1}),
    Row("LogSoftmax", attributes={"axis": 1}, opset=11),
    Row("Softmax", attributes={"axis": 1}),
    Row("Softmax", attributes={"axis": 1}, opset=11),
    Row("Softsign", exact=False),
    Row("SpaceToDepth", (2, 3, 4, 6), (), {"blocksize": 2}, exact=True),
    Row("Split", constants=(_i(1, 2, 3),), attributes={"axis": 2}, outputs=3, exact=True),
    Row("Split", attributes={"axis": 2, "num_outputs": 4}, outputs=4, exact=True, shape=(3, 4, 7)),
    Row("Split", attributes={"axis": -1, "split": [4, 2]}, outputs=2, opset=11, exact=True),
    Row("Sqrt", positive=True),
    Row("Squeeze", (3, 1, 6, 1), (_i(1, -1),), exact=True),
    Row("Squeeze", (3, 1, 6), (), {"axes": [1]}, opset=11, exact=True),
    Row("Sub", constants=(whole((4, 6), 1),), exact=True),
    Row("Sum", constants=(whole((4, 6), 1), whole((6,), 2)), exact=True),
    Row("Tanh"),
    Row("Tile", constants=(_i(1, 2, 3),), exact=True),
    Row("Transpose", attributes={"perm": [2, 0, 1]}, exact=True),
    Row("Transpose", exact=True),
    Row("Unsqueeze", constants=(_i(1, -1),), exact=True),
    Row("Unsqueeze", attributes={"axes": [0, 3]}, opset=11, exact=True),
    Row("Upsample", (2, 3, 4, 5), (_f(1, 1, 3, 1),), opset=9, exact=True),
    Row("Upsample", (2, 3, 4, 5), (), {"scales": [1.0, 1.0, 2.0, 2.0]}, opset=7, exact=True),
)

# ONNX Runtime does not know this one yet; onnx's own cases cover it (test_onnx_cases.py).
ELSEWHERE = {"Swish"}


def test_every_operator_has_a_row() -> None:
    assert {row.operator for row in ROWS} | ELSEWHERE == set(OPERATORS)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_operator_is_what_onnx_runtime_says(row: Row) -> None:
    names = [f"c{index}" for index in range(len(row.constants))]
    outputs = [f"y{index}" for index in range(row.outputs)]
    proto = model(
        [node(row.operator, ["x", *names], outputs, **row.attributes)],
        {"x": ("N" if row.batched else row.shape[0], *row.shape[1:])},
        outputs,
        dict(zip(names, row.constants, strict=True)),
        row.opset,
    )
    x = whole(row.shape, 5) if row.exact else normal(row.shape, 5)
    check(proto, {"x": np.abs(x) + 0.5 if row.positive else x}, exact=row.exact)


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Max", "Min", "Sum"])
def test_two_values_broadcast(operator: str) -> None:
    proto = model([node(operator, ["a", "b"], ["y"])], {"a": ("N", 1, 6), "b": ("N", 4, 1)}, ["y"])
    check(proto, {"a": whole((3, 1, 6), 1), "b": whole((3, 4, 1), 2)}, exact=True)


def test_a_constant_on_the_left() -> None:
    for operator in ("Sub", "Div", "Pow"):
        proto = model(
            [node(operator, ["c", "x"], ["y"])], {"x": ("N", 4)}, ["y"], {"c": whole((4,), 1, 1, 4)}
        )
        check(proto, {"x": whole((3, 4), 2, 1, 3)})


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("N", 3, 4), ("N", 4, 5)),
        ((3, 4), ("N", 4, 5)),
        ((4,), ("N", 4, 5)),
        (("N", 3, 4), (4,)),
        (("N", 2, 3, 4), ("N", 1, 4, 5)),
    ],
)
def test_the_product_of_two_values(left: Any, right: Any) -> None:
    proto = model([node("MatMul", ["a", "b"], ["y"])], {"a": left, "b": right}, ["y"])
    sizes = [[2 if dim == "N" else dim for dim in shape] for shape in (left, right)]
    check(proto, {"a": whole(sizes[0], 1), "b": whole(sizes[1], 2)}, exact=True)


def test_a_product_with_a_constant_on_the_left() -> None:
    proto = model([node("MatMul", ["c", "x"], ["y"])], {"x": ("N", 4, 5)}, ["y"], {"c": whole((2, 4), 1)})
    check(proto, {"x": whole((3, 4, 5), 2)}, exact=True)


@pytest.mark.parametrize("attributes", [{}, {"transA": 1}, {"transB": 1}, {"alpha": 2.0, "beta": 0.5}])
def test_gemm_of_two_values_and_a_third(attributes: dict[str, Any]) -> None:
    a = (5, 3) if attributes.get("transA") else (3, 5)
    b = (4, 5) if attributes.get("transB") else (5, 4)
    proto = model([node("Gemm", ["a", "b", "c"], ["y"], **attributes)], {"a": a, "b": b, "c": (3, 4)}, ["y"])
    check(proto, {"a": whole(a, 1), "b": whole(b, 2), "c": whole((3, 4), 3)}, exact=True)


def test_gemm_with_a_constant_on_the_left_and_a_bias() -> None:
    proto = model(
        [node("Gemm", ["a", "x", "c"], ["y"], transA=1, alpha=2.0)],
        {"x": (5, 4)},
        ["y"],
        {"a": whole((5, 3), 1), "c": whole((4,), 2)},
    )
    check(proto, {"x": whole((5, 4), 3)}, exact=True)


def test_indices_that_the_caller_gives() -> None:
    proto = model(
        [node("Gather", ["table", "words"], ["y"])],
        {"words": ("N", 3)},
        ["y"],
        {"table": normal((7, 4))},
        types={"words": "int64"},
    )
    check(proto, {"words": np.array([[0, 6, -1], [3, 3, -7]], np.int64)})


@pytest.mark.parametrize(
    "moving",
    [
        node("Transpose", ["words"], ["moved"], perm=[1, 0]),
        node("Tile", ["words", "twice"], ["moved"]),
        node("Slice", ["words", "one", "twice", "one"], ["moved"]),
    ],
    ids=lambda each: each.op_type,
)
def test_indices_that_are_moved_are_refused(moving: onnx.NodeProto) -> None:
    constants = {
        "table": normal((7, 4)),
        "twice": _i(1, 2) if moving.op_type == "Tile" else _i(2),
        "one": _i(1),
    }
    used = {name: constants[name] for name in {"table", *moving.input[1:]}}
    proto = model(
        [moving, node("Gather", ["table", "moved"], ["y"])],
        {"words": ("N", 3)},
        ["y"],
        used,
        types={"words": "int64"},
    )
    with pytest.raises(UnsupportedModelError, match=r"moves or computes with 'words', which is int64"):
        sc.compile(proto, measure=False)


@pytest.mark.parametrize("shape", [(-1, 3), (-1,), (-1, 1, 3), (-1, 3, 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_indices_may_be_reshaped(shape: tuple[int, ...], axis: int) -> None:
    proto = model(
        [
            node("Flatten", ["words"], ["same"]),
            node("Reshape", ["same", "shape"], ["shaped"]),
            node("Gather", ["table", "shaped"], ["y"], axis=axis),
        ],
        {"words": ("N", 3)},
        ["y"],
        {"table": normal((7, 7)), "shape": _i(*shape)},
        types={"words": "int64"},
    )
    check(proto, {"words": np.array([[0, 6, -1], [3, 3, -7], [1, 2, 4]], np.int64)})


_ENDLESS = 2**31 - 1


def _slice_of_the_batch(start: int, end: int) -> onnx.ModelProto:
    return model(
        [node("Slice", ["x", "start", "end"], ["y"])],
        {"x": ("N", 4)},
        ["y"],
        {"start": _i(start), "end": _i(end)},
    )


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 7),
        (0, 100),
        (-7, 2**40),
        (-7, _ENDLESS),
        (0, _ENDLESS - 1),
        (-(2**30), _ENDLESS),
        (0, -1),
        (1, _ENDLESS),
    ],
)
def test_a_part_of_the_batch_is_refused(start: int, end: int) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"it takes a part of the batch|a dimension of its output"
    ):
        load_network(_slice_of_the_batch(start, end))


@pytest.mark.parametrize("start", [0, -_ENDLESS, -(2**63)])
@pytest.mark.parametrize("end", [_ENDLESS, 2**31, 2**63 - 1])
def test_all_of_the_batch_is_taken_by_an_end_that_no_batch_reaches(start: int, end: int) -> None:
    check(_slice_of_the_batch(start, end), {"x": whole((12, 4))}, exact=True)


def test_all_of_the_batch_is_taken_by_its_own_size() -> None:
    proto = model(
        [node("Shape", ["x"], ["n"], start=0, end=1), node("Slice", ["x", "zero", "n", "zero"], ["y"])],
        {"x": ("N", 4)},
        ["y"],
        {"zero": _i(0)},
    )
    check(proto, {"x": whole((12, 4))}, exact=True)


def test_the_message_says_which_part_of_the_batch() -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=r"node 'y_node' \(Slice\): it takes a part of the batch: from 0 to 2147483646 by 1, along "
        "axis 0; supported: parts of other dimensions, and all of the batch",
    ):
        load_network(_slice_of_the_batch(0, _ENDLESS - 1))


def test_limits_that_are_computed() -> None:
    proto = model(
        [node("ReduceMin", ["a"], ["low"], keepdims=0), node("Clip", ["x", "low", "high"], ["y"])],
        {"x": ("N", 4), "a": (3,)},
        ["y"],
        {"high": np.float32(2)},
    )
    check(proto, {"x": whole((3, 4), 1), "a": whole((3,), 2)}, exact=True)


def test_statistics_of_a_layer_norm() -> None:
    proto = model(
        [node("LayerNormalization", ["x", "s"], ["y", "mean", "deviation"])],
        {"x": ("N", 3, 6)},
        ["y", "mean", "deviation"],
        {"s": normal((6,), 1)},
    )
    check(proto, {"x": normal((2, 3, 6), 2)})


def test_a_layer_norm_with_a_computed_scale() -> None:
    proto = model(
        [node("LayerNormalization", ["x", "s", "b"], ["y"])],
        {"x": ("N", 3, 6), "s": (6,), "b": (6,)},
        ["y"],
    )
    check(proto, {"x": normal((2, 3, 6), 1), "s": normal((6,), 2), "b": normal((6,), 3)})
