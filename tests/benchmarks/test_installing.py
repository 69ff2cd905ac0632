"""Installing from source: that what is timed is an installation from nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.checkout import ROOT
from benchmarks.installing import record, steps, timed


def test_it_is_this_source_in_an_environment_of_its_own_without_a_cache(tmp_path: Path) -> None:
    words = steps(tmp_path / "new")
    assert list(words) == ["environment", "install", "import"]
    new = str(tmp_path / "new" / "bin" / "python")
    assert words["environment"][0] == sys.executable
    assert words["install"][0] == words["import"][0] == new
    assert "--no-cache-dir" in words["install"]
    assert words["install"][-1] == str(ROOT)
    assert (ROOT / "pyproject.toml").is_file()


def test_a_step_does_not_see_the_path_of_the_process_that_times_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    look = "import os, pathlib; assert 'PYTHONPATH' not in os.environ; pathlib.Path('ran').touch()"
    seconds = timed({"look": (sys.executable, "-c", look)}, tmp_path)
    assert (tmp_path / "ran").exists()
    assert seconds["look"] > 0


def test_a_step_that_fails_ends_it(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        timed({"fail": (sys.executable, "-c", "raise SystemExit(3)")}, tmp_path)


def test_the_record_has_the_sum_and_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    assert record({"install": 2.0, "import": 0.5}, tmp_path / "installing.json") == 2.5
    written = json.loads((tmp_path / "installing.json").read_text())
    assert written["seconds"] == {"install": 2.0, "import": 0.5, "total": 2.5}
    assert written["command"] == "python -m benchmarks.installing --json installing.json"
    assert str(tmp_path) not in json.dumps(written)
