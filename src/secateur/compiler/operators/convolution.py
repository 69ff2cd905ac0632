"""Convolutions."""

from __future__ import annotations

from secateur.compiler.builder import Builder
from secateur.compiler.network import takes_padding
from secateur.compiler.operands import Call
from secateur.compiler.operators.layers import layer_name
from secateur.compiler.operators.windows import Windows, windows
from secateur.format.graph import Convolution, Pad, Value


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
    bias = call.optional_array(2, "bias")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise call.refused(f"a bias of shape {bias.shape} does not fit {weight.shape[0]} outputs", "(out,)")
    add_convolution(
        call,
        build,
        source,
        build.name(call, call.operand(1)),
        call.only_output().name,
        windows(call, source, kernel),
        groups=groups,
        bias=None if bias is None else build.constant(bias, call.label(2)),
    )


def add_convolution(
    call: Call,
    build: Builder,
    source: Value,
    weight: str,
    output: str,
    at: Windows,
    *,
    groups: int,
    bias: str | None,
) -> None:
    """Append a convolution, and before it padding where there is more than a convolution takes.

    Args:
        call: The node that it is of.
        build: Where.
        source: Its input.
        weight: The constant's name, (out, in / groups, kernel...).
        output: The name of the value that it writes.
        at: Its windows.
        groups: Of channels.
        bias: The constant's name.

    Raises:
        UnsupportedModelError: It must be padded, and a spatial dimension grows with the batch.
    """
    name, pads = source.name, at.pads
    kernel = call.fixed_dims(build.shape(weight)[2:], "its kernels")
    if not takes_padding(pads, kernel, at.strides, at.dilations):
        name, pads = _padded(call, build, source, pads), (0,) * len(pads)
    layer = build.node_name(layer_name(call))
    build.add(Convolution(layer, name, weight, output, at.strides, pads, at.dilations, groups, bias))


def _padded(call: Call, build: Builder, source: Value, pads: tuple[int, ...]) -> str:
    """A step of its own where whole windows lie in the padding: no kernel takes that."""
    rank = len(pads) // 2
    shape = list(source.shape[:2])
    for dim, before, after in zip(source.shape[2:], pads[:rank], pads[rank:], strict=True):
        if not isinstance(dim, int):
            raise call.refused("a spatial dimension grows with the batch", "fixed ones")
        shape.append(dim + before + after)
    padded = build.temporary(f"{call.name}.padded", tuple(shape))
    build.add(Pad(build.node_name(f"{call.name}.pad"), source.name, padded.name, (0, 0, *pads[:rank])))
    return padded.name
