from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.analysis.sensitivity import LayerSensitivity, ScanObserver, sensitivity
from secateur.analysis.sensitivity_file import read_sensitivity, scan_to_file
from secateur.errors import CheckpointError
from tests.analysis.test_sensitivity import GRID, labelled, plain
from tests.small import SIDE, Dense

IMAGES, LABELS = labelled(30, 1, SIDE, SIDE)


@pytest.fixture
def model() -> Dense:
    torch.manual_seed(0)
    return Dense()


def scan(path: Path, model: Dense, **more: Any) -> Any:
    return scan_to_file(path, model, IMAGES, LABELS, **{"densities": GRID, **more})


def test_what_is_written_is_read_back(tmp_path: Path, model: Dense) -> None:
    path = tmp_path / "scan.json"
    found = scan(path, model, subject={"run": "x"})
    assert read_sensitivity(path) == found
    assert plain(found.layers) == plain(sensitivity(model, IMAGES, LABELS, densities=GRID).layers)
    content = json.loads(path.read_text())
    assert (content["subject"], content["finished"], content["images"]) == ({"run": "x"}, True, 30)
    assert content["layers"][0]["layer"] == "fc1"
    assert content["layers"][0]["points"][0].keys() == {"kept", "density", "loss", "error"}
    assert content["provenance"]["threads"] == torch.get_num_threads()


def test_stopped_after_a_layer_it_goes_on(tmp_path: Path, model: Dense) -> None:
    path = tmp_path / "scan.json"

    def stop(_: LayerSensitivity) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(path, model, observer=ScanObserver(on_layer=stop))
    with pytest.raises(CheckpointError, match="holds an unfinished scan of 1 layers; start the same scan"):
        read_sensitivity(path)
    points: list[str] = []
    layers: list[str] = []
    found = scan(
        path,
        model,
        observer=ScanObserver(on_point=points.append, on_layer=lambda layer: layers.append(layer.layer)),
    )
    assert set(points) == {"fc2", "fc3"}
    assert layers == ["fc1", "fc2", "fc3"]
    assert plain(found.layers) == plain(sensitivity(model, IMAGES, LABELS, densities=GRID).layers)


def test_a_finished_scan_is_only_read(tmp_path: Path, model: Dense) -> None:
    path = tmp_path / "scan.json"
    first = scan(path, model)
    points: list[str] = []
    assert scan(path, model, observer=ScanObserver(on_point=points.append)).layers == first.layers
    assert points == []


def test_another_scan_is_not_overwritten(tmp_path: Path, model: Dense) -> None:
    path = tmp_path / "scan.json"
    scan(path, model)
    before = path.read_bytes()
    with pytest.raises(
        CheckpointError, match=r"holds another scan: densities is .*Give this one another file"
    ):
        scan(path, model, densities=[0.5])
    model.fc1.weight.data[0, 0] += 1
    with pytest.raises(CheckpointError, match="holds another scan: network is"):
        scan(path, model)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[1]", "is not a scan of this version"),
        ('{"format": 1, "kind": "result"}', "is not a scan of this version"),
    ],
)
def test_what_is_no_scan_is_refused(tmp_path: Path, model: Dense, content: str, message: str) -> None:
    path = tmp_path / "scan.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=message):
        scan(path, model)
    with pytest.raises(CheckpointError, match=message):
        read_sensitivity(path)
    assert path.read_text() == content


def test_a_scan_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no scan .*none\.json; make it with `secateur scan`"):
        read_sensitivity(tmp_path / "none.json")
