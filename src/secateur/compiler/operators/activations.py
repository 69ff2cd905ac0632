"""Functions of one number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from secateur.compiler.builder import Builder
from secateur.compiler.operands import Call, Known
from secateur.compiler.operators.arithmetic import combine
from secateur.format.graph import Activation, ActivationKind, Elementwise

# ONNX clips at the ends of float32 where no limit is given.
_LARGEST = float(np.finfo(np.float32).max)


def _apply(call: Call, build: Builder, activation: Activation) -> None:
    build.add(
        Elementwise(build.node_name(call.name), call.value(0).name, call.only_output().name, activation)
    )


def plain(kind: ActivationKind) -> Callable[[Call, Builder], None]:
    """A translator of an operator without attributes."""

    def translate(call: Call, build: Builder) -> None:
        _apply(call, build, Activation(kind))

    return translate


def leaky_relu(call: Call, build: Builder) -> None:
    """LeakyRelu."""
    _apply(call, build, Activation("leaky_relu", call.number("alpha", 0.01)))


def hard_sigmoid(call: Call, build: Builder) -> None:
    """HardSigmoid."""
    _apply(call, build, Activation("hard_sigmoid", call.number("alpha", 0.2), call.number("beta", 0.5)))


def gelu(call: Call, build: Builder) -> None:
    """Gelu, exact or by tanh."""
    match call.text("approximate", "none"):
        case "none":
            _apply(call, build, Activation("gelu"))
        case "tanh":
            _apply(call, build, Activation("gelu_tanh"))
        case other:
            raise call.refused(f"approximate is {other!r}", "'none' and 'tanh'")


def swish(call: Call, build: Builder) -> None:
    """Swish: ``x sigmoid(alpha x)``."""
    alpha = call.number("alpha", 1.0)
    if alpha == 1.0:
        _apply(call, build, Activation("swish"))
        return
    source, target = call.value(0), call.only_output()
    gate = combine(
        build, call, "multiply", source.name, build.scalar(alpha, f"{call.name}.alpha"), source.shape
    )
    opened = build.temporary(f"{call.name}.gate", source.shape)
    build.add(Elementwise(build.node_name(f"{call.name}.gate"), gate, opened.name, Activation("sigmoid")))
    combine(build, call, "multiply", source.name, opened.name, target.shape, target)


def clip(call: Call, build: Builder) -> None:
    """Clip; limits are attributes before operator set 11 and inputs since, computed ones included."""
    source, target = call.value(0), call.only_output()
    if call.version < 11:
        low, high = call.number("min", -_LARGEST), call.number("max", _LARGEST)
        _apply(call, build, _limits(low, high))
        return
    limits = [call.operand(position) if call.has(position) else None for position in (1, 2)]
    fixed = [limit.fixed if isinstance(limit, Known) else limit for limit in limits]
    if all(limit is None or isinstance(limit, np.ndarray) for limit in fixed):
        low, high = (
            default if limit is None else float(np.asarray(limit).reshape(()))
            for limit, default in zip(fixed, (-_LARGEST, _LARGEST), strict=True)
        )
        _apply(call, build, _limits(low, high))
        return
    # min(max(x, low), high), in this order: where low > high, high wins.
    names = [None if limit is None else build.name(call, limit) for limit in limits]
    low_name, high_name = names
    name = source.name
    if low_name is not None:
        last = target if high_name is None else None
        name = combine(build, call, "maximum", name, low_name, target.shape, last)
    if high_name is not None:
        combine(build, call, "minimum", name, high_name, target.shape, target)


def _limits(low: float, high: float) -> Activation:
    return Activation("relu") if (low, high) == (0.0, _LARGEST) else Activation("clip", low, high)


def prelu(call: Call, build: Builder) -> None:
    """PRelu: ``max(x, 0) + slope min(x, 0)``."""
    source, target = call.value(0), call.only_output()
    slope = call.operand(1)
    if isinstance(slope, Known) and slope.fixed is not None and slope.fixed.size == 1:
        _apply(call, build, Activation("leaky_relu", float(slope.fixed.reshape(()))))
        return
    zero = build.scalar(0.0, f"{call.name}.zero")
    below = combine(build, call, "minimum", source.name, zero, source.shape)
    sloped = combine(build, call, "multiply", below, build.name(call, slope), target.shape)
    above = build.temporary(f"{call.name}.above", source.shape)
    build.add(Elementwise(build.node_name(f"{call.name}.above"), source.name, above.name, Activation("relu")))
    combine(build, call, "add", above.name, sloped, target.shape, target)


def elu(call: Call, build: Builder) -> None:
    """Elu, Selu and Celu: ``gamma (max(x, 0) + alpha (exp(min(x, 0) / width) - 1))``."""
    match call.operator:
        case "Elu":
            alpha, gamma, width = call.number("alpha", 1.0), 1.0, 1.0
        case "Selu":
            alpha = call.number("alpha", 1.6732632423543772)
            gamma, width = call.number("gamma", 1.0507009873554805), 1.0
        case _:
            alpha = width = call.number("alpha", 1.0)
            gamma = 1.0
    source, target = call.value(0), call.only_output()
    below = combine(build, call, "minimum", source.name, build.scalar(0.0, f"{call.name}.zero"), source.shape)
    if width != 1.0:
        below = combine(build, call, "divide", below, build.scalar(width, f"{call.name}.width"), source.shape)
    raised = build.temporary(f"{call.name}.exp", source.shape)
    build.add(Elementwise(build.node_name(f"{call.name}.exp"), below, raised.name, Activation("exp")))
    less = combine(build, call, "subtract", raised.name, build.scalar(1.0, f"{call.name}.one"), source.shape)
    scaled = combine(
        build, call, "multiply", less, build.scalar(gamma * alpha, f"{call.name}.alpha"), source.shape
    )
    above = build.temporary(f"{call.name}.above", source.shape)
    build.add(Elementwise(build.node_name(f"{call.name}.above"), source.name, above.name, Activation("relu")))
    grown = (
        combine(build, call, "multiply", above.name, build.scalar(gamma, f"{call.name}.gamma"), source.shape)
        if gamma != 1.0
        else above.name
    )
    combine(build, call, "add", grown, scaled, target.shape, target)


def softsign(call: Call, build: Builder) -> None:
    """Softsign: ``x / (1 + |x|)``."""
    source, target = call.value(0), call.only_output()
    size = build.temporary(f"{call.name}.absolute", source.shape)
    build.add(
        Elementwise(build.node_name(f"{call.name}.absolute"), source.name, size.name, Activation("absolute"))
    )
    more = combine(build, call, "add", size.name, build.scalar(1.0, f"{call.name}.one"), source.shape)
    combine(build, call, "divide", source.name, more, target.shape, target)


def reciprocal(call: Call, build: Builder) -> None:
    """Reciprocal: ``1 / x``."""
    source, target = call.value(0), call.only_output()
    combine(build, call, "divide", build.scalar(1.0, f"{call.name}.one"), source.name, target.shape, target)
