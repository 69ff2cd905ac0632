from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from secateur.cli.main import main
from secateur.training.checkpoint import load_checkpoint
from tests.cli.test_main import recipe
from tests.small import phase


@pytest.mark.slow
def test_torchrun_starts_a_recipe_and_one_process_speaks(tmp_path: Path) -> None:
    plan = {"dense": [phase(1)], "cut": {"kind": "global", "density": 0.1}, "retrain": [phase(1)]}
    path = recipe(tmp_path, plan=plan)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = ["-m", "secateur", "run", str(path), "--out", str(tmp_path / "run"), "--seed", "5"]
    done = subprocess.run(  # noqa: S603  # our own words
        launcher + words, capture_output=True, text=True, timeout=120, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tiny: lenet-300-100 on 5,000 MNIST digits") == 1
    assert done.stdout.count("weights     266,200 -> ") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_terminated_a_run_keeps_its_last_epoch(tmp_path: Path) -> None:
    plan = {"dense": [phase(500)], "cut": {"kind": "global", "density": 0.1}, "retrain": [phase(1)]}
    path, folder = recipe(tmp_path, plan=plan), tmp_path / "run"
    words = [sys.executable, "-m", "secateur", "run", str(path), "--out", str(folder), "--threads", "1"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(  # noqa: S603  # our own words
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as run:
        assert run.stdout is not None
        while "epoch 1:" not in run.stdout.readline():
            assert run.poll() is None
        run.terminate()
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "secateur: interrupted; what was done is kept in" in said
    assert load_checkpoint(folder / "stages" / "dense.partial.pt")["records"]


def test_an_error_says_which_process_it_is_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["run", "nothing.yaml"]) == 1
    assert capsys.readouterr().err.startswith("secateur, process 1 of 2: 'nothing.yaml' is neither")
