"""Reductions over axes, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from secateur.compiler.builder import Builder
from secateur.compiler.operands import Call
from secateur.compiler.operators.arithmetic import combine
from secateur.format.graph import (
    Activation,
    ActivationKind,
    Batch,
    Dim,
    Elementwise,
    LogSoftmax,
    Reduce,
    Reshape,
    Shape,
    Softmax,
    Value,
)

# The operator set since which the axes of a reduction are an input.
_AXES_ARE_INPUT = {"ReduceSum": 13}


def _axes(call: Call, source: Value) -> tuple[int, ...] | None:
    rank = len(source.shape)
    given: tuple[int, ...] = ()
    if call.version >= _AXES_ARE_INPUT.get(call.operator, 18):
        if call.has(1):
            given = tuple(int(axis) for axis in call.array(1, "axes"))
        if not given and call.integer("noop_with_empty_axes", 0):
            return None
    else:
        given = call.integers("axes", ())
    return tuple(sorted(call.from_front(axis, rank) for axis in given or range(rank)))


def reduce(kind: Literal["mean", "sum", "max"]) -> Callable[[Call, Builder], None]:
    """A translator of ReduceMean, ReduceSum or ReduceMax."""

    def translate(call: Call, build: Builder) -> None:
        source, target = call.value(0), call.only_output()
        _reduce(call, build, kind, source.name, target)

    return translate


def _reduce(
    call: Call, build: Builder, kind: Literal["mean", "sum", "max"], source: str, target: Value
) -> None:
    axes = _axes(call, call.value(0))
    if axes:
        build.add(Reduce(build.node_name(call.name), kind, source, target.name, axes))
    else:
        build.add(Reshape(build.node_name(call.name), source, target.name))


def reduce_of(
    before: ActivationKind | Literal["square"] | None,
    kind: Literal["mean", "sum", "max"],
    after: ActivationKind | None,
) -> Callable[[Call, Builder], None]:
    """A translator of a reduction between two functions: the l1 norm is the sum of absolute numbers."""

    def translate(call: Call, build: Builder) -> None:
        source, target = call.value(0), call.only_output()
        name = source.name
        if before == "square":
            name = combine(build, call, "multiply", name, name, source.shape)
        elif before is not None:
            changed = build.temporary(f"{call.name}.{before}", source.shape)
            build.add(
                Elementwise(build.node_name(f"{call.name}.{before}"), name, changed.name, Activation(before))
            )
            name = changed.name
        reduced = target if after is None else build.temporary(f"{call.name}.{kind}", target.shape)
        _reduce(call, build, kind, name, reduced)
        if after is not None:
            build.add(
                Elementwise(
                    build.node_name(f"{call.name}.{after}"), reduced.name, target.name, Activation(after)
                )
            )

    return translate


def softmax_of(kind: type[Softmax] | type[LogSoftmax]) -> Callable[[Call, Builder], None]:
    """Softmax or its logarithm; before operator set 13 over all dimensions from its axis on.

    Args:
        kind: The node that computes it.

    Returns:
        The translation.
    """

    def translate(call: Call, build: Builder) -> None:
        source, target = call.value(0), call.only_output()
        rank = len(source.shape)
        axis = call.axis(-1 if call.version >= 13 else 1, rank)
        if call.version >= 13 or axis == rank - 1:
            build.add(kind(build.node_name(call.name), source.name, target.name, axis))
            return
        flat = (*source.shape[:axis], _product(call, source.shape[axis:]))
        before, after = (build.temporary(f"{call.name}.{part}", flat) for part in ("flat", "softmax"))
        build.add(Reshape(build.node_name(f"{call.name}.flat"), source.name, before.name))
        build.add(kind(build.node_name(call.name), before.name, after.name, axis))
        build.add(Reshape(build.node_name(f"{call.name}.shape"), after.name, target.name))

    return translate


def _product(call: Call, shape: Shape) -> Dim:
    total: Dim = 1
    for dim in shape:
        match total, dim:
            case int(), int():
                total = total * dim
            case Batch(multiple), int():
                total = Batch(multiple * dim)
            case int(), Batch(multiple):
                total = Batch(multiple * total)
            case _:
                raise call.refused("its dimensions grow with the square of the batch", "one batch dimension")
    return total
