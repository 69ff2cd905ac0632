"""A layer's weights before and after, counted over the same bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 101


def histograms(
    dense: NDArray[Any], pruned: NDArray[Any], bins: int = BINS
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Counts of a layer's weights before and after, over the same bins; zeros are left out after.

    Args:
        dense: Weights before, any shape.
        pruned: Weights after.
        bins: How many.

    Returns:
        The bins' edges [bins + 1], symmetric around zero and wide enough for 99.9 % of both, and the counts
        [bins] before and after. What lies outside counts in the outermost bins.

    Example:
        >>> edges, before, after = histograms(np.array([-1.0, 0.1, 1.0]), np.array([-1.0, 0.0, 1.0]), 3)
        >>> before.tolist(), after.tolist()
        ([1, 1, 1], [1, 0, 1])
    """
    alive = pruned[pruned != 0]
    reach = max(
        (float(np.quantile(np.abs(part), 0.999)) for part in (dense, alive) if part.size), default=0.0
    )
    reach = reach or 1.0
    edges = np.linspace(-reach, reach, bins + 1)
    before, after = (np.histogram(np.clip(part, -reach, reach), edges)[0] for part in (dense, alive))
    return edges, before, after
