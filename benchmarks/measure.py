"""Measuring side by side: contestants take turns in one process, so that whatever slows the machine slows all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from rich import box
from rich.table import Table
from scipy.stats import binom

from secateur.errors import ConfigurationError


def _nothing() -> None: ...


@final
@dataclass(frozen=True)
class Contestant:
    """Something to be timed.

    Args:
        run: What is timed.
        prepare: Called before every run, outside the clock.
        units: The times are divided by this: the steps that one run makes.
    """

    run: Callable[[], object]
    prepare: Callable[[], object] = _nothing
    units: int = 1


def interleaved(contestants: Sequence[Contestant], rounds: int, warmup: int = 1) -> list[list[float]]:
    """Time contestants in turns: A B C, C B A, A B C, ...

    Args:
        contestants: Who takes turns. The order is reversed every round, so that no one always follows another.
        rounds: Samples of each, at least 1.
        warmup: Rounds before those, which are thrown away.

    Returns:
        Milliseconds a unit, one list a contestant in the order given; the i-th entries belong to one round.

    Raises:
        ConfigurationError: There are no contestants, or rounds < 1, or warmup < 0.

    Example:
        >>> [len(samples) for samples in interleaved([Contestant(dict), Contestant(list)], rounds=3)]
        [3, 3]
    """
    if not contestants or rounds < 1 or warmup < 0:
        raise ConfigurationError(
            "a measurement needs at least one contestant, rounds >= 1 and warmup >= 0; found "
            f"{len(contestants)} contestants, rounds={rounds}, warmup={warmup}"
        )
    samples: list[list[float]] = [[] for _ in contestants]
    turns = list(range(len(contestants)))
    for number in range(-warmup, rounds):
        for turn in turns if number % 2 == 0 else reversed(turns):
            contestant = contestants[turn]
            contestant.prepare()
            began = time.perf_counter()
            contestant.run()
            milliseconds = (time.perf_counter() - began) * 1e3 / contestant.units
            if number >= 0:
                samples[turn].append(milliseconds)
    return samples


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


class Row(Protocol):
    """A line of the result: `Comparison`, `Share`, `Duration` or `Memory`."""

    @property
    def within(self) -> bool | None:
        """Whether the limit is kept; None where there is no limit."""

    def to_json(self) -> dict[str, Any]:
        """The line as plain JSON values; every kind of line has the same keys."""


@final
@dataclass(frozen=True)
class Comparison:
    """One thing beside another, timed in turns.

    The ratio is the median of the ratios within each round, which a drift of the machine's speed over the
    rounds leaves alone; the ratio of the two medians, which lie beside it, may differ a little.

    Args:
        name: What was measured.
        candidate_ms: Milliseconds, one a round.
        reference_ms: The same of what it is compared with.
        limit: The largest ratio allowed, if there is one.
        note: What a reader must know.
    """

    name: str
    candidate_ms: Sequence[float]
    reference_ms: Sequence[float]
    limit: float | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Candidate over reference, round by round."""
        return [a / b for a, b in zip(self.candidate_ms, self.reference_ms, strict=True)]

    @property
    def within(self) -> bool | None:
        """Whether the median ratio is at most the limit."""
        return _within(float(np.median(self.ratios)), self.limit)

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        return _row(
            self.name,
            self.candidate_ms,
            reference_ms=self.reference_ms,
            ratio=float(np.median(self.ratios)),
            ratio_interval=median_interval(self.ratios),
            limit=self.limit,
            limit_of="ratio",
            within=self.within,
            note=self.note,
        )


@final
@dataclass(frozen=True)
class Share:
    """An addition timed alone, as a ratio: ``1 + median(added) / median(reference)``.

    For when the whole is too slow and too noisy for a small addition to show in it.

    Args:
        name: What was measured.
        added_ms: Milliseconds of the addition alone.
        reference_ms: Milliseconds of what it is added to.
        limit: The largest ratio allowed, if there is one.
        note: What a reader must know.
    """

    name: str
    added_ms: Sequence[float]
    reference_ms: Sequence[float]
    limit: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """The ratio derived from the two medians."""
        return 1 + float(np.median(self.added_ms)) / float(np.median(self.reference_ms))

    @property
    def within(self) -> bool | None:
        """Whether the derived ratio is at most the limit."""
        return _within(self.ratio, self.limit)

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values; ``median_ms`` is the addition's."""
        added = median_interval(self.added_ms)
        reference = median_interval(self.reference_ms)
        return _row(
            self.name,
            self.added_ms,
            reference_ms=self.reference_ms,
            ratio=self.ratio,
            ratio_interval=(1 + added[0] / reference[1], 1 + added[1] / reference[0]),
            limit=self.limit,
            limit_of="derived ratio",
            within=self.within,
            note=self.note,
        )


