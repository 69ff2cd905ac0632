"""Schedules: how density (or quality) moves from where it is to where it shall be.

A schedule is a callable ``progress in 0..1 -> value``. Rounds ask it at 1/R, 2/R, ..., 1; a gradual cut
inside one training run asks it at the fraction of its steps that are done.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from secateur.errors import ConfigurationError

Schedule = Callable[[float], float]


@final
@dataclass(frozen=True)
class OneShot:
    """The whole cut at once: the final density at any progress above zero.

    Example:
        >>> OneShot(0.1)(0.0), OneShot(0.1)(0.01)
        (1.0, 0.1)
    """

    final: float
    initial: float = 1.0

    def __post_init__(self) -> None:
        _check_densities(self.initial, self.final)

    def __call__(self, progress: float) -> float:
        """The density at a progress in 0..1."""
        return self.final if _clip(progress) > 0 else self.initial


@final
@dataclass(frozen=True)
class Linear:
    """The same number of weights every time: ``initial + (final - initial) t``.

    Example:
        >>> round(Linear(0.2)(0.5), 3)
        0.6
    """

    final: float
    initial: float = 1.0

    def __post_init__(self) -> None:
        _check_densities(self.initial, self.final)

    def __call__(self, progress: float) -> float:
        """The density at a progress in 0..1."""
        return _between(self.final, self.initial, 1.0 - _clip(progress))


@final
@dataclass(frozen=True)
class Geometric:
    """The same fraction of what remains every time: ``initial (final / initial)^t``.

    This is the paper's iterative pruning with equal rounds (section 3.4).

    Example:
        >>> round(Geometric(0.01)(0.5), 3)
        0.1
    """

    final: float
    initial: float = 1.0

    def __post_init__(self) -> None:
        _check_densities(self.initial, self.final)

    def __call__(self, progress: float) -> float:
        """The density at a progress in 0..1."""
        done = _clip(progress)
        if done == 1.0:
            return self.final
        return max(self.final, self.initial * float((self.final / self.initial) ** done))


@final
@dataclass(frozen=True)
class Cubic:
    """Fast while weights are plentiful, slow at the end: ``final + (initial - final) (1 - t)^3``.

    Example:
        >>> round(Cubic(0.1)(0.5), 4)
        0.2125

    Source: Zhu and Gupta, "To prune, or not to prune", arXiv 1710.01878.
    """

    final: float
    initial: float = 1.0

    def __post_init__(self) -> None:
        _check_densities(self.initial, self.final)

    def __call__(self, progress: float) -> float:
        """The density at a progress in 0..1."""
        left = 1.0 - _clip(progress)
        return _between(self.final, self.initial, left * left * left)


@final
@dataclass(frozen=True)
class GrowingQuality:
    """The paper's quality parameter, grown in equal steps: ``initial + (final - initial) t``.

    Unlike the others this is a schedule of the threshold's quality parameter s (larger cuts more), not of a
    density.

    Example:
        >>> quality = GrowingQuality(initial=0.5, final=1.5)
        >>> [quality(round / 2) for round in (1, 2)]
        [1.0, 1.5]

    Source: Han's dissertation, chapter 3, algorithm 1 (a threshold that grows by delta each iteration).
    """

    final: float
    initial: float = 0.0

    def __post_init__(self) -> None:
        if not (_are_numbers(self.initial, self.final) and 0 <= self.initial <= self.final):
            raise ConfigurationError(
                f"a growing quality needs 0 <= initial <= final; found initial={self.initial!r}, "
                f"final={self.final!r}"
            )

    def __call__(self, progress: float) -> float:
        """The quality parameter at a progress in 0..1."""
        return _between(self.initial, self.final, _clip(progress))


def rounds(schedule: Schedule, count: int) -> tuple[float, ...]:
    """The values of a schedule at the end of each of several equal rounds.

    Args:
        schedule: Any schedule.
        count: Number of rounds, at least 1.

    Returns:
        ``count`` values, the last of them the schedule's final one.

    Raises:
        ConfigurationError: The count is below 1.

    Example:
        >>> [round(value, 3) for value in rounds(Geometric(0.125), 3)]
        [0.5, 0.25, 0.125]
    """
    if count < 1:
        raise ConfigurationError(f"the number of rounds must be at least 1, found {count}")
    return tuple(schedule(number / count) for number in range(1, count + 1))


def _between(low: float, high: float, fraction: float) -> float:
    # Both ends are exact and it never turns back: a density one rounding too low could cut a weight that
    # the next value asks for. (The symmetric form, (1 - t) low + t high, is exact at the ends only.)
    return high if fraction == 1.0 else min(low + (high - low) * fraction, high)


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, numbers.Real) for value in values)


def _clip(progress: float) -> float:
    return min(max(progress, 0.0), 1.0)


def _check_densities(initial: float, final: float) -> None:
    if not (_are_numbers(initial, final) and 0 < final <= initial <= 1):
        raise ConfigurationError(
            "a schedule of density needs 0 < final <= initial <= 1; found "
            f"initial={initial!r}, final={final!r}"
        )
