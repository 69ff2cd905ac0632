"""What several seeds come to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.analysis.significance import paired_difference


def spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean and spread of one number a seed.

    Args:
        values: One a seed; None where there is none.

    Returns:
        JSON values; None where a seed has none. The deviation is that of a sample, None for a single one.

    Example:
        >>> spread([1.0, 3.0])
        {'mean': 2.0, 'deviation': 1.4142135623730951, 'low': 1.0, 'high': 3.0, 'each': [1.0, 3.0]}
    """
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return {
        "mean": statistics.fmean(known),
        "deviation": statistics.stdev(known) if len(known) > 1 else None,
        "low": min(known),
        "high": max(known),
        "each": known,
    }


def difference(first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]]) -> dict[str, Any]:
    """Error of the second networks less that of the first ones, paired over seeds and images.

    Args:
        first: [images] a seed, True where the network is wrong.
        second: The same seeds.

    Returns:
        JSON values, in percentage points, with a 95 % interval.

    Example:
        >>> right, wrong = np.zeros(100, dtype=bool), np.arange(100) < 2
        >>> difference([right], [wrong])["mean"]
        2.0
    """
    found = paired_difference(np.stack(list(first)), np.stack(list(second)))
    return {
        "mean": found.mean,
        "interval": [found.interval.low, found.interval.high],
        "paired_over": {"seeds": found.seeds, "images": found.images},
    }
