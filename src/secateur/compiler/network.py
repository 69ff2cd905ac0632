"""What the compiler makes of a model: a graph and the numbers of its constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secateur.format.graph import Graph

Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Network:
    """A graph and its constants.

    Attributes:
        graph: What is computed.
        constants: An array for each of ``graph.constants``: float32, or int64 for the indices of a Gather.
        added: How many of a weight's zeros are not the model's own: they fill up the phases of a transposed
            convolution.
    """

    graph: Graph
    constants: Mapping[str, np.ndarray]
    added: Mapping[str, int] = field(default_factory=dict)


def takes_padding(
    pads: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> bool:
    """Whether a convolution may have so much padding of its own: with more, windows lie far out in it.

    The native core takes at its door what this allows.

    Args:
        pads: Before every dimension, and then after every dimension.
        kernel: Sizes.
        strides: One a dimension.
        dilations: One a dimension.

    Returns:
        False where a step of its own must pad.

    Example:
        >>> takes_padding((5, 2, 9, 2), kernel=(3, 1), strides=(1, 2), dilations=(2, 1))
        True
        >>> takes_padding((6, 2, 9, 2), kernel=(3, 1), strides=(1, 2), dilations=(2, 1))
        False
    """
    reaches = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
    before = (reach + stride for reach, stride in zip(reaches, strides, strict=True))
    after = (2 * reach + stride for reach, stride in zip(reaches, strides, strict=True))
    return all(pad <= most for pad, most in zip(pads, (*before, *after), strict=True))
