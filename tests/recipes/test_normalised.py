"""Runs of networks with batch normalisation: judged by statistics of the network that is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import InterruptedRunError
from secateur.recipes.driver import Observer
from secateur.training.checkpoint import load_checkpoint
from secateur.training.evaluation import evaluate
from secateur.training.normalisation import reestimate_statistics, training_batches
from tests.recipes.runs import TASK, run, same, tensors
from tests.recipes.test_driver_search import searching
from tests.small import CLASSES, phase, plan
from tests.training.peers import together, values


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 8, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu2 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        return self.fc(self.flatten(self.pool(x)))


def statistics(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if "running" in name}


ALONE = plan(cut={"kind": "global", "density": 0.3}, rounds=1, retrain=[phase(0)], dense=[phase(6)])


def work(folder: Path) -> None:
    run(folder, Normalised, ALONE)


@pytest.mark.parametrize("count", [1, 2])
def test_a_cut_without_retraining_is_judged_by_new_statistics(tmp_path: Path, count: int) -> None:
    if count == 1:
        work(tmp_path)
    else:
        values(together(count, work, tmp_path))
    state, dense = tensors(tmp_path), tensors(tmp_path, "dense")
    model, stale = Normalised(), Normalised()
    model.load_state_dict(state)
    stale.load_state_dict(state | statistics(dense))
    with_new, with_old = evaluate(model, TASK.validation()), evaluate(stale, TASK.validation())
    assert with_new.loss < with_old.loss
    reestimate_statistics(stale, training_batches(TASK, 0, "round-01"))
    for name, tensor in stale.state_dict().items():
        torch.testing.assert_close(tensor, state[name], msg=name)


@pytest.mark.parametrize("compact", [False, True])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, compact: bool) -> None:
    two = plan(retrain=[phase(2)], compact=compact)
    run(tmp_path / "whole", Normalised, two, save_every=0.0)

    def interrupt(record: Any) -> None:
        if record.stage == "round-02":
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError):
        run(tmp_path / "again", Normalised, two, save_every=0.0, observer=Observer(on_epoch=interrupt))
    assert (tmp_path / "again" / "stages" / "round-02.partial.pt").exists()
    run(tmp_path / "again", Normalised, two, save_every=0.0)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "again"))


@pytest.mark.parametrize("stage", ["dense", "round-01"])
def test_a_stage_that_trained_is_judged_by_statistics_of_what_it_became(tmp_path: Path, stage: str) -> None:
    run(tmp_path, Normalised, plan(rounds=1, dense=[phase(1)], retrain=[phase(1)]))
    kept = load_checkpoint(tmp_path / "stages" / f"{stage}.pt")["model"]
    model = Normalised()
    model.load_state_dict(kept)
    reestimate_statistics(model, training_batches(TASK, 0, stage))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, kept[name], msg=name)


def test_validation_errors_on_record_are_of_the_networks_that_are_kept(tmp_path: Path) -> None:
    record = run(tmp_path, Normalised, plan(rounds=1, dense=[phase(2)], retrain=[phase(1)])).record
    for point, stage in zip(record["curve"], ("dense", "round-01"), strict=True):
        kept = load_checkpoint(tmp_path / "stages" / f"{stage}.pt")
        model = Normalised()
        model.load_state_dict(kept["model"])
        found = evaluate(model, TASK.validation())
        assert point["validation_error"] == kept["history"][-1]["validation_error"] == found.error
        assert kept["history"][-1]["validation_loss"] == pytest.approx(found.loss, rel=1e-5)


def test_a_search_keeps_its_cuts_with_new_statistics(tmp_path: Path) -> None:
    within = searching({"weights": 300}, search={"rounds": 1, "first": 0.0, "trial": 0})
    run(tmp_path, Normalised, within)
    kept = load_checkpoint(tmp_path / "stages" / "cut-01.pt")["model"]
    model = Normalised()
    model.load_state_dict(kept)
    reestimate_statistics(model, training_batches(TASK, 0, "cut-01"))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, kept[name], msg=name)
