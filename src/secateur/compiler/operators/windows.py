"""Where the windows of convolutions and pools lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from secateur.compiler.operands import Call
from secateur.format.graph import Value


@final
@dataclass(frozen=True)
class Windows:
    """Strides, pads (all begins, then all ends) and dilations of windows."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]


def windows(call: Call, source: Value, kernel: tuple[int, ...]) -> Windows:
    """The windows that a node's attributes ask for, automatic padding worked out.

    Args:
        call: A convolution or pool.
        source: Its input, N x C x spatial dimensions.
        kernel: One size per spatial dimension.

    Returns:
        With one stride and dilation and two pads per spatial dimension.
    """
    rank = len(kernel)
    sizes = call.fixed_dims(source.shape[2:], "its spatial dimensions")
    strides = call.integers("strides", (1,) * rank)
    dilations = call.integers("dilations", (1,) * rank)
    pads = call.integers("pads", (0,) * (2 * rank))
    if not len(sizes) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise call.refused(
            f"kernel {kernel}, strides {strides}, dilations {dilations} and pads {pads} on {len(sizes)} "
            "spatial "
            "dimensions",
            "one kernel size, stride and dilation and two pads per spatial dimension",
        )
    if min(strides) < 1 or min(dilations) < 1 or min(pads) < 0:
        raise call.refused(
            f"strides {strides}, dilations {dilations} and pads {pads}",
            "positive strides and dilations, pads from 0",
        )
    match call.text("auto_pad", "NOTSET"):
        case "NOTSET" | "":
            return Windows(strides, pads, dilations)
        case "VALID":
            return Windows(strides, (0,) * (2 * rank), dilations)
        case ("SAME_UPPER" | "SAME_LOWER") as kind:
            begins, ends = [], []
            for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
                missing = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
                less, more = missing // 2, missing - missing // 2
                begins.append(less if kind == "SAME_UPPER" else more)
                ends.append(more if kind == "SAME_UPPER" else less)
            return Windows(strides, (*begins, *ends), dilations)
        case other:
            raise call.refused(f"auto_pad is {other!r}", "NOTSET, VALID, SAME_UPPER and SAME_LOWER")
