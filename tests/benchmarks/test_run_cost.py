"""What rounds and resumptions cost: that it measures what it says it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.run_cost import Effort, resuming_cost, rounds_cost, rounds_memory, seconds_until_killed

SMALL = Effort(threads=1, rounds=4, images=200, network="lenet-300-100", pixels=28, resumptions=1)


def test_every_round_but_the_last_is_timed() -> None:
    found = rounds_cost(SMALL)
    assert len(found.candidate_ms) == len(found.reference_ms) == 2
    assert min(*found.candidate_ms, *found.reference_ms) > 0


@pytest.mark.slow
def test_the_memory_of_a_run_is_that_of_another_process() -> None:
    (ratio,) = rounds_memory(SMALL).ratios
    assert -0.5 < ratio < 1.0


@pytest.mark.slow
def test_a_run_is_killed_in_its_second_round_and_taken_up_there(tmp_path: Path) -> None:
    for _ in range(2):
        assert seconds_until_killed(tmp_path, SMALL) > 0  # it refuses another end than the kill
        stages = sorted(file.stem for file in tmp_path.rglob("*.pt"))
        assert stages == ["dense", "round-01"]
    assert len(resuming_cost(SMALL).samples_ms) == 1
