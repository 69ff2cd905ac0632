from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.format.graph import (
    Activation,
    Batch,
    Binary,
    Concat,
    Convolution,
    Elementwise,
    Expand,
    Gather,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    LogSoftmax,
    MatMul,
    Node,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Transpose,
    reads,
    renamed,
    resolve,
)

EVERY_KIND: tuple[tuple[Node, tuple[str, ...]], ...] = (
    (Convolution("n", "x", "w", "y", (1,), (0, 0), (1,), 1, "b", "r"), ("x", "w", "b", "r")),
    (Convolution("n", "x", "w", "y", (1,), (0, 0), (1,)), ("x", "w")),
    (Linear("n", "x", "w", "y", residual="r"), ("x", "w", "r")),
    (MatMul("n", "x", "z", "y"), ("x", "z")),
    (Pool("n", "max", "x", "y", (2,), (2,), (0, 0), (1,)), ("x",)),
    (Elementwise("n", "x", "y", Activation("relu")), ("x",)),
    (Binary("n", "add", "x", "x", "y"), ("x", "x")),
    (LogSoftmax("n", "x", "y", 1), ("x",)),
    (Softmax("n", "x", "y", 1), ("x",)),
    (LayerNorm("n", "x", "y", 1, 1e-5, "s", "b"), ("x", "s", "b")),
    (LayerNorm("n", "x", "y", 1, 1e-5), ("x",)),
    (LocalResponseNorm("n", "x", "y", 5, 1e-4, 0.75, 1.0), ("x",)),
    (Concat("n", ("x", "z", "x"), "y", 1), ("x", "z", "x")),
    (Slice("n", "x", "y", (0,), (1,)), ("x",)),
    (Pad("n", "x", "y", (0,)), ("x",)),
    (Reshape("n", "x", "y"), ("x",)),
    (Transpose("n", "x", "y", (1, 0)), ("x",)),
    (Reduce("n", "mean", "x", "y", (1,)), ("x",)),
    (Gather("n", "x", "i", "y", 0), ("x", "i")),
    (Expand("n", "x", "y"), ("x",)),
)


def test_every_kind_of_node_is_in_the_table() -> None:
    assert {type(node) for node, _ in EVERY_KIND} == set(get_args(Node))


@pytest.mark.parametrize(("node", "expected"), EVERY_KIND, ids=lambda item: type(item).__name__)
def test_what_a_node_reads(node: Node, expected: tuple[str, ...]) -> None:
    assert reads(node) == expected


@pytest.mark.parametrize(("node", "expected"), EVERY_KIND, ids=lambda item: type(item).__name__)
def test_a_renamed_node_reads_and_writes_the_new_names_and_is_the_same_otherwise(
    node: Node, expected: tuple[str, ...]
) -> None:
    there = {name: f"{name}.new" for name in (*expected, "y")}
    new = renamed(node, there)
    assert reads(new) == tuple(there[name] for name in expected)
    assert new.output == "y.new"
    assert renamed(new, {after: before for before, after in there.items()}) == node
    untouched = [f.name for f in fields(node) if getattr(node, f.name) == getattr(new, f.name)]
    assert "name" in untouched


def test_names_that_are_not_a_nodes_own_change_nothing() -> None:
    node = Softmax("x", "x", "y", 1)
    assert renamed(node, {"z": "w", "n": "m"}) == node
    assert renamed(node, {"x": "z"}) == Softmax("x", "z", "y", 1)


@given(
    st.lists(st.one_of(st.integers(1, 50), st.builds(Batch, st.integers(1, 9))), max_size=5),
    st.integers(1, 64),
)
def test_only_batch_dimensions_grow_with_the_batch(shape: list[int | Batch], batch: int) -> None:
    once = resolve(tuple(shape), 1)
    many = resolve(tuple(shape), batch)
    for dim, one, more in zip(shape, once, many, strict=True):
        assert more == (one * batch if isinstance(dim, Batch) else one)
