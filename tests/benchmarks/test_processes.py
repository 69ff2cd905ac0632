from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import processes
from secateur.storage import write_json
from secateur.training.checkpoint import save_weights
from tests.datasets.picture_files import make_folder


def test_what_one_and_two_processes_come_to_is_compared_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(folder: Path, count: int) -> float:
        assert (folder / "recipe.yaml").exists()
        out = folder / str(count)
        write_json(out / "log.jsonl", {"stage": "dense", "phase": 0, "loss": 2.0, "validation_loss": 1.0})
        line = (out / "log.jsonl").read_text()
        (out / "log.jsonl").write_text(json.dumps(json.loads(line)))
        save_weights(out / "masks.safetensors", {"fc.weight": torch.tensor([[True, count == 1]])})
        return 1.0

    monkeypatch.setattr(processes, "normal_weights", lambda *_: None)
    monkeypatch.setattr(processes, "_run", run)
    data = make_folder(tmp_path / "data", {"train": 3, "test": 2}, size=(8, 8))
    words = ["alexnet", "--data", str(data), "--train", "2", "--test", "1", "--batch", "4"]
    processes.main([*words, "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["masks_differing"] == {"fc.weight": 1}
    assert found["weights"] == 2
    assert found["losses"] == [{"stage": "dense", "phase": 0, "apart": 0.0}]
    assert found["command"] == (
        "python -m benchmarks.processes alexnet --data DIR --processes 2 --classes 10 --train 2 --test 1 "
        "--batch 4 --json benchmarks/results/found.json"
    )
    assert "1 of 2 weights are cut by one and kept by the other" in capsys.readouterr().out
