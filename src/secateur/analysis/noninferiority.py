"""Non-inferiority: whether a network is shown to be no more than a margin worse than another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from secateur.analysis.significance import PairedDifference
from secateur.errors import ConfigurationError


@final
@dataclass(frozen=True)
class NonInferiority:
    """What a paired difference says of a margin.

    Attributes:
        margin: The most that the network may be worse, in percentage points.
        bound: The upper end of the 95 % interval of the difference, in percentage points.
        shown: Whether the bound is within the margin: then the claim "at most ``margin`` points worse" errs
            in one case of forty.
    """

    margin: float
    bound: float
    shown: bool


def non_inferiority(difference: PairedDifference, margin: float) -> NonInferiority:
    """Test "at most ``margin`` points worse" by the upper end of the difference's interval.

    Args:
        difference: Error of the one network less that of the other, from
            `secateur.analysis.significance.paired_difference`.
        margin: In percentage points, finite and at or above 0.

    Returns:
        The statement.

    Raises:
        ConfigurationError: The margin is negative or not finite.

    Example:
        >>> from secateur.analysis.significance import Interval
        >>> non_inferiority(PairedDifference(0.02, Interval(-0.05, 0.09), 1, 10_000), margin=0.1).shown
        True
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise ConfigurationError(f"a margin is a number of points at or above 0, found {margin}")
    bound = difference.interval.high
    return NonInferiority(margin, bound, bound <= margin)


def paired_deviation(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The standard error of the difference of two networks' errors on the same images.

    ``sqrt(b + c - (b - c)^2 / n) / n`` for b and c disagreements one way and the other (McNemar).

    Args:
        first: [images], True where the one is wrong.
        second: [images], True where the other is wrong.

    Returns:
        In percentage points.

    Example:
        >>> wrong = np.arange(10_000)
        >>> round(paired_deviation(wrong < 100, (wrong >= 20) & (wrong < 130)), 4)
        0.0707
    """
    images = first.size
    difference = second.astype(np.int8) - first.astype(np.int8)
    disagreements = int(np.count_nonzero(difference))
    net = int(difference.sum(dtype=np.int64))
    return 100 * math.sqrt(max(disagreements - net**2 / images, 0.0)) / images
