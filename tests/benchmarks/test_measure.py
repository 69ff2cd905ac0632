from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from benchmarks.measure import Contestant, interleaved
from hypothesis import given
from hypothesis import strategies as st

from secateur.benchmarking.statistics import median_interval
from secateur.errors import ConfigurationError


def test_contestants_take_turns_in_an_order_that_is_reversed_every_round() -> None:
    turns: list[str] = []
    contestants = [Contestant(lambda name=name: turns.append(name)) for name in "ABC"]
    interleaved(contestants, rounds=3, warmup=0)
    assert "".join(turns) == "ABCCBAABC"


def test_warmup_runs_but_does_not_count() -> None:
    turns: list[int] = []
    (samples,) = interleaved([Contestant(lambda: turns.append(1))], rounds=2, warmup=3)
    assert (len(turns), len(samples)) == (5, 2)


def test_preparation_comes_before_each_run_and_is_not_timed() -> None:
    events: list[str] = []

    def prepare() -> None:
        events.append("prepare")
        time.sleep(0.05)

    (samples,) = interleaved([Contestant(lambda: events.append("run"), prepare)], rounds=2, warmup=0)
    assert events == ["prepare", "run"] * 2
    assert min(samples) < 25


def test_samples_stay_with_their_contestant_and_are_milliseconds_a_unit() -> None:
    contestants = [Contestant(lambda: time.sleep(0.02), units=4), Contestant(lambda: None)]
    slow, fast = interleaved(contestants, rounds=2)
    assert min(slow) >= 5
    assert min(fast) < 5


@pytest.mark.parametrize(("count", "rounds", "warmup"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_impossible_measurements_are_refused(count: int, rounds: int, warmup: int) -> None:
    with pytest.raises(
        ConfigurationError, match=f"found {count} contestants, rounds={rounds}, warmup={warmup}"
    ):
        interleaved([Contestant(lambda: None)] * count, rounds, warmup)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_the_interval_holds_the_median_and_lies_within_the_samples(samples: list[float]) -> None:
    low, high = median_interval(samples)
    slack = 1e-9 * (1 + abs(float(np.median(samples))))
    assert min(samples) <= low <= float(np.median(samples)) + slack
    assert float(np.median(samples)) - slack <= high <= max(samples)


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        low, high = median_interval(list(draw.exponential(size=25)))
        covered += low <= np.log(2) <= high
    # Order statistics move in steps: of 25 samples the 8th to the 18th cover with 95.7 %.
    assert 930 <= covered <= 980


def test_a_few_samples_give_their_whole_range() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


_TOUCH = """
import time
import numpy as np
from benchmarks.measure import resident_bytes

before, _ = resident_bytes()
block = np.ones(64 << 20, dtype=np.uint8)
now, peak = resident_bytes()
# Some kernels keep the account with a delay.
until = time.monotonic() + 30
while now - before < 0.9 * block.nbytes and time.monotonic() < until:
    time.sleep(0.05)
    now, peak = resident_bytes()
print(before, now, peak, block.nbytes)
"""


def test_memory_that_is_touched_shows() -> None:
    # In a process of its own: in one that had held a gigabyte before, the account stood still for 10 s.
    done = subprocess.run(  # noqa: S603  # our own interpreter and script
        [sys.executable, "-c", _TOUCH], check=True, capture_output=True, text=True
    )
    before, now, peak, touched = map(int, done.stdout.split())
    assert peak >= now >= before + 0.9 * touched
