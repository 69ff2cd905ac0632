"""What came of a measurement: one row a work, batch size, number of threads and engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

from secateur.benchmarking.statistics import Median


@final
@dataclass(frozen=True)
class Agreement:
    """How far an engine's outputs are from the reference's.

    Attributes:
        agrees: The relative error is within the tolerance and everything is finite.
        max_absolute_error: Largest difference; None where shapes differ or an output is not finite.
        max_relative_error: The same over the largest magnitude among the reference's outputs.
    """

    agrees: bool
    max_absolute_error: float | None = None
    max_relative_error: float | None = None


@final
@dataclass(frozen=True)
class Row:
    """One engine on one work.

    Attributes:
        work: Name of the work.
        batch: Images a call.
        threads: Threads it was given.
        engine: Name of the engine.
        configuration: The settings that were its fastest.
        absent: It is not installed.
        problem: Why there is no time, or None.
        agreement: Beside the reference; None if it did not come so far.
        latency: Milliseconds a call; None where there is a problem or no agreement.
        least_ms: The fastest single call.
        ratio: Its time over secateur's, round by round; None where either is missing.
        file_bytes: Bytes of the file it loads, with what belongs to it.
        load_ms: Milliseconds from the file to being ready.
        loaded_bytes: By how much its process grew while loading.
        running_bytes: By how much it had grown after the first inference.
    """

    work: str
    batch: int
    threads: int
    engine: str
    configuration: str | None = None
    absent: bool = False
    problem: str | None = None
    agreement: Agreement | None = None
    latency: Median | None = None
    least_ms: float | None = None
    ratio: Median | None = None
    file_bytes: int | None = None
    load_ms: float | None = None
    loaded_bytes: int | None = None
    running_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, flat, in the order in which people look for them."""
        agreement = asdict(self.agreement or Agreement(agrees=False))
        return {
            "work": self.work,
            "batch": self.batch,
            "threads": self.threads,
            "engine": self.engine,
            **_flat(self.latency, ("median_ms", "low_ms", "high_ms")),
            "least_ms": self.least_ms,
            "file_bytes": self.file_bytes,
            **agreement,
            **_flat(self.ratio, ("ratio", "ratio_low", "ratio_high")),
            "load_ms": self.load_ms,
            "loaded_bytes": self.loaded_bytes,
            "running_bytes": self.running_bytes,
            "configuration": self.configuration,
            "absent": self.absent,
            "problem": self.problem,
        }


def _flat(median: Median | None, names: tuple[str, str, str]) -> Mapping[str, float | None]:
    values = (None, None, None) if median is None else (median.value, median.low, median.high)
    return dict(zip(names, values, strict=True))
