from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.analysis.sensitivity_file import read_sensitivity
from secateur.cli import scan as scan_module
from secateur.cli.main import main
from secateur.networks import build_network
from secateur.training.checkpoint import load_weights, save_weights
from tests.cli.test_main import big_blobs, recipe, refused
from tests.small import Dense, blobs

GRID = ("--densities", "0.5", "0.1")


@pytest.fixture(autouse=True)
def _on_blobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("secateur.recipes.data", "secateur.cli.scan"):
        monkeypatch.setattr(f"{module}.load_dataset", lambda *_: big_blobs())
    monkeypatch.chdir(tmp_path)


def weights(folder: Path, name: str = "lenet-300-100") -> Path:
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    save_weights(path, build_network(name, num_classes=4).state_dict())
    return path


def test_a_run_is_scanned_into_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe(tmp_path)), "--out", "run", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["scan", "run", *GRID]) == 0
    out = capsys.readouterr().out
    assert "40 validation images: loss" in out
    assert "  fc1: 2 points in" in out
    assert "points of error added" in out
    assert out.rstrip().endswith(f"scan        {Path('run') / 'sensitivity.json'}")
    found = read_sensitivity("run/sensitivity.json")
    assert [layer.layer for layer in found.layers] == ["fc1", "fc2", "fc3"]
    content = json.loads(Path("run/sensitivity.json").read_text())
    assert content["subject"] == {"run": "tiny", "seed": 0, "network": "lenet-300-100", "data": "blobs"}
    assert main(["scan", "run", *GRID, "--quiet"]) == 0  # only read
    assert "points in" not in capsys.readouterr().out


def test_a_run_on_other_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", str(recipe(tmp_path)), "--out", "run", "--quiet"]) == 0
    other = replace(big_blobs(), train_images=big_blobs().train_images.flip(0))
    monkeypatch.setattr("secateur.recipes.data.load_dataset", lambda *_: other)
    said = refused(capsys, "scan", "run", *GRID)
    assert "run is a run on other data: its fingerprint is" in said
    assert "--weights run/dense.safetensors" in said
    assert not Path("run/sensitivity.json").exists()


def test_a_recipe_has_its_dense_network_trained_and_a_run_goes_on_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(recipe(tmp_path))
    assert main(["scan", path, *GRID]) == 0
    (folder,) = Path("runs").iterdir()
    assert (folder / "sensitivity.json").exists()
    assert not (folder / "result.json").exists()
    assert "[1/2] dense: 2 epochs" in capsys.readouterr().out
    assert main(["run", path]) == 0
    assert "[1/2] dense: finished before, kept" in capsys.readouterr().out
    assert main(["scan", str(folder), *GRID, "--quiet"]) == 0  # the same network, the same scan


def test_a_network_with_its_weights(tmp_path: Path) -> None:
    path = weights(tmp_path)
    words = ["--weights", str(path), "--validation", "40", *GRID, "--json", "scan.json", "--quiet"]
    assert main(["scan", "lenet-300-100", *words]) == 0
    content = json.loads(Path("scan.json").read_text())
    assert content["subject"]["weights"] == "weights.safetensors"
    assert content["images"] == 40
    assert str(tmp_path) not in json.dumps(content["subject"])


def test_a_recipe_with_weights_of_its_network_is_read_and_not_trained(tmp_path: Path) -> None:
    words = ["--weights", str(weights(tmp_path)), *GRID, "--json", "scan.json", "--quiet"]
    assert main(["scan", str(recipe(tmp_path)), *words]) == 0
    content = json.loads(Path("scan.json").read_text())
    assert content["subject"] == {
        "weights": "weights.safetensors",
        "network": "lenet-300-100",
        "data": "blobs",
    }
    assert content["images"] == 40  # as the recipe holds out
    assert not Path("runs").exists()


