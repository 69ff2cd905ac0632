"""The lines of a benchmark's result: a closed union of small frozen values, as JSON and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from rich import box
from rich.table import Table

from secateur.benchmarking.statistics import median_interval
from secateur.records import content_hash, provenance


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


def record_head(settings: Mapping[str, Any], command: str, threads: int, load: float) -> dict[str, Any]:
    """What every benchmark's file begins with.

    Args:
        settings: How it was measured, as JSON values.
        command: What was typed.
        threads: Of the computation.
        load: The machine's load average before the first measurement.

    Returns:
        JSON values.
    """
    record = provenance(configuration_hash=content_hash(settings), seed=0, threads=threads)
    return {
        "provenance": record.to_json(),
        "command": command,
        "settings": dict(settings),
        "load_average_before": round(load, 2),
    }


def record_of(
    rows: Sequence[Row], settings: Mapping[str, Any], command: str, threads: int, load: float
) -> dict[str, Any]:
    """What a benchmark of rows writes to its file: `record_head`, and the rows.

    Args:
        rows: What was measured.
        settings: How, as JSON values.
        command: What was typed.
        threads: Of the computation.
        load: The machine's load average before the first measurement.

    Returns:
        JSON values.
    """
    head = record_head(settings, command, threads, load)
    return {**head, "rows": [row.to_json() for row in rows]}


def table(rows: Sequence[Row]) -> Table:
    """The rows for the terminal.

    Args:
        rows: What was measured.

    Returns:
        A table that rich prints.
    """
    result = Table(title="cost, measured side by side", box=box.SIMPLE_HEAD, title_justify="left")
    result.add_column("what", no_wrap=True)
    for column in ("median ms", "reference", "ratio", "95 % interval", "limit", "within"):
        result.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        values = row.to_json()
        low, high = values["ratio_low"], values["ratio_high"]
        result.add_row(
            values["name"],
            _number(values["median_ms"]),
            _number(values["reference_ms"]),
            _number(values["ratio"], 3),
            "" if low is None else f"{low:.3f}..{high:.3f}",
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
