"""Sizes that depend on the batch, found by trying a few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.compiler.inference import SYMBOLIC_PROBES
from secateur.compiler.operands import dims_of
from secateur.compiler.reading import load_network
from secateur.errors import UnsupportedModelError
from secateur.format.graph import Batch, Expand, resolve
from tests.compiler.models import check, model, node, normal, whole


@given(st.integers(1, 1000), st.booleans())
def test_fixed_sizes_and_multiples_are_told_apart(number: int, grows: bool) -> None:
    dim = Batch(number) if grows else number
    assert dims_of([resolve((dim,), probe)[0] for probe in SYMBOLIC_PROBES], SYMBOLIC_PROBES) == dim


@pytest.mark.parametrize(
    "size",
    [
        lambda n: n // 2,
        lambda n: (n + 1) // 2,
        lambda n: n + 1,
        lambda n: n - 1,
        lambda n: n * n,
        lambda n: max(n, 4),
        lambda n: min(n, 4),
        lambda n: min(n, 2),
        lambda n: min(n, 8),
        lambda n: min(n, 1_000_000),
        lambda n: max(n, 2),
        lambda n: n % 2,
        lambda n: n % 3,
        lambda n: 7 - n,
        lambda n: n % 8,
        lambda n: n & 1023,
        lambda n: 2**n,
    ],
)
def test_what_else_models_compute_with_sizes_is_neither(size: object) -> None:
    assert callable(size)
    assert dims_of([size(probe) for probe in SYMBOLIC_PROBES], SYMBOLIC_PROBES) is None


def test_a_shape_computed_from_the_inputs() -> None:
    # As torch exports ``x.view(x.size(0), -1)`` with an open batch.
    proto = model(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n", "first"], ["u"]),
            node("Concat", ["u", "rest"], ["t"], axis=0),
            node("Reshape", ["x", "t"], ["y"]),
        ],
        {"x": ("N", 4, 6)},
        ["y"],
        {"zero": np.array(0, np.int64), "first": np.array([0], np.int64), "rest": np.array([-1], np.int64)},
    )
    network = check(proto, {"x": whole((3, 4, 6))}, exact=True)
    assert [value.shape for value in network.graph.values] == [(Batch(), 4, 6), (Batch(), 24)]


def test_arithmetic_on_shapes() -> None:
    # Twice the batch, half the width: Mul, Div, Slice and ReduceProd on sizes.
    proto = model(
        [
            node("Shape", ["x"], ["n"], start=0, end=1),
            node("Shape", ["x"], ["rest"], start=1),
            node("ReduceProd", ["rest"], ["p"], keepdims=1),
            node("Mul", ["n", "two"], ["m"]),
            node("Div", ["p", "two"], ["h"]),
            node("Concat", ["m", "h"], ["t"], axis=0),
            node("Reshape", ["x", "t"], ["y"]),
        ],
        {"x": ("N", 4, 6)},
        ["y"],
        {"two": np.array([2], np.int64)},
    )
    network = check(proto, {"x": whole((3, 4, 6))}, exact=True)
    assert network.graph.values[-1].shape == (Batch(2), 12)


def test_a_constant_repeated_along_the_batch_is_kept_once() -> None:
    proto = model(
        [
            node("Shape", ["x"], ["n"], start=0, end=1),
            node("Concat", ["n", "rest"], ["t"], axis=0),
            node("Expand", ["token", "t"], ["e"]),
            node("Concat", ["e", "x"], ["y"], axis=1),
        ],
        {"x": ("N", 4, 6)},
        ["y"],
        {"rest": np.array([1, 6], np.int64), "token": whole((1, 1, 6), 1)},
    )
    network = check(proto, {"x": whole((3, 4, 6))}, exact=True)
    assert [array.shape for array in network.constants.values()] == [(1, 1, 6)]
    assert isinstance(network.graph.nodes[0], Expand)


def test_numbers_that_depend_on_the_batch_are_refused() -> None:
    proto = model(
        [
            node("Shape", ["x"], ["n"], start=0, end=1),
            node("Cast", ["n"], ["f"], to=1),
            node("Mul", ["x", "f"], ["y"]),
        ],
        {"x": ("N", 4)},
        ["y"],
    )
    with pytest.raises(
        UnsupportedModelError,
        match="node 'y_node' \\(Mul\\): the numbers in 'n' depend on the batch size; supported: constants",
    ):
        load_network(proto)
    fixed = model(list(proto.graph.node), {"x": (3, 4)}, ["y"])
    check(fixed, {"x": whole((3, 4))}, exact=True)


def test_constants_alone_are_computed_whatever_their_operator() -> None:
    proto = model(
        [
            node("Sin", ["c"], ["s"]),
            node("CumSum", ["s", "axis"], ["t"]),
            node("Where", ["m", "t", "s"], ["w"]),
            node("Add", ["x", "w"], ["y"]),
        ],
        {"x": ("N", 4)},
        ["y"],
        {"c": normal((4,), 1), "axis": np.array(0, np.int64), "m": np.array([True, False, True, True])},
    )
    network = check(proto, {"x": normal((2, 4))})
    assert len(network.graph.nodes) == 1


def test_constants_that_cannot_be_computed() -> None:
    proto = model(
        [node("Reshape", ["c", "s"], ["r"]), node("Add", ["x", "r"], ["y"])],
        {"x": ("N", 4)},
        ["y"],
        {"c": normal((4,), 1), "s": np.array([3], np.int64)},
    )
    with pytest.raises(
        UnsupportedModelError,
        match="node 'r_node' \\(Reshape\\): it works on constants alone, but cannot be computed from them",
    ):
        load_network(proto)
