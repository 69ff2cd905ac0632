from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import loader
from tests.datasets.picture_files import make_folder


def tiny(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 7, stride=8), nn.Flatten(), nn.Linear(2 * 28 * 28, classes))


def test_loaders_and_steps_are_measured_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_folder(tmp_path / "small", {"train": 12, "test": 1}, size=(32, 32))
    monkeypatch.setattr(loader, "build_network", lambda _, num_classes: tiny(num_classes))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    words = ["--workers", "0", "1", "--batch", "2", "--steps", "2", "--rounds", "2"]
    loader.main([str(data), "--json", str(tmp_path / "out.json"), *words])
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(row["name"], row["workers"], len(row["samples"])) for row in found["rows"]] == [
        *[(name, count, 2) for name in NAMES for count in (0, 1)],
        ("step", None, 2),
        ("train from 480 x 384", 0, 2),
        ("train from 480 x 384", 1, 2),
    ]
    step = found["rows"][6]
    assert step["times_the_step"] == 1.0
    assert all(row["median"] > 0 for row in found["rows"])
    assert str(tmp_path) not in json.dumps(found)
    assert "train from 480 x 384" in capsys.readouterr().out


NAMES = ("read 32 x 32", "read 32 x 32, scaled to 227", "read 480 x 384, cropped to 227")
