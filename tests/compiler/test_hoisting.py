"""What stands behind a moved output of a convolution goes before the moves, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.compiler.lower import lower
from secateur.compiler.network import Array, Network
from secateur.compiler.onnxfile import read_model
from secateur.compiler.passes import PASSES
from secateur.compiler.passes.hoisting import hoist
from secateur.compiler.reference import run
from secateur.format.graph import Binary, Convolution, Elementwise
from tests.compiler.models import assert_close, check, model, node, normal, whole
from tests.compiler.test_passes import passed

UP = (node("ConvTranspose", ["x", "w"], ["c"], strides=[2, 2]), {"w": normal((2, 3, 3, 3), 1)})
PIXELS = (
    [node("Conv", ["x", "w"], ["v"]), node("DepthToSpace", ["v"], ["c"], blocksize=2, mode="CRD")],
    {"w": normal((12, 2, 1, 1), 1)},
)
NORM = {f"n{index}": np.abs(normal((3,), index)) + 0.5 for index in range(4)}


def kinds(network: Network) -> set[type]:
    return {type(each) for each in network.graph.nodes}


def layer(network: Network) -> Convolution:
    (found,) = [each for each in network.graph.nodes if isinstance(each, Convolution)]
    return found


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_a_transposed_convolution_takes_in_its_normalisation_and_activation(
    pads: list[int], groups: int, bias: bool
) -> None:
    constants = {"w": normal((4, 3, 3, 2), 1)}
    channels = 3 * groups
    if bias:
        constants["b"] = normal((channels,), 2)
    norm = {f"n{index}": np.abs(normal((channels,), index)) + 0.5 for index in range(4)}
    proto = model(
        [
            node("ConvTranspose", ["x", *constants], ["c"], strides=[2, 3], pads=pads, group=groups),
            node("BatchNormalization", ["c", *norm], ["n"]),
            node("LeakyRelu", ["n"], ["y"], alpha=0.25),
        ],
        {"x": ("N", 4, 5, 4)},
        ["y"],
        constants | norm,
    )
    for batch in (1, 3):
        network = check(proto, {"x": normal((batch, 4, 5, 4), 3)})
    assert not kinds(network) & {Binary, Elementwise}
    activation = layer(network).activation
    assert activation is not None
    assert (activation.kind, activation.alpha) == ("leaky_relu", 0.25)
    zeros = np.count_nonzero(network.constants[layer(network).weight] == 0)
    assert zeros == channels * 4 // groups * (4 * 3 - 3 * 2)


def test_a_pixel_shuffle_lets_through_what_belongs_to_its_channels() -> None:
    nodes, constants = PIXELS
    proto = model(
        [*nodes, node("BatchNormalization", ["c", *NORM], ["n"]), node("Sigmoid", ["n"], ["y"])],
        {"x": ("N", 2, 4, 3)},
        ["y"],
        constants | NORM,
    )
    network = check(proto, {"x": normal((2, 2, 4, 3), 2)})
    assert not kinds(network) & {Binary, Elementwise}


STAYS = {
    "read by others, too": [node("Neg", ["c"], ["other"]), node("Relu", ["c"], ["y"])],
    "of some of the channels": [node("Slice", ["c", "0", "1", "1"], ["s"]), node("Relu", ["s"], ["y"])],
    "channels turned round": [
        node("Slice", ["c", "2", "-9", "1", "-1"], ["s"]),
        node("Mul", ["s", "channels"], ["y"]),
    ],
    "numbers of other channels are between": [
        node("DepthToSpace", ["v"], ["d"], blocksize=2),
        node("Mul", ["d", "channels"], ["y"]),
    ],
    "channels go into pixels": [node("SpaceToDepth", ["c"], ["d"], blocksize=2), node("Relu", ["d"], ["y"])],
    "channels share their numbers": [node("Reshape", ["c", "shape"], ["r"]), node("Relu", ["r"], ["y"])],
    "a factor for each row": [node("Mul", ["c", "rows"], ["y"])],
    "more numbers than before": [node("Mul", ["c", "images"], ["y"])],
    "another dimension is the second": [
        node("Transpose", ["c"], ["t"], perm=[0, 2, 1, 3]),
        node("Mul", ["t", "heights"], ["y"]),
    ],
}


@pytest.mark.parametrize("why", STAYS)
def test_what_must_stay_stays(why: str) -> None:
    nodes, constants = PIXELS
    constants = constants | {str(at): np.array([at], np.int64) for at in (-9, -1, 0, 1, 2)}
    constants |= {"rows": normal((8, 1), 3), "images": normal((1, 1, 3, 1, 1), 4)}
    constants |= {"channels": normal((3, 1, 1), 5), "heights": normal((8, 1, 1), 6)}
    constants["shape"] = np.array([0, 2, -1], np.int64)
    made = [*nodes[: 1 if "v" in STAYS[why][0].input else 2], *STAYS[why]]
    outputs = ["y", *(["other"] if any("other" in each.output for each in made) else [])]
    proto = model(made, {"x": ("N", 2, 4, 3)}, outputs, constants)
    check(proto, {"x": normal((2, 2, 4, 3), 2)})
    plain = lower(read_model(proto))
    assert hoist(plain) is plain


@st.composite
def images(draw: st.DrawFn) -> onnx.ModelProto:
    """A walk of layers, moves and functions over images; some outputs in the middle of it."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {"s": np.array([1, 1], np.int64), "e": np.array([99, 99], np.int64)}
    constants |= {"axes": np.array([2, 3], np.int64), "scales": np.float32([1, 1, 2, 1])}
    name, channels = "x", 4
    for index in range(draw(st.integers(2, 7))):
        source, name, seed = name, f"t{index}", draw(st.integers(0, 9))
        kind = draw(st.sampled_from(["up", "conv", "shuffle", "crop", "repeat", "Mul", "Add", "Div", "f"]))
        if kind == "up":
            groups = draw(st.sampled_from([1, 2]))
            constants[f"w{index}"] = normal((channels, 8 // groups, 2, 3), seed)
            made = node("ConvTranspose", [source, f"w{index}"], [name], strides=[2, 1], group=groups)
            channels = 8
        elif kind == "conv":
            constants[f"w{index}"] = normal((8, channels, 1, 1), seed)
            made, channels = node("Conv", [source, f"w{index}"], [name]), 8
        elif kind == "shuffle" and channels == 8:
            mode = draw(st.sampled_from(["CRD", "DCR"]))
            made, channels = node("DepthToSpace", [source], [name], blocksize=2, mode=mode), 2
        elif kind == "crop":
            made = node("Slice", [source, "s", "e", "axes"], [name])
        elif kind == "repeat":
            made = node("Resize", [source, "", "scales"], [name])
        elif kind in ("Mul", "Add", "Div"):
            shape = draw(st.sampled_from([(channels, 1, 1), (1, channels, 1, 1), (1,)]))
            constants[f"c{index}"] = np.abs(normal(shape, seed)) + 0.5
            names = [source, f"c{index}"] if draw(st.booleans()) or kind == "Div" else [f"c{index}", source]
            made = node(kind, names, [name])
        else:
            made = node(draw(st.sampled_from(["Relu", "Sigmoid", "Neg", "Tanh"])), [source], [name])
        nodes.append(made)
    made_names = [each.output[0] for each in nodes]
    others = draw(st.lists(st.sampled_from(made_names), max_size=2))
    return model(nodes, {"x": ("N", 4, 6, 5)}, list(dict.fromkeys([name, *others])), constants)


@settings(deadline=None, max_examples=80)
@given(images(), st.permutations(PASSES), st.sampled_from([1, 2]))
def test_no_pass_changes_what_is_computed(
    proto: onnx.ModelProto, passes: list[Callable[[Network], Network]], batch: int
) -> None:
    plain = lower(read_model(proto))
    x = {"x": normal((batch, 4, 6, 5), 1)}
    expected = run(plain, x)
    for order in (PASSES, passes):
        found = run(passed(plain, order), x)
        assert list(found) == list(expected)
        for name, array in expected.items():
            assert_close(found[name], array)


def test_hoisting_twice_changes_nothing_more() -> None:
    made, constants = UP
    proto = model(
        [made, node("Mul", ["c", "f"], ["m"]), node("Add", ["b", "m"], ["n"]), node("Relu", ["n"], ["y"])],
        {"x": ("N", 2, 4, 3)},
        ["y"],
        constants | {"f": whole((3, 1, 1), 2), "b": whole((3, 1, 1), 3)},
    )
    once = hoist(lower(read_model(proto)))
    assert hoist(once) is once
    names = [each.name for each in once.graph.nodes]
    wanted = ["m_node", "n_node", "y_node", "c_node.parted"]
    assert [name for name in names if name in wanted] == wanted
