"""Medians of noisy times, with intervals that assume nothing of the noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from scipy.stats import binom


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """An interval for the median that assumes nothing of the distribution: two order statistics.

    Args:
        samples: At least one.
        confidence: In 0..1. With fewer than six samples 95 % cannot be had; then it is the whole range.

    Returns:
        Lower and upper end.

    Example:
        >>> median_interval(list(range(1, 101)))
        (40.0, 61.0)
    """
    ordered = sorted(samples)
    # P(fewer than k of n samples lie below the median) follows the fair coin.
    below = int(binom.ppf((1 - confidence) / 2, len(ordered), 0.5))
    low = max(below - 1, 0)
    return float(ordered[low]), float(ordered[len(ordered) - 1 - low])


@final
@dataclass(frozen=True)
class Median:
    """A median and the 95 % interval for it."""

    value: float
    low: float
    high: float


def median(samples: Sequence[float]) -> Median:
    """The median of samples with its interval.

    Args:
        samples: At least one.

    Returns:
        Both.

    Example:
        >>> median([3.0, 1.0, 2.0])
        Median(value=2.0, low=1.0, high=3.0)
    """
    return Median(statistics.median(samples), *median_interval(samples))


def ratios(samples: Sequence[float], base: Sequence[float]) -> Median:
    """How many times as long as the base: the median over rounds of the ratio within one round.

    What slows the machine for a while slows both sides of a round, and leaves their ratio.

    Args:
        samples: One number a round.
        base: The same rounds of what is compared with.

    Returns:
        The ratio; above 1 means slower than the base.

    Example:
        >>> ratios([2.0, 40.0, 2.0], [1.0, 10.0, 1.0]).value
        2.0
    """
    return median([sample / of for sample, of in zip(samples, base, strict=True)])
