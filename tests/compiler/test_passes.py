"""Passes: what each does to a graph, and that none changes the function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.compiler.lower import lower
from secateur.compiler.network import Network
from secateur.compiler.onnxfile import read_model
from secateur.compiler.passes import PASSES, optimise
from secateur.compiler.passes.cleaning import drop_dead, drop_identities, share_constants
from secateur.compiler.passes.layers import fold_affine
from secateur.compiler.reference import run
from secateur.format.graph import (
    Activation,
    Binary,
    Convolution,
    Elementwise,
    Expand,
    LayerNorm,
    Linear,
    Node,
    Pool,
    Reshape,
    Transpose,
    reads,
)
from tests.compiler.models import check, model, node, normal, whole

Step = tuple[str, str, float | None]


def scalar(number: float) -> np.ndarray:
    return np.array(number, np.float32)


def only(proto: onnx.ModelProto, **arrays: np.ndarray) -> Node:
    network = check(proto, arrays)
    (made,) = network.graph.nodes
    return made


def formula(steps: Sequence[tuple[str, str, str | float | None]]) -> onnx.ModelProto:
    """A model of one input x: (operator, left, right) by number or name; step k makes tk, the last y."""
    constants: dict[str, np.ndarray] = {}
    nodes = []
    for index, (operator, left, right) in enumerate(steps):
        names = [left]
        if isinstance(right, str):
            names.append(right)
        elif right is not None:
            constants[f"c{index}"] = scalar(right)
            names.append(f"c{index}")
        nodes.append(node(operator, names, ["y" if index == len(steps) - 1 else f"t{index}"]))
    return model(nodes, {"x": ("N", 6)}, ["y"], constants)


SQRT_HALF, TWO_OVER_PI = math.sqrt(0.5), math.sqrt(2 / math.pi)
# How torch, TensorFlow and people write them.
FUNCTIONS: dict[str, tuple[Activation, list[tuple[str, str, str | float | None]]]] = {
    "gelu, divided": (
        Activation("gelu"),
        [
            ("Div", "x", math.sqrt(2)),
            ("Erf", "t0", None),
            ("Add", "t1", 1.0),
            ("Mul", "x", "t2"),
            ("Mul", "t3", 0.5),
        ],
    ),
    "gelu, half first": (
        Activation("gelu"),
        [
            ("Mul", "x", 0.5),
            ("Mul", "x", SQRT_HALF),
            ("Erf", "t1", None),
            ("Add", "t2", 1.0),
            ("Mul", "t0", "t3"),
        ],
    ),
    "gelu, half in the middle": (
        Activation("gelu"),
        [
            ("Div", "x", 1.41421),
            ("Erf", "t0", None),
            ("Add", "t1", 1.0),
            ("Mul", "t2", 0.5),
            ("Mul", "t3", "x"),
        ],
    ),
    "gelu by tanh, power": (
        Activation("gelu_tanh"),
        [
            ("Pow", "x", 3.0),
            ("Mul", "t0", 0.044715),
            ("Add", "x", "t1"),
            ("Mul", "t2", TWO_OVER_PI),
            ("Tanh", "t3", None),
            ("Add", "t4", 1.0),
            ("Mul", "x", "t5"),
            ("Mul", "t6", 0.5),
        ],
    ),
    "gelu by tanh, products": (
        Activation("gelu_tanh"),
        [
            ("Mul", "x", "x"),
            ("Mul", "x", "t0"),
            ("Mul", "t1", 0.044715),
            ("Add", "t2", "x"),
            ("Mul", "t3", TWO_OVER_PI),
            ("Tanh", "t4", None),
            ("Add", "t5", 1.0),
            ("Mul", "x", 0.5),
            ("Mul", "t7", "t6"),
        ],
    ),
    "swish": (Activation("swish"), [("Sigmoid", "x", None), ("Mul", "x", "t0")]),
    "swish, turned": (Activation("swish"), [("Sigmoid", "x", None), ("Mul", "t0", "x")]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_put_together_again(name: str) -> None:
    expected, steps = FUNCTIONS[name]
    made = only(formula(steps), x=normal((3, 6)))
    assert isinstance(made, Elementwise)
    assert made.activation == expected


@pytest.mark.parametrize(
    "steps",
    [
        [("Sigmoid", "x", None), ("Mul", "t0", "t0")],
        [("Neg", "x", None), ("Sigmoid", "t0", None), ("Mul", "x", "t1")],
        [("Sigmoid", "x", None), ("Mul", "x", "t0"), ("Mul", "t1", 2.0)],
        [("Div", "x", 1.5), ("Erf", "t0", None), ("Add", "t1", 1.0), ("Mul", "x", "t2"), ("Mul", "t3", 0.5)],
        [
            ("Div", "x", 1.41421),
            ("Erf", "t0", None),
            ("Add", "t1", 2.0),
            ("Mul", "x", "t2"),
            ("Mul", "t3", 0.5),
        ],
        [("Abs", "x", None), ("Erf", "x", None), ("Add", "t1", 1.0), ("Mul", "t0", "t2"), ("Mul", "t3", 0.5)],
    ],
)
def test_what_only_resembles_a_function_stays_right(steps: list[tuple[str, str, str | float | None]]) -> None:
    check(formula(steps), {"x": normal((3, 6))})


def _hard(order: str) -> onnx.ModelProto:
    constants = {"three": scalar(3), "six": scalar(6), "zero": scalar(0), "sixth": scalar(1 / 6)}
    nodes = [node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["b"])]
    match order:
        case "sigmoid":
            nodes.append(node("Div", ["b", "six"], ["y"]))
        case "swish, divided last":
            nodes += [node("Mul", ["x", "b"], ["c"]), node("Div", ["c", "six"], ["y"])]
        case "swish, divided first":
            nodes += [node("Div", ["b", "six"], ["c"]), node("Mul", ["x", "c"], ["y"])]
        case _:
            nodes += [node("Mul", ["b", "sixth"], ["c"]), node("Mul", ["c", "x"], ["y"])]
    return model(nodes, {"x": ("N", 6)}, ["y"], constants)


@pytest.mark.parametrize(
    "order", ["sigmoid", "swish, divided last", "swish, divided first", "swish, multiplied"]
)
def test_hard_functions(order: str) -> None:
    made = only(_hard(order), x=3 * normal((3, 6)))
    assert isinstance(made, Elementwise)
    assert made.activation.kind == ("hard_sigmoid" if order == "sigmoid" else "hard_swish")


@pytest.mark.parametrize("square", ["power", "product"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("twice", [True, False])
def test_layer_norms_are_put_together_again(square: str, affine: bool, twice: bool) -> None:
    nodes = [
        node("ReduceMean", ["x", "axes"], ["mean"]),
        node("Sub", ["x", "mean"], ["d"]),
        node("Sub", ["x", "mean"], ["e"]),
        node("Pow", ["e" if twice else "d", "two"], ["s"])
        if square == "power"
        else node("Mul", ["d", "d"], ["s"]),
        node("ReduceMean", ["s", "axes"], ["v"]),
        node("Add", ["v", "eps"], ["w"]),
        node("Sqrt", ["w"], ["r"]),
        node("Div", ["d", "r"], ["n" if affine else "y"]),
    ]
    if affine:
        nodes += [node("Mul", ["n", "g"], ["m"]), node("Add", ["m", "b"], ["y"])]
    proto = model(
        nodes,
        {"x": ("N", 4, 6)},
        ["y"],
        {
            "axes": np.array([-1], np.int64),
            "two": scalar(2),
            "eps": scalar(1e-3),
            "g": normal((6,), 1),
            "b": normal((6,), 2),
        },
    )
    made = only(proto, x=normal((3, 4, 6)))
    assert isinstance(made, LayerNorm)
    assert (made.axis, made.scale is None, made.bias is None) == (2, not affine, not affine)


def _layer(kind: str) -> tuple[onnx.NodeProto, tuple[int, ...], dict[str, np.ndarray], tuple[int, ...]]:
    if kind == "Conv":
        return node("Conv", ["x", "w"], ["z"]), (3, 6, 5), {"w": whole((4, 3, 3, 3), 1)}, (4, 1, 1)
    return node("MatMul", ["x", "w"], ["z"]), (7, 5), {"w": whole((5, 4), 1)}, (4,)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["Conv", "MatMul"]),
    st.lists(
        st.tuples(st.sampled_from(["Add", "Sub", "Mul", "Div"]), st.booleans(), st.booleans()), max_size=4
    ),
    st.integers(0, 99),
)
def test_factors_and_shifts_go_into_the_layer(
    kind: str, steps: list[tuple[str, bool, bool]], seed: int
) -> None:
    layer, shape, constants, channels = _layer(kind)
    nodes, name = [layer], "z"
    for index, (operator, wide, left) in enumerate(steps):
        # Powers of two: folding them is exact.
        powers = np.random.default_rng(seed + index).integers(-1, 3, channels if wide else ())
        constants[f"c{index}"] = np.asarray(2.0**powers, np.float32)
        turned = left and operator != "Div"
        nodes.append(node(operator, [f"c{index}", name] if turned else [name, f"c{index}"], [f"t{index}"]))
        name = f"t{index}"
    nodes.append(node("Relu", [name], ["y"]))
    network = check(
        model(nodes, {"x": ("N", *shape)}, ["y"], constants), {"x": whole((2, *shape), 3)}, exact=True
    )
    (made,) = network.graph.nodes
    assert isinstance(made, Convolution | Linear)
    assert made.activation == Activation("relu")


def test_a_weight_that_two_layers_share_is_not_scaled_for_both() -> None:
    proto = model(
        [
            node("Gemm", ["x", "w"], ["a"]),
            node("Mul", ["a", "two"], ["b"]),
            node("Gemm", ["b", "w"], ["y"]),
        ],
        {"x": ("N", 4)},
        ["y"],
        {"w": whole((4, 4), 1), "two": scalar(2)},
    )
    network = check(proto, {"x": whole((3, 4), 2)}, exact=True)
    assert len(network.constants) >= 2
    assert len(network.graph.nodes) == 2


def test_what_others_read_is_not_folded() -> None:
    proto = model(
        [node("Gemm", ["x", "w"], ["z"]), node("Mul", ["z", "two"], ["y"])],
        {"x": ("N", 4)},
        ["y", "z"],
        {"w": whole((4, 3), 1), "two": scalar(2)},
    )
    network = check(proto, {"x": whole((3, 4), 2)}, exact=True)
    assert [type(made) for made in network.graph.nodes] == [Linear, Binary]


def test_a_division_by_zero_is_not_folded() -> None:
    proto = model(
        [node("Gemm", ["x", "w"], ["z"]), node("Div", ["z", "zero"], ["y"])],
        {"x": ("N", 4)},
        ["y"],
        {"w": whole((4, 3), 1), "zero": scalar(0)},
    )
    plain = lower(read_model(proto))
    assert fold_affine(plain).graph.nodes == plain.graph.nodes


def test_zeros_of_a_pruned_weight_stay_zeros() -> None:
    weight = whole((6, 3, 3, 3), 1)
    weight[np.random.default_rng(0).random(weight.shape) < 0.9] = 0
    proto = model(
        [
            node("Conv", ["x", "w"], ["z"]),
            node("BatchNormalization", ["z", "g", "b", "m", "v"], ["y"]),
        ],
        {"x": ("N", 3, 5, 5)},
        ["y"],
        {
            "w": weight,
            "g": normal((6,), 1),
            "b": normal((6,), 2),
            "m": normal((6,), 3),
            "v": np.abs(normal((6,), 4)) + 0.1,
        },
    )
    network = check(proto, {"x": normal((2, 3, 5, 5))})
    (layer,) = network.graph.nodes
    assert isinstance(layer, Convolution)
    np.testing.assert_array_equal(network.constants[layer.weight] == 0, weight == 0)


def test_two_layers_and_their_sum() -> None:
    proto = model(
        [
            node("Gemm", ["x", "v"], ["a"]),
            node("Gemm", ["x", "w"], ["b"]),
            node("Add", ["b", "a"], ["s"]),
            node("Relu", ["s"], ["y"]),
        ],
        {"x": ("N", 4)},
        ["y"],
        {"v": whole((4, 3), 1), "w": whole((4, 3), 2)},
    )
    network = check(proto, {"x": whole((3, 4), 3)}, exact=True)
    first, second = network.graph.nodes
    assert isinstance(first, Linear)
    assert isinstance(second, Linear)
    assert (second.residual, second.activation) == (first.output, Activation("relu"))


def test_an_activated_layer_takes_no_residual() -> None:
    proto = model(
        [node("Gemm", ["x", "w"], ["a"]), node("Relu", ["a"], ["r"]), node("Add", ["r", "x"], ["y"])],
        {"x": ("N", 4)},
        ["y"],
        {"w": whole((4, 4), 1)},
    )
    network = check(proto, {"x": whole((3, 4), 3)}, exact=True)
    assert [type(made) for made in network.graph.nodes] == [Linear, Binary]


@pytest.mark.parametrize(
    ("operator", "moves"), [("Relu", True), ("Sigmoid", True), ("Tanh", True), ("Neg", False), ("Abs", False)]
)
def test_a_rising_function_moves_before_a_pool(operator: str, moves: bool) -> None:
    proto = model(
        [
            node("Conv", ["x", "w"], ["z"]),
            node("MaxPool", ["z"], ["p"], kernel_shape=[2, 2]),
            node(operator, ["p"], ["y"]),
        ],
        {"x": ("N", 2, 6, 6)},
        ["y"],
        {"w": normal((3, 2, 3, 3), 1)},
    )
    network = check(proto, {"x": normal((2, 2, 6, 6))})
    assert [type(made) for made in network.graph.nodes] == (
        [Convolution, Pool] if moves else [Convolution, Pool, Elementwise]
    )


def test_identities_go_and_reshapes_and_transpositions_join() -> None:
    proto = model(
        [
            node("Identity", ["x"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
            node("Transpose", ["b"], ["c"], perm=[0, 2, 1]),
            node("Flatten", ["c"], ["d"]),
            node("Unsqueeze", ["d", "one"], ["e"]),
            node("Reshape", ["e", "shape"], ["f"]),
            node("Relu", ["f"], ["y"]),
        ],
        {"x": ("N", 4, 6)},
        ["y"],
        {"one": np.array([1], np.int64), "shape": np.array([-1, 8, 3], np.int64)},
    )
    network = check(proto, {"x": whole((2, 4, 6))}, exact=True)
    assert [type(made) for made in network.graph.nodes] == [Reshape, Elementwise]


@pytest.mark.parametrize("operator", ["Identity", "Relu"])
def test_inputs_and_outputs_keep_their_names(operator: str) -> None:
    proto = model([node(operator, ["x"], ["y"]), node("Identity", ["y"], ["z"])], {"x": ("N", 4)}, ["z", "y"])
    network = check(proto, {"x": whole((2, 4))}, exact=True)
    assert (network.graph.inputs, network.graph.outputs) == (("x",), ("z", "y"))


def test_an_output_that_is_a_constant() -> None:
    proto = model(
        [node("Add", ["a", "b"], ["y"]), node("Relu", ["x"], ["z"])],
        {"x": ("N", 4)},
        ["y", "z"],
        {"a": whole((2, 3), 1), "b": whole((3,), 2)},
    )
    network = check(proto, {"x": whole((2, 4))}, exact=True)
    assert Expand in [type(made) for made in network.graph.nodes]


def test_equal_constants_are_kept_once_and_unread_ones_not_at_all() -> None:
    proto = model(
        [
            node("Gemm", ["x", "v"], ["a"], transB=1),
            node("Gemm", ["a", "w"], ["y"], transB=1),
            node("Relu", ["a"], ["unread"]),
        ],
        {"x": ("N", 4)},
        ["y"],
        {"v": whole((4, 4), 1), "w": whole((4, 4), 1), "u": whole((9,), 1)},
    )
    network = check(proto, {"x": whole((2, 4))}, exact=True)
    assert list(network.constants) == ["v"]
    assert [value.name for value in network.graph.values] == ["x", "a", "y"]


OPERATORS = ("Relu", "Neg", "Identity", "Sigmoid", "Add", "Mul", "Gemm", "Transpose", "Flatten", "Max")


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Any small graph on values of shape (N, 4), with outputs from anywhere in it."""
    names, nodes = ["x"], []
    constants = {"w": whole((4, 4), 1), "v": whole((4, 4), 2), "k": whole((4,), 3), "s": scalar(2)}
    for index in range(draw(st.integers(1, 7))):
        operator = draw(st.sampled_from(OPERATORS))
        source = draw(st.sampled_from(names))
        made = f"t{index}"
        match operator:
            case "Add" | "Mul" | "Max":
                other = draw(st.sampled_from([*names, "k", "s"]))
                nodes.append(node(operator, [source, other], [made]))
            case "Gemm":
                nodes.append(node(operator, [source, draw(st.sampled_from(["w", "v"]))], [made]))
            case "Transpose":
                nodes.append(node(operator, [source], [made], perm=[0, 1]))
            case _:
                nodes.append(node(operator, [source], [made]))
        names.append(made)
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=3, unique=True))
    return model(nodes, {"x": ("N", 4)}, outputs, constants)


