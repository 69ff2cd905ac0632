"""Normalisations."""

from __future__ import annotations

import math

import numpy as np

from secateur.compiler.builder import Builder
from secateur.compiler.network import Array
from secateur.compiler.operands import Call, Known
from secateur.compiler.operators.arithmetic import combine
from secateur.format.graph import (
    Activation,
    Elementwise,
    LayerNorm,
    LocalResponseNorm,
    Reduce,
    Reshape,
    Shape,
)


def batch_normalisation(call: Call, build: Builder) -> None:
    """BatchNormalization as at inference: a product and a sum; a pass folds them into the layer before."""
    if call.integer("training_mode", 0) or (call.version < 9 and not call.integer("spatial", 1)):
        raise call.refused(
            "it is in training mode or not spatial",
            "inference over channels; export the model in evaluation mode",
        )
    source = call.value(0)
    call.only_output()
    scale, shift, mean, variance = (
        call.array(position, role).astype(np.float64)
        for position, role in ((1, "scale"), (2, "bias"), (3, "mean"), (4, "variance"))
    )
    factor = scale / np.sqrt(variance + call.number("epsilon", 1e-5))
    _scale_and_shift(call, build, source.name, factor, shift - mean * factor)


def _scale_and_shift(call: Call, build: Builder, source: str, factor: Array, shift: Array) -> None:
    target = call.output
    channels = call.fixed_dims(target.shape[1:2], "its channels")
    if factor.shape != channels or shift.shape != channels:
        raise call.refused(
            f"parameters of shapes {factor.shape} and {shift.shape} do not fit {channels} channels",
            "(channels,)",
        )
    shape = (-1,) + (1,) * (len(target.shape) - 2)
    constants = [
        build.constant(array.astype(np.float32).reshape(shape), f"{call.name}.{part}")
        for array, part in ((factor, "factor"), (shift, "shift"))
    ]
    scaled = combine(build, call, "multiply", source, constants[0], target.shape)
    combine(build, call, "add", scaled, constants[1], target.shape, target)


def layer_normalisation(call: Call, build: Builder) -> None:
    """LayerNormalization over the dimensions from an axis on."""
    source, target = call.value(0), call.output
    axis = call.axis(-1, len(source.shape))
    if call.integer("stash_type", 1) != 1:
        raise call.refused("stash_type is not float32", "statistics in float32")
    _statistics(call, build, axis)
    inner = call.fixed_dims(source.shape[axis:], "the normalised dimensions")
    operands = [call.operand(position) if call.has(position) else None for position in (1, 2)]
    arrays = [operand.fixed if isinstance(operand, Known) else None for operand in operands]
    fits = all(
        operand is None or (array is not None and array.shape == inner)
        for operand, array in zip(operands, arrays, strict=True)
    )
    epsilon = call.number("epsilon", 1e-5)
    if fits:
        names = [None if operand is None else build.name(call, operand) for operand in operands]
        build.add(
            LayerNorm(build.node_name(call.name), source.name, target.name, axis, epsilon, names[0], names[1])
        )
        return
    # Scales that are computed, or broadcast: the norm alone, then a product and a sum.
    steps = [(kind, operand) for kind, operand in zip(("multiply", "add"), operands, strict=True) if operand]
    result = build.temporary(f"{call.name}.norm", source.shape)
    build.add(LayerNorm(build.node_name(call.name), source.name, result.name, axis, epsilon))
    name = result.name
    for index, (kind, operand) in enumerate(steps):
        last = target if index == len(steps) - 1 else None
        name = combine(
            build,
            call,
            "multiply" if kind == "multiply" else "add",
            name,
            build.name(call, operand),
            target.shape,
            last,
        )


def _statistics(call: Call, build: Builder, axis: int) -> None:
    # The mean and ``1 / sqrt(variance + epsilon)``, for the few who read them.
    source, (_, mean, deviation) = call.value(0), (*call.outputs, None, None)[:3]
    axes = tuple(range(axis, len(source.shape)))
    kept = (*source.shape[:axis], *(1,) * len(axes))
    if mean is not None:
        build.add(Reduce(build.node_name(f"{call.name}.mean"), "mean", source.name, mean.name, axes))
    if deviation is None:
        return
    centre, variance, root = (
        build.temporary(f"{call.name}.{part}", kept) for part in ("centre", "variance", "root")
    )
    build.add(Reduce(build.node_name(f"{call.name}.centre"), "mean", source.name, centre.name, axes))
    centred = combine(build, call, "subtract", source.name, centre.name, source.shape)
    squares = combine(build, call, "multiply", centred, centred, source.shape)
    build.add(Reduce(build.node_name(f"{call.name}.variance"), "mean", squares, variance.name, axes))
    epsilon = build.scalar(call.number("epsilon", 1e-5), f"{call.name}.epsilon")
    shifted = combine(build, call, "add", variance.name, epsilon, kept)
    build.add(Elementwise(build.node_name(f"{call.name}.root"), shifted, root.name, Activation("sqrt")))
    combine(build, call, "divide", build.scalar(1.0, f"{call.name}.one"), root.name, kept, deviation)


