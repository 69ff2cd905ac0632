"""Matrix products: layers where the right side is a constant, products of two values where it is not."""

from __future__ import annotations

import numpy as np

from secateur.compiler.builder import Builder
from secateur.compiler.network import Array
from secateur.compiler.operands import Call, Known
from secateur.compiler.operators.layers import layer_name, weight_label
from secateur.format.graph import Binary, Linear, MatMul, Reshape, Transpose, Value


def matmul(call: Call, build: Builder) -> None:
    """MatMul: NumPy's ``a @ b``, vectors included."""
    left, right = call.operand(0), call.operand(1)
    if isinstance(right, Known) and right.fixed is not None and right.fixed.ndim <= 2:
        source = _at_least_two(build, call, 0)
        matrix = right.fixed.reshape(right.fixed.shape[0], -1)
        direct = right.fixed.ndim == 2 and len(call.value(0).shape) > 1
        target = call.only_output()
        result = (
            target
            if direct
            else build.temporary(f"{target.name}.2d", (*build.shape(source)[:-1], matrix.shape[1]))
        )
        weight = build.constant(np.ascontiguousarray(matrix.T), weight_label(call))
        build.add(Linear(build.node_name(layer_name(call)), source, weight, result.name))
    else:
        target = call.only_output()
        a, b = _at_least_two(build, call, 0), _at_least_two(build, call, 1)
        vectors = [len(_shape(operand)) == 1 for operand in (left, right)]
        result = target
        if any(vectors):
            shape = [*target.shape]
            if vectors[1]:
                shape.append(1)
            if vectors[0]:
                shape.insert(len(shape) - 1, 1)
            result = build.temporary(f"{target.name}.2d", tuple(shape))
        build.add(MatMul(build.node_name(call.name), a, b, result.name))
    if result is not target:
        build.add(Reshape(build.node_name(f"{call.name}.shape"), result.name, target.name))


def _shape(operand: Known | Value) -> tuple[object, ...]:
    return operand.shape if isinstance(operand, Value) else operand.at[0].shape


def _at_least_two(build: Builder, call: Call, position: int) -> str:
    name = build.name(call, call.operand(position))
    shape = build.shape(name)
    if len(shape) >= 2:
        return name
    grown = build.temporary(f"{name}.2d", (1, *shape) if position == 0 else (*shape, 1))
    build.add(Reshape(build.node_name(f"{call.name}.vector"), name, grown.name))
    return grown.name


def gemm(call: Call, build: Builder) -> None:
    """Gemm: ``alpha A' B' + beta C``."""
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    target = call.only_output()
    left, right = call.operand(0), call.operand(1)
    shift = call.operand(2) if call.has(2) and beta != 0.0 else None
    bias = _bias(shift, beta, target)
    rest = None if shift is None or bias is not None else shift
    product = target if rest is None else build.temporary(f"{target.name}.product", target.shape)
    if isinstance(right, Known) and right.fixed is not None and isinstance(left, Value):
        weight = right.fixed if call.integer("transB", 0) else right.fixed.T
        scaled = weight if alpha == 1.0 else (weight * np.float32(alpha)).astype(np.float32)
        build.add(
            Linear(
                build.node_name(layer_name(call)),
                _turned(build, call, 0, "transA"),
                build.constant(np.ascontiguousarray(scaled), weight_label(call)),
                product.name,
                None if bias is None else build.constant(bias, call.label(2)),
            )
        )
    else:
        _product(call, build, alpha, product, bias)
    if rest is not None:
        addend = build.name(call, rest)
        if beta != 1.0:
            scaled_rest = build.temporary(f"{target.name}.scaled", build.shape(addend))
            factor = build.scalar(beta, f"{call.name}.beta")
            build.add(
                Binary(build.node_name(f"{call.name}.beta"), "multiply", addend, factor, scaled_rest.name)
            )
            addend = scaled_rest.name
        build.add(Binary(build.node_name(f"{call.name}.add"), "add", product.name, addend, target.name))


def _bias(shift: Known | Value | None, beta: float, target: Value) -> Array | None:
    # A bias is the same for every row: what has a row for each stays an addition of its own.
    width = target.shape[1]
    if not isinstance(shift, Known) or shift.fixed is None or not isinstance(width, int):
        return None
    if shift.fixed.ndim == 2 and shift.fixed.shape[0] != 1:
        return None
    if beta == 1.0 and shift.fixed.shape == (width,):
        return shift.fixed
    return np.broadcast_to(shift.fixed.reshape(-1) * np.float32(beta), (width,)).astype(np.float32)


def _turned(build: Builder, call: Call, position: int, attribute: str) -> str:
    operand = call.operand(position)
    if not call.integer(attribute, 0):
        return build.name(call, operand)
    if isinstance(operand, Known) and operand.fixed is not None:
        return build.constant(np.ascontiguousarray(operand.fixed.T), operand.label)
    name = build.name(call, operand)
    turned = build.temporary(f"{name}.transposed", build.shape(name)[::-1])
    build.add(Transpose(build.node_name(f"{call.name}.{attribute}"), name, turned.name, (1, 0)))
    return turned.name


def _product(call: Call, build: Builder, alpha: float, target: Value, bias: Array | None) -> None:
    steps: list[tuple[str, str]] = []
    if alpha != 1.0:
        steps.append(("multiply", build.scalar(alpha, f"{call.name}.alpha")))
    if bias is not None:
        steps.append(("add", build.constant(bias, call.label(2))))
    result = target if not steps else build.temporary(f"{target.name}.matmul", target.shape)
    a, b = _turned(build, call, 0, "transA"), _turned(build, call, 1, "transB")
    build.add(MatMul(build.node_name(call.name), a, b, result.name))
    for index, (kind, constant) in enumerate(steps):
        last = index == len(steps) - 1
        after = target if last else build.temporary(f"{target.name}.{kind}", target.shape)
        build.add(
            Binary(
                build.node_name(f"{call.name}.{kind}"),
                "multiply" if kind == "multiply" else "add",
                result.name,
                constant,
                after.name,
            )
        )
        result = after
