"""Operations of two or more tensors, number by number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from secateur.compiler.builder import Builder
from secateur.compiler.operands import Call, Known
from secateur.format.graph import Activation, Binary, BinaryKind, Elementwise, Reshape, Shape, Value


def combine(
    build: Builder,
    call: Call,
    kind: BinaryKind,
    left: str,
    right: str,
    shape: Shape,
    target: Value | None = None,
) -> str:
    """Append an operation of two tensors to what a node becomes.

    Args:
        build: Where to.
        call: The node.
        kind: The operation.
        left: A value or constant.
        right: A value or constant.
        shape: Of the result.
        target: The result, where it is one of the model's own values.

    Returns:
        The name of the result.
    """
    result = target or build.temporary(f"{call.name}.{kind}", shape)
    build.add(Binary(build.node_name(f"{call.name}.{kind}"), kind, left, right, result.name))
    return result.name


def binary(kind: BinaryKind) -> Callable[[Call, Builder], None]:
    """A translator of an operation of two tensors, broadcast as NumPy does."""

    def translate(call: Call, build: Builder) -> None:
        left, right = (build.name(call, call.operand(position)) for position in (0, 1))
        target = call.only_output()
        _check_float(call, build, left, right)
        build.add(Binary(build.node_name(call.name), kind, left, right, target.name))

    return translate


def _check_float(call: Call, build: Builder, *names: str) -> None:
    for name in names:
        if build.data_type(name) != "float32":
            raise call.refused(f"its input {name!r} is of type int64", "float32 inputs")


def power(call: Call, build: Builder) -> None:
    """Pow; a square is a product and a root is a root, both exact and far cheaper."""
    source, target = call.operand(0), call.only_output()
    exponent = call.operand(1)
    fixed = exponent.fixed if isinstance(exponent, Known) else None
    base = build.name(call, source)
    _check_float(call, build, base)
    if fixed is not None and fixed.size == 1 and target.shape == build.shape(base):
        match float(fixed.reshape(())):
            case 1.0:
                build.add(Reshape(build.node_name(call.name), base, target.name))
                return
            case 2.0:
                build.add(Binary(build.node_name(call.name), "multiply", base, base, target.name))
                return
            case 0.5:
                build.add(Elementwise(build.node_name(call.name), base, target.name, Activation("sqrt")))
                return
    raised = (
        build.name(call, exponent)
        if fixed is None
        else build.constant(fixed.astype(np.float32), call.label(1))
    )
    _check_float(call, build, raised)
    build.add(Binary(build.node_name(call.name), "power", base, raised, target.name))


def variadic(kind: BinaryKind) -> Callable[[Call, Builder], None]:
    """A translator of Sum, Min, Max and Mean: any number of tensors, two at a time."""

    def translate(call: Call, build: Builder) -> None:
        names = [build.name(call, call.operand(position)) for position in range(len(call.inputs))]
        _check_float(call, build, *names)
        target = call.only_output()
        mean = call.operator == "Mean" and len(names) > 1
        total = names[0]
        for index, name in enumerate(names[1:], 2):
            last = target if index == len(names) and not mean else None
            total = combine(build, call, kind, total, name, _broadcast(build, total, name), last)
        if mean:
            count = build.scalar(len(names), f"{call.name}.count")
            combine(build, call, "divide", total, count, target.shape, target)
        elif len(names) == 1:
            build.add(Reshape(build.node_name(call.name), total, target.name))

    return translate


def _broadcast(build: Builder, left: str, right: str) -> Shape:
    shapes = [build.shape(name) for name in (left, right)]
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(b if a == 1 else a for a, b in zip(*padded, strict=True))
