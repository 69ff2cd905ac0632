"""Measuring side by side: contestants take turns in one process, so that what slows one slows all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

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
        contestants: Who takes turns. The order is reversed every round, so that none always follows another.
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
            "memory is measured through /proc/self/status, which this system has not; "
            "leave 'masks' out with --only"
        )
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    now, peak = (int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return now, peak
