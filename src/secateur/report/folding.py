"""A first layer's connections, folded onto the image it reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import LayerSelectionError


def folded(alive: NDArray[np.bool_] | NDArray[Any]) -> NDArray[np.int64]:
    """How many connections of a first layer look at each place of its input.

    Args:
        alive: Which weights live: [out, side x side], or [out, in, height, width].

    Returns:
        Counts, [height, width]: of the image for a linear layer, of the filter for a convolution.

    Raises:
        LayerSelectionError: The weight is neither.

    Example:
        >>> folded(np.array([[True, False, True, True], [True, False, False, False]])).tolist()
        [[2, 0], [1, 1]]
    """
    if alive.ndim == 4:
        counts: NDArray[np.int64] = alive.sum(axis=(0, 1))
        return counts
    side = math.isqrt(alive.shape[1]) if alive.ndim == 2 else 0
    if alive.ndim != 2 or side * side != alive.shape[1]:
        raise LayerSelectionError(
            f"folding a first layer: expected a weight of shape [out, side x side] or [out, in, height, "
            f"width], found {list(alive.shape)}; ask for the layer that reads the image"
        )
    return np.asarray(alive.sum(axis=0)).reshape(side, side)
