"""What rounds and resumptions cost: that it measures what it says it does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.masks_cost import ROOT
from benchmarks.run_cost import Effort, resuming_cost, rounds_cost

SMALL = Effort(threads=1, rounds=4, images=200, network="lenet-300-100", pixels=28, resumptions=1)


def test_every_round_but_the_last_is_timed() -> None:
    found = rounds_cost(SMALL)
    assert len(found.candidate_ms) == len(found.reference_ms) == 2
    assert min(*found.candidate_ms, *found.reference_ms) > 0


@pytest.mark.slow
def test_a_run_is_killed_in_its_second_round_and_taken_up_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.run_cost", "--until-killed", str(tmp_path)]
    command += ["--network", "lenet-300-100", "--pixels", "28", "--threads", "1"]
    for _ in range(2):
        ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)  # noqa: S603  # our own
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert float(ended.stdout) > 0
        stages = sorted(file.stem for file in tmp_path.rglob("*.pt"))
        assert stages == ["dense", "round-01"]
    assert len(resuming_cost(SMALL).samples_ms) == 1