@final
@dataclass(frozen=True)
class Duration:
    """A time with a limit of its own.

    Args:
        name: What was measured.
        samples_ms: Milliseconds.
        limit_ms: The largest median allowed, if there is a limit.
        note: What a reader must know.
    """

    name: str
    samples_ms: Sequence[float]
    limit_ms: float | None = None
    note: str = ""

    @property
    def within(self) -> bool | None:
        """Whether the median is at most the limit."""
        return _within(float(np.median(self.samples_ms)), self.limit_ms)

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        return _row(
            self.name,
            self.samples_ms,
            limit=self.limit_ms,
            limit_of="median_ms",
            within=self.within,
            note=self.note,
        )


@final
@dataclass(frozen=True)
class Memory:
    """A peak of memory as a multiple of something's size.

    Args:
        name: What was measured.
        extra_bytes: The peak less what was there before, one a fresh process.
        reference_bytes: The size it is compared with.
        limit: The largest ratio allowed, if there is one.
        note: What a reader must know.
    """

    name: str
    extra_bytes: Sequence[int]
    reference_bytes: int
    limit: float | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Extra bytes over the reference's, process by process."""
        return [extra / self.reference_bytes for extra in self.extra_bytes]

    @property
    def within(self) -> bool | None:
        """Whether the largest ratio is at most the limit: memory has no lucky days."""
        return _within(max(self.ratios), self.limit)

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        return _row(
            self.name,
            (),
            ratio=max(self.ratios),
            ratio_interval=(min(self.ratios), max(self.ratios)),
            limit=self.limit,
            limit_of="ratio of bytes",
            within=self.within,
            note=self.note,
        ) | {"extra_bytes": list(self.extra_bytes), "reference_bytes": self.reference_bytes}


def resident_bytes() -> tuple[int, int]:
    """The memory this process holds now, and the most it ever held.

    Not ``getrusage``: its peak is inherited from the process that started this one, however large that was.

    Returns:
        Bytes now, bytes at the peak.

    Raises:
        ConfigurationError: The system keeps no such account (it is not Linux).
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        raise ConfigurationError(
            "memory is measured through /proc/self/status, which this system has not; leave 'masks' out with --only"
        )
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    now, peak = (int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return now, peak


def table(rows: Sequence[Row]) -> Table:
    """The rows for the terminal.

    Args:
        rows: What was measured.

    Returns:
        A table that rich prints.
    """
    result = Table(title="cost, measured side by side", box=box.SIMPLE_HEAD, title_justify="left")
    result.add_column("what", overflow="fold")
    for column in ("median ms", "reference ms", "ratio", "95 % interval", "limit", "within"):
        result.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        values = row.to_json()
        low, high = values["ratio_low"], values["ratio_high"]
        result.add_row(
            values["name"],
            _number(values["median_ms"]),
            _number(values["reference_ms"]),
            _number(values["ratio"], 3),
            "" if low is None else f"{low:.3f} - {high:.3f}",
            _number(values["limit"]),
            {True: "yes", False: "NO", None: ""}[row.within],
        )
    return result


def _row(
    name: str,
    samples_ms: Sequence[float],
    *,
    limit: float | None,
    limit_of: str,
    within: bool | None,
    note: str,
    reference_ms: Sequence[float] = (),
    ratio: float | None = None,
    ratio_interval: tuple[float, float] | None = None,
) -> dict[str, Any]:
    low, high = median_interval(samples_ms) if samples_ms else (None, None)
    ratio_low, ratio_high = ratio_interval or (None, None)
    return {
        "name": name,
        "median_ms": float(np.median(samples_ms)) if samples_ms else None,
        "low_ms": low,
        "high_ms": high,
        "reference_ms": float(np.median(reference_ms)) if reference_ms else None,
        "ratio": ratio,
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
        "limit": limit,
        "limit_of": None if limit is None else limit_of,
        "within": within,
        "samples": len(samples_ms),
        "samples_ms": [round(sample, 4) for sample in samples_ms],
        "reference_samples_ms": [round(sample, 4) for sample in reference_ms],
        "note": note,
    }


def _within(value: float, limit: float | None) -> bool | None:
    if limit is None:
        return None
    return bool(math.isfinite(value) and value <= limit)


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
