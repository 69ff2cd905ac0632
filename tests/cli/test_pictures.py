"""A recipe on a folder of pictures, from the command line to the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from secateur.cli.main import main
from tests.cli.test_main import refused
from tests.datasets.picture_files import CLASSES, make_folder, truncate
from tests.small import phase


def recipe(folder: Path, **image: Any) -> Path:
    one = phase(1, batch_size=16)
    content = {
        "name": "corners",
        "model": "resnet-20",
        "data": {"name": "folder", "validation": 8, "image": {"size": 16, "tolerate": 0.05} | image},
        "plan": {
            "dense": [one],
            "cut": {"kind": "global", "density": 0.3},
            "retrain": [one],
            "sweep": False,
        },
    }
    path = folder / "corners.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(("image", "workers"), [({}, 1), ({}, 0), ({"pad": 2, "memory": True}, 0)])
def test_a_run_on_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image: dict[str, Any], workers: int
) -> None:
    data = make_folder(tmp_path / "data", {"train": 12, "val": 4})
    truncate(data / "val" / "ant" / "000.jpg")
    (data / "train" / "notes.txt").touch()
    (data / "train" / "bee" / "notes.txt").touch()
    words = ["run", str(recipe(tmp_path, **image)), "--data", str(data), "--workers", str(workers)]
    # One of 16 is more than a twentieth.
    message = refused(capsys, *words, "--out", str(tmp_path / "out"))
    assert "val: 1 of 16 pictures are truncated or unreadable, which is more than the tolerated" in message
    assert "ant/000.jpg" in message
    assert not (tmp_path / "out").exists()
    words[1] = str(recipe(tmp_path, tolerate=0.1, **image))
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "corners: resnet-20 on the pictures of data, seed 0" in said
    assert "1 files are ignored: by their names they are no pictures" in said
    assert "1 damaged pictures are left out: val/ant/000.jpg" in said
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["pictures"]["classes"] == list(CLASSES)
    assert record["pictures"]["unreadable_pictures"] == ["val/ant/000.jpg"]
    assert record["error"]["test_images"] == 15
    assert main([*words, "--out", str(tmp_path / "out"), "--quiet"]) == 0  # it is finished: only read


def test_pictures_in_other_folders_are_the_same_run(tmp_path: Path) -> None:
    outs = []
    for name in ("here", "there"):
        data = make_folder(tmp_path / name / "data", {"train": 12, "val": 4})
        words = ["run", str(recipe(tmp_path)), "--data", str(data), "--workers", "0", "--quiet"]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
        outs.append((tmp_path / "out" / "result.json").read_bytes())
    assert outs[0] == outs[1]


def test_what_is_missing_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "name it with --data DIR" in refused(capsys, "run", str(recipe(tmp_path)))
    message = refused(capsys, "run", str(recipe(tmp_path)), "--data", str(tmp_path))
    assert "expected the folders train and test, or train and val" in message
