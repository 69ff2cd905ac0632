"""What the compiler makes of a model: a graph and the numbers of its constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """

    graph: Graph
    constants: Mapping[str, np.ndarray]


def most_padding(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """How much padding a convolution may have of its own: with more, windows lie far out in it.

    Args:
        kernel: Sizes.
        strides: One a dimension.
        dilations: One a dimension.

    Returns:
        The most before every dimension, and then the most after: what the native core takes at its door.

    Example:
        >>> most_padding((3, 1), (1, 2), (2, 1))
        (5, 2, 9, 2)
    """
    reaches = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    before = (reach + stride for reach, stride in zip(reaches, strides, strict=True))
    after = (2 * reach + stride for reach, stride in zip(reaches, strides, strict=True))
    return (*before, *after)