def well_formed(network: Network) -> None:
    graph = network.graph
    there = {*graph.inputs, *graph.constants}
    assert set(graph.constants) == set(network.constants)
    values = [value.name for value in graph.values]
    assert len(values) == len(set(values))
    for made in graph.nodes:
        assert set(reads(made)) <= there
        assert made.output not in there
        assert made.output in values
        there.add(made.output)
    assert set(graph.outputs) <= there
    assert len({made.name for made in graph.nodes}) == len(graph.nodes)


def passed(network: Network, order: Sequence[Callable[[Network], Network]]) -> Network:
    """A network after some passes, well formed after each."""
    for step in order:
        network = step(network)
        well_formed(network)
    return network


@settings(deadline=None, max_examples=150)
@given(models(), st.permutations(PASSES))
def test_no_pass_changes_what_is_computed(
    proto: onnx.ModelProto, passes: list[Callable[[Network], Network]]
) -> None:
    plain = lower(read_model(proto))
    x = {"x": normal((3, 4))}
    expected = run(plain, x)
    for order in (PASSES, passes):
        found = run(passed(plain, order), x)
        assert list(found) == list(expected)
        for name, array in expected.items():
            scale = np.abs(array).max(initial=1.0)
            np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * scale)


@settings(deadline=None, max_examples=30)
@given(models())
def test_optimising_twice_changes_nothing_more(proto: onnx.ModelProto) -> None:
    once = optimise(lower(read_model(proto)))
    twice = optimise(once)
    assert len(twice.graph.nodes) <= len(once.graph.nodes)
    well_formed(twice)


