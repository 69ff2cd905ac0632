"""Transposed convolutions: one convolution of stride 1 that makes every phase of the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import numpy as np

from secateur.compiler.builder import Builder
from secateur.compiler.network import Array
from secateur.compiler.operands import Call
from secateur.compiler.operators.convolution import add_convolution
from secateur.compiler.operators.layers import weight_label
from secateur.compiler.operators.movement import phases_to_pixels
from secateur.compiler.operators.windows import Windows, windows
from secateur.format.graph import Slice, Value


@final
@dataclass(frozen=True)
class Axis:
    """One spatial dimension of a transposed convolution: ``y[stride i + dilation k - before] += w[k] x[i]``.

    The outputs at ``stride m + phase``, before they are cut, are a convolution of stride 1 with every
    ``stride``-th weight, from that phase on. Where there is one phase, the weights may stay dilated;
    else dilation becomes zeros between them.

    Attributes:
        size: Of the input.
        kernel: Number of weights.
        stride: Between the outputs of neighbouring inputs; the number of phases.
        dilation: Between the outputs of neighbouring weights.
        before: How many outputs are cut off at the start.
        result: How many are left.

    Example:
        >>> up = Axis(size=8, kernel=4, stride=2, dilation=1, before=1, result=16)
        >>> up.taps, up.pads, up.places, up.start
        (3, (1, 1), 8, 0)
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    result: int

    @property
    def step(self) -> int:
        """How far two weights lie apart in the kernel with its zeros."""
        return 1 if self.stride == 1 else self.dilation

    @property
    def spread(self) -> int:
        """The size of the kernel with its zeros."""
        return (self.kernel - 1) * self.step + 1

    @property
    def lead(self) -> int:
        """Zeros before the weights: with them, nothing need be cut off at the start of the output.

        They cost nothing where no phase has a tap more. Else they pay for 3 and 5 taps, which Winograd's
        kernels take: GANs' 4 x 4 by 2 is faster that way, dense and at a density of 0.1, than with 2 x 2
        taps and a cut.
        """
        aligned = -self.before % self.stride
        plain, more = -(-self.spread // self.stride), -(-(aligned + self.spread) // self.stride)
        return aligned if more == plain or more in (3, 5) else 0

    @property
    def taps(self) -> int:
        """How many weights each phase has, zeros with them."""
        return -(-(self.lead + self.spread) // self.stride)

    @property
    def apart(self) -> int:
        """The dilation of the convolution of stride 1."""
        return self.dilation if self.stride == 1 else 1

    @property
    def reach(self) -> int:
        """How far its first weight lies before its last."""
        return (self.taps - 1) * self.apart

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros before and after the input, so that windows begin and end with what is left of the output."""
        first = self.before + self.lead
        last = (first + self.result - 1) // self.stride
        return max(self.reach - first // self.stride, 0), max(last - self.size + 1, 0)

    @property
    def places(self) -> int:
        """How many windows there are."""
        return self.size + sum(self.pads) - self.reach

    @property
    def start(self) -> int:
        """Where the output begins among the phases of all windows."""
        return self.before + self.lead - self.stride * (self.reach - self.pads[0])


def transposed_convolution(call: Call, build: Builder) -> None:
    """ConvTranspose: in one or two spatial dimensions."""
    source, target, weight = call.value(0), call.only_output(), call.array(1, "weight")
    groups = call.integer("group", 1)
    if weight.ndim not in (3, 4):
        raise call.refused(f"its kernel has {weight.ndim - 2} dimensions", "one and two dimensions")
    kernel = call.integers("kernel_shape", weight.shape[2:])
    channels = call.fixed_dims(source.shape[1:2], "its channels")
    if kernel != weight.shape[2:] or channels != weight.shape[:1] or groups < 1 or channels[0] % groups:
        raise call.refused(
            f"a weight of shape {weight.shape} does not fit kernel {kernel}, {channels[0]} channels and "
            f"{groups} groups",
            "(channels, out / groups, kernel...)",
        )
    outputs = weight.shape[1] * groups
    bias = call.optional_array(2, "bias")
    if bias is not None and bias.shape != (outputs,):
        raise call.refused(f"a bias of shape {bias.shape} does not fit {outputs} outputs", "(out,)")
    axes = _axes(call, source, target, kernel)
    phases = prod(axis.stride for axis in axes)
    kernels = sub_kernels(weight, groups, axes)
    weights = build.constant(kernels, weight_label(call))
    build.zeros_added(weights, kernels.size - weight.size)
    shifts = None if bias is None else build.constant(np.repeat(bias, phases), call.label(2))
    at = Windows(
        (1,) * len(axes),
        (*(axis.pads[0] for axis in axes), *(axis.pads[1] for axis in axes)),
        tuple(axis.apart for axis in axes),
    )
    batch, places = source.shape[0], tuple(axis.places for axis in axes)
    strides, starts = tuple(axis.stride for axis in axes), tuple(axis.start for axis in axes)
    shape = (batch, outputs, *(axis.places * axis.stride for axis in axes))
    whole = target if shape == target.shape else build.temporary(f"{call.name}.whole", shape)
    made = (
        whole if phases == 1 else build.temporary(f"{call.name}.phases", (batch, outputs * phases, *places))
    )
    add_convolution(call, build, source, weights, made.name, at, groups=groups, bias=shifts)
    if phases > 1:
        phases_to_pixels(call, build, made, strides, whole)
    if whole is not target:
        name = build.node_name(f"{call.name}.cut")
        build.add(Slice(name, whole.name, target.name, (0, 0, *starts), (1,) * (2 + len(axes))))


def _axes(call: Call, source: Value, target: Value, kernel: tuple[int, ...]) -> tuple[Axis, ...]:
    at, rank = windows(call, source, kernel), len(kernel)
    sizes = call.fixed_dims(source.shape[2:], "its spatial dimensions")
    added, asked = call.integers("output_padding", (0,) * rank), call.integers("output_shape", ())
    if len(added) != rank or len(asked) not in (0, rank) or min(added) < 0:
        raise call.refused(
            f"output_padding {added} and output_shape {asked} on {rank} spatial dimensions",
            "one number per spatial dimension, from 0",
        )
    kind = call.text("auto_pad", "NOTSET")
    if not asked and kind.startswith("SAME"):
        asked = tuple(size * stride for size, stride in zip(sizes, at.strides, strict=True))
    axes = []
    for place, (size, k, stride, dilation) in enumerate(
        zip(sizes, kernel, at.strides, at.dilations, strict=True)
    ):
        full = stride * (size - 1) + added[place] + (k - 1) * dilation + 1
        before, result = at.pads[place], full - at.pads[place] - at.pads[place + rank]
        if asked:
            result = asked[place]
            # What is asked for beyond the full output lies behind it.
            extra = max(full - result, 0)
            before = extra // 2 if kind == "SAME_UPPER" else extra - extra // 2
        # One input, as at the start of a generator, makes all its outputs at once: no window lies in padding.
        phases = max(stride, k) if size == dilation == 1 else stride
        axes.append(Axis(size, k, phases, dilation, before, result))
    results = tuple(axis.result for axis in axes)
    if min(results) < 1:
        raise call.refused(f"its pads cut its output down to {results}", "outputs that hold numbers")
    if results != target.shape[2:]:
        raise call.refused(
            f"its pads and output_padding give an output of {results}, and ONNX's inference one of "
            f"{target.shape[2:]}",
            "attributes that both read in the same way; give pads in place of auto_pad",
        )
    return tuple(axes)


def sub_kernels(weight: Array, groups: int, axes: Sequence[Axis]) -> Array:
    """The weight of the convolution of stride 1: its outputs are the phases of each output channel.

    A weight that is zero stays zero; where a kernel does not fill all phases, zeros are added.

    Args:
        weight: (in, out / groups, kernel...).
        groups: Of channels.
        axes: One for each dimension of the kernel.

    Returns:
        (out x phases, in / groups, taps...); the phases of one output channel are neighbours, so that
        groups stay together, and so does what belongs to a channel of the output.

    Example:
        >>> sub_kernels(np.array([[[1, 2, 3]]]), 1, [Axis(4, 3, 2, 1, 0, 9)])
        array([[[3, 1]],
        <BLANKLINE>
               [[0, 2]]])
    """
    inputs, each, *kernel = weight.shape
    outputs, within, rank = groups * each, inputs // groups, len(axes)
    turned = weight.reshape(groups, within, each, *kernel).swapaxes(1, 2).reshape(outputs, within, *kernel)
    spread = np.zeros((outputs, within, *(axis.taps * axis.stride for axis in axes)), weight.dtype)
    places = tuple(slice(axis.lead, axis.lead + axis.spread, axis.step) for axis in axes)
    spread[:, :, *places] = turned
    parted = spread.reshape(outputs, within, *(size for axis in axes for size in (axis.taps, axis.stride)))
    taps, phases = range(2, 2 + 2 * rank, 2), range(3, 3 + 2 * rank, 2)
    apart = np.flip(parted, tuple(taps)).transpose(0, *phases, 1, *taps)
    return np.ascontiguousarray(apart).reshape(-1, within, *(axis.taps for axis in axes))
