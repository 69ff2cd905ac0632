from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from secateur.cli.main import main
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


def test_an_error_says_which_process_it_is_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["run", "nothing.yaml"]) == 1
    assert capsys.readouterr().err.startswith("secateur, process 1 of 2: 'nothing.yaml' is neither")