def test_passes_are_pure() -> None:
    network = lower(read_model(_hard("sigmoid")))
    before = (network.graph, dict(network.constants))
    for step in PASSES:
        step(network)
    assert (network.graph, dict(network.constants)) == before


def test_a_join_of_transpositions_composes_them() -> None:
    proto = model(
        [node("Transpose", ["x"], ["a"], perm=[1, 2, 0]), node("Transpose", ["a"], ["y"], perm=[0, 2, 1])],
        {"x": ("N", 4, 6)},
        ["y"],
    )
    made = only(proto, x=whole((2, 4, 6)))
    assert isinstance(made, Transpose)
    assert made.permutation == (1, 0, 2)


def test_dead_nodes_go_and_inputs_stay() -> None:
    network = lower(read_model(model([node("Relu", ["x"], ["y"])], {"x": (4,), "z": (4,)}, ["y"])))
    extra = Elementwise("dead", "y", "gone", Activation("exp"))
    graph = network.graph
    grown = Network(
        replace(
            graph,
            nodes=(*graph.nodes, extra),
            values=(*graph.values, replace(graph.values[0], name="gone")),
        ),
        network.constants,
    )
    assert drop_dead(grown) == network
    assert drop_dead(network).graph.inputs == ("x", "z")
    assert drop_identities(network) == network
    assert share_constants(network) == network