def rms_normalisation(call: Call, build: Builder) -> None:
    """RMSNormalization: ``x / sqrt(mean x^2 + epsilon) * scale`` over the dimensions from an axis on."""
    source, target = call.value(0), call.only_output()
    axis = call.axis(-1, len(source.shape))
    axes = tuple(range(axis, len(source.shape)))
    kept = (*source.shape[:axis], *(1,) * len(axes))
    mean, root = (build.temporary(f"{call.name}.{part}", kept) for part in ("mean", "root"))
    squares = combine(build, call, "multiply", source.name, source.name, source.shape)
    build.add(Reduce(build.node_name(f"{call.name}.mean"), "mean", squares, mean.name, axes))
    epsilon = build.scalar(call.number("epsilon", 1e-5), f"{call.name}.epsilon")
    shifted = combine(build, call, "add", mean.name, epsilon, kept)
    build.add(Elementwise(build.node_name(f"{call.name}.root"), shifted, root.name, Activation("sqrt")))
    normed = combine(build, call, "divide", source.name, root.name, source.shape)
    combine(build, call, "multiply", normed, build.name(call, call.operand(1)), target.shape, target)


def instance_normalisation(call: Call, build: Builder) -> None:
    """InstanceNormalization: a layer norm of every channel, then a factor and a shift."""
    source = call.value(0)
    if len(source.shape) < 3:
        raise call.refused("its input has no spatial dimensions", "N x C x spatial dimensions")
    norm = build.temporary(f"{call.name}.norm", source.shape)
    flat = build.temporary(f"{call.name}.flat", (*source.shape[:2], _size(call, source.shape[2:])))
    normed = build.temporary(f"{call.name}.normed", flat.shape)
    build.add(Reshape(build.node_name(f"{call.name}.flat"), source.name, flat.name))
    build.add(LayerNorm(build.node_name(call.name), flat.name, normed.name, 2, call.number("epsilon", 1e-5)))
    build.add(Reshape(build.node_name(f"{call.name}.shape"), normed.name, norm.name))
    _scale_and_shift(call, build, norm.name, call.array(1, "scale"), call.array(2, "bias"))


def group_normalisation(call: Call, build: Builder) -> None:
    """GroupNormalization: a layer norm of every group of channels, then a factor and a shift."""
    source = call.value(0)
    groups = call.integer("num_groups", 1)
    channels = call.fixed_dims(source.shape[1:2], "its channels")[0]
    inner = channels // groups * _size(call, source.shape[2:])
    flat = build.temporary(f"{call.name}.flat", (source.shape[0], groups, inner))
    normed = build.temporary(f"{call.name}.normed", flat.shape)
    norm = build.temporary(f"{call.name}.norm", source.shape)
    scale, shift = call.array(1, "scale"), call.array(2, "bias")
    if call.version < 21:
        scale, shift = (np.repeat(array, channels // groups) for array in (scale, shift))
    build.add(Reshape(build.node_name(f"{call.name}.flat"), source.name, flat.name))
    build.add(LayerNorm(build.node_name(call.name), flat.name, normed.name, 2, call.number("epsilon", 1e-5)))
    build.add(Reshape(build.node_name(f"{call.name}.shape"), normed.name, norm.name))
    _scale_and_shift(call, build, norm.name, scale, shift)


def _size(call: Call, shape: Shape) -> int:
    return math.prod(call.fixed_dims(shape, "its spatial dimensions"))


def local_response_normalisation(call: Call, build: Builder) -> None:
    """LRN over neighbouring channels."""
    build.add(
        LocalResponseNorm(
            build.node_name(call.name),
            call.value(0).name,
            call.only_output().name,
            call.integer("size", 1),
            call.number("alpha", 1e-4),
            call.number("beta", 0.75),
            call.number("bias", 1.0),
        )
    )
