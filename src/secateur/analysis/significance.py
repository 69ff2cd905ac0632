"""What a difference in test error is worth: intervals for one error and for a paired difference.

Pure numpy and scipy; arrays of per-image errors in, per cent out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from secateur.errors import DataError

_CONFIDENCE = 0.95
_REPLICATES = 10_000
_GENERATOR_SEED = 20150608
# Largest array of image weights held at once: 32 MB.
_CHUNK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in per cent or percentage points.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """Error of the pruned network less that of the dense one, on the same images.

    Attributes:
        mean: Pruned minus dense, in percentage points; negative where the pruned network is better.
        interval: Its 95 % confidence interval, in percentage points.
        seeds: Number of independently trained pairs.
        images: Number of test images.
    """

    mean: float
    interval: Interval
    seeds: int
    images: int


def error_interval(errors: NDArray[np.bool_]) -> Interval:
    """The 95 % interval of one network's error: Wilson's score interval (JASA 22, 1927).

    Unlike p +- 1.96 sqrt(p (1 - p) / n), it keeps its coverage at errors near 0 and does not collapse at 0.

    Args:
        errors: [images], True where the network is wrong.

    Returns:
        The interval in per cent, within 0..100.

    Raises:
        DataError: Not a boolean array of one dimension with at least one image.

    Example:
        >>> interval = error_interval(np.arange(10_000) < 164)  # LeNet-300-100's 1.64 %
        >>> round(interval.low, 2), round(interval.high, 2)
        (1.41, 1.91)
    """
    _check("error_interval: errors", errors, dimensions=(1,))
    from scipy import stats  # noqa: PLC0415  # takes a second, and every run would begin with it

    result = stats.binomtest(int(errors.sum()), errors.size).proportion_ci(_CONFIDENCE, method="wilson")
    return Interval(100 * float(result.low), 100 * float(result.high))


def paired_difference(dense_errors: NDArray[np.bool_], pruned_errors: NDArray[np.bool_]) -> PairedDifference:
    """Pruned minus dense error in percentage points, with a 95 % interval that honours the pairing.

    Both networks see the same images, so only images on which they disagree speak, and the interval is far
    narrower than two separate ones.

    With several seeds: percentile bootstrap over 10,000 replicates that draw seeds and images independently,
    with replacement ("pigeonhole bootstrap", Owen, Annals of Applied Statistics 1, 2007, which shows it to be
    mildly conservative over images). A handful of seeds under-represents how much seeds differ, so the
    interval is never taken narrower than Student's for the two crossed random effects (Satterthwaite's
    degrees of freedom, Biometrics Bulletin 2, 1946), nor than what perfect agreement on these images would
    leave open.

    With one seed: Wald's interval after adding one disagreement each way and two images (Bonett and Price,
    Journal of Educational and Behavioral Statistics 37, 2012), which stays honest where nothing disagrees; it
    speaks of that pair of networks, not of other seeds.

    Args:
        dense_errors: [images] or [seeds, images], True where the dense network is wrong.
        pruned_errors: The same shape, images and seeds in the same order.

    Returns:
        The mean difference and its interval, in percentage points within -100..100; the same numbers at each
        call.

    Raises:
        DataError: Not boolean, empty, of other dimensions, or of unequal shapes.

    Example:
        >>> dense, pruned = np.arange(10_000) < 164, np.arange(10_000) < 159
        >>> difference = paired_difference(dense, pruned)
        >>> round(difference.mean, 3), round(difference.interval.low, 3), round(difference.interval.high, 3)
        (-0.05, -0.102, 0.002)
    """
    _check("paired_difference: dense_errors", dense_errors, dimensions=(1, 2))
    _check("paired_difference: pruned_errors", pruned_errors, dimensions=(1, 2))
    if dense_errors.shape != pruned_errors.shape:
        raise DataError(
            f"paired_difference: dense_errors has shape {dense_errors.shape} and pruned_errors "
            f"{pruned_errors.shape}; expected the same images and seeds in the same order"
        )
    difference = np.atleast_2d(pruned_errors).astype(np.int8) - np.atleast_2d(dense_errors).astype(np.int8)
    seeds, images = difference.shape
    mean = float(difference.mean(dtype=np.float64))
    if seeds == 1:
        worse, better = int((difference == 1).sum()), int((difference == -1).sum())
        low, high = _bonett_price(worse, better, images)
    else:
        low, high = _pigeonhole_bootstrap(difference)
        _, agreement = _bonett_price(0, 0, images)
        reach = max(agreement, _crossed_reach(difference))
        low, high = min(low, mean - reach), max(high, mean + reach)
    return PairedDifference(100 * mean, Interval(100 * max(low, -1.0), 100 * min(high, 1.0)), seeds, images)


def _bonett_price(worse: int, better: int, images: int) -> tuple[float, float]:
    p_worse, p_better = (worse + 1) / (images + 2), (better + 1) / (images + 2)
    centre = p_worse - p_better
    spread = math.sqrt((p_worse + p_better - centre**2) / (images + 2))
    reach = float(special.ndtri((1 + _CONFIDENCE) / 2)) * spread
    return centre - reach, centre + reach


def _pigeonhole_bootstrap(difference: NDArray[np.int8]) -> tuple[float, float]:
    """Percentile interval of mean(difference) under independent resampling of its rows and columns."""
    disagreements = difference[difference != 0]
    # Turned so that the first disagreement is positive: swapping the networks then mirrors the interval
    # exactly.
    sign = int(disagreements[0]) if disagreements.size else 1
    # Images with the same outcome under every seed are interchangeable, so it is enough to draw how often
    # each such pattern comes up: the same distribution as drawing images, in a hundredth of the numbers.
    patterns, counts = np.unique(sign * difference, axis=1, return_counts=True)
    seeds, images = difference.shape
    generator = np.random.default_rng(_GENERATOR_SEED)
    means = []
    chunk = max(1, _CHUNK_NUMBERS // counts.size)
    for start in range(0, _REPLICATES, chunk):
        size = min(chunk, _REPLICATES - start)
        seed_weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size) / seeds
        image_weights = generator.multinomial(images, counts / images, size) / images
        means.append(np.einsum("rk,rk->r", seed_weights @ patterns, image_weights))
    tail = (1 - _CONFIDENCE) / 2
    low, high = (float(value) for value in np.quantile(np.concatenate(means), (tail, 1 - tail)))
    return (low, high) if sign == 1 else (-high, -low)


def _crossed_reach(difference: NDArray[np.int8]) -> float:
    """Half the width of Student's interval for the mean of seeds x images, both random and crossed.

    The mean squares estimate N var_seed + var_rest, S var_image + var_rest and var_rest; the variance of the
    mean is (MS_seed + MS_image - MS_rest) / (S N).
    """
    seeds, images = difference.shape
    if images == 1:  # nothing tells images apart from the rest
        return 1.0
    mean = difference.mean()
    of_seed = difference.mean(axis=1, keepdims=True) - mean
    of_image = difference.mean(axis=0, keepdims=True) - mean
    ms_seed = images * float((of_seed**2).sum()) / (seeds - 1)
    ms_image = seeds * float((of_image**2).sum()) / (images - 1)
    rest = float(((difference - mean - of_seed - of_image) ** 2).sum())
    ms_rest = rest / ((seeds - 1) * (images - 1))
    # Estimates can come out lower than the part they contain.
    combined = max(ms_seed + ms_image - ms_rest, ms_seed, ms_image)
    if combined == 0.0:
        return 0.0
    noise = ms_seed**2 / (seeds - 1) + ms_image**2 / (images - 1) + ms_rest**2 / ((seeds - 1) * (images - 1))
    quantile = float(special.stdtrit(combined**2 / noise, (1 + _CONFIDENCE) / 2))
    return quantile * math.sqrt(combined / (seeds * images))


def _check(what: str, errors: NDArray[np.bool_], dimensions: tuple[int, ...]) -> None:
    shapes = " or ".join({1: "[images]", 2: "[seeds, images]"}[dimension] for dimension in dimensions)
    if errors.dtype != np.bool_:
        raise DataError(
            f"{what} must be a boolean array, True where the network is wrong, but is {errors.dtype}; "
            "pass predictions != labels"
        )
    if errors.ndim not in dimensions:
        raise DataError(f"{what} must have shape {shapes}, but has {errors.shape}")
    if errors.size == 0:
        raise DataError(f"{what} must hold at least one image, but has shape {errors.shape}")
