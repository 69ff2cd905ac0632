"""Convolutions."""

from __future__ import annotations

from secateur.compiler.builder import Builder
from secateur.compiler.operands import Call
from secateur.compiler.operators.layers import layer_name
from secateur.compiler.operators.windows import Windows, windows
from secateur.format.graph import Convolution


def convolution(call: Call, build: Builder) -> None:
    """Conv: cross-correlation in one or two spatial dimensions."""
    source, weight = call.value(0), call.array(1, "weight")
    groups = call.integer("group", 1)
    if weight.ndim not in (3, 4):
        raise call.refused(f"its kernel has {weight.ndim - 2} dimensions", "one and two dimensions")
    kernel = call.integers("kernel_shape", weight.shape[2:])
    channels = call.fixed_dims(source.shape[1:2], "its channels")
    if kernel != weight.shape[2:] or channels != (weight.shape[1] * groups,) or weight.shape[0] % groups:
        raise call.refused(
            f"a weight of shape {weight.shape} does not fit kernel {kernel}, {channels[0]} channels and "
            f"{groups} "
            "groups",
            "(out, channels / groups, kernel...)",
        )
    at: Windows = windows(call, source, kernel)
    build.add(
        Convolution(
            build.node_name(layer_name(call)),
            source.name,
            build.name(call, call.operand(1)),
            call.only_output().name,
            at.strides,
            at.pads,
            at.dilations,
            groups,
            build.constant(call.array(2, "bias"), call.label(2)) if call.has(2) else None,
        )
    )