def test_a_network_of_ones_own_with_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "load_dataset", lambda *_: blobs())  # 12x12, as that network takes them
    torch.save({"state_dict": Dense().state_dict()}, tmp_path / "own.pth")
    words = ["--weights", "own.pth", "--model-arg", "dropout=0.5", "--validation", "40", *GRID, "--quiet"]
    assert main(["scan", "tests.small:Dense", *words]) == 0
    content = json.loads(Path("sensitivity.json").read_text())
    assert content["subject"] == {"weights": "own.pth", "network": "tests.small:Dense", "data": "blobs"}
    assert [layer["layer"] for layer in content["layers"]] == ["fc1", "fc2", "fc3"]


def test_a_run_that_goes_on_is_scanned_too(tmp_path: Path) -> None:
    assert main(["run", str(recipe(tmp_path)), "--out", "run", "--quiet"]) == 0
    dense = load_weights(Path("run/dense.safetensors"))
    Path("run/dense.safetensors").unlink()
    assert main(["scan", "run", *GRID, "--quiet"]) == 0
    first = read_sensitivity("run/sensitivity.json")
    save_weights(Path("run/dense.safetensors"), dense)
    assert main(["scan", "run", *GRID, "--quiet", "--json", "again.json"]) == 0
    assert read_sensitivity("again.json").layers[0].points == first.layers[0].points


def test_interrupted_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["scan", "lenet-300-100", "--weights", str(weights(tmp_path)), "--validation", "40", *GRID]
    with monkeypatch.context() as patch:

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(scan_module.ScanDisplay, "_on_layer", stop)
        assert main(words) == 130
    error = capsys.readouterr().err
    assert "interrupted; the layers that were done are kept in" in error
    assert main(words) == 0
    out = capsys.readouterr().out
    assert len(read_sensitivity(tmp_path / "sensitivity.json").layers) == 3
    assert "fc1: 2 points" in out


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "scan", str(recipe(tmp_path)), "--validation", "40")
    assert "--validation is for a network with --weights; a run or a recipe has its own" in message
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "run.json").write_text("{}")
    message = refused(capsys, "scan", "folder", "--model-arg", "width=2")
    assert "--model-arg: the run's folder says what its network is" in message
    assert "'nothing' is no run's folder, no recipe (" in refused(capsys, "scan", "nothing")
    assert "resnet-56: an untrained network tells nothing" in refused(capsys, "scan", "resnet-56")
    message = refused(capsys, "scan", "lenet", "--weights", str(weights(tmp_path)))
    assert "'lenet': expected a built-in network (lenet-300-100, lenet-5" in message
    message = refused(capsys, "scan", "lenet-5", "--weights", str(weights(tmp_path)), "--validation", "40")
    assert "weights.safetensors is of another network: " in message
    message = refused(capsys, "scan", "lenet-5", "--weights", "none.safetensors", "--validation", "40")
    assert "there is no file none.safetensors" in message
    message = refused(
        capsys, "scan", "tests.small:Dense", "--weights", str(weights(tmp_path)), "--validation", "40"
    )
    assert "it does not run" in message
    words = ("scan", "lenet-300-100", "--weights", str(weights(tmp_path)), "--validation", "40")
    assert "each above 0 and at most 1; found [2.0]" in refused(capsys, *words, "--densities", "2")
    assert "--threads must be at least 1, found 0" in refused(capsys, *words, "--threads", "0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "does not say which network and data the run is of"),
        ('{"settings": {}}', "does not say which network and data the run is of"),
        (
            '{"settings": {"model": "lenet-5", "data": {"name": "mnist", "shift": -1}}}',
            "does not say which network and data the run is of",
        ),
        (
            '{"name": "x", "seed": 0, "settings": {"model": "lenet-5", "data": {"validation": 40}}}',
            "has no dense network yet: start the run again",
        ),
    ],
)
def test_a_folder_that_cannot_be_scanned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text(content)
    assert message in refused(capsys, "scan", "odd")
