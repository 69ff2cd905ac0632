"""An epoch that is broken off between two steps goes on with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.datasets.folders import find_parts
from secateur.datasets.pictures import ResizedCrop, View
from secateur.errors import DivergenceError
from secateur.pruning.criteria import GlobalDensity
from secateur.pruning.gradual import Gradual
from secateur.pruning.pruner import Pruner
from secateur.training.checkpoint import load_checkpoint
from secateur.training.distillation import Distillation, LiveTeacher
from secateur.training.loop import EpochRecord, Progress, run_phases
from secateur.training.phase import Phase
from secateur.training.processes import join
from secateur.training.seeding import seeded
from secateur.training.streaming import streamed_task
from secateur.training.task import Task
from tests.datasets.picture_files import make_folder
from tests.small import CLASSES, Conv, Dense, blob_task, phase
from tests.training.peers import together, values

TASK = blob_task(shift=1)  # 200 images: 7 steps of at most 32 an epoch
STEPS = 7
ADAM = {"kind": "adam", "learning_rate": 0.01}
PHASES = tuple(
    Phase.model_validate(one)
    for one in (phase(2, optimizer=ADAM, l1=1e-4), phase(2, only=["fc*"], clip=0.5, accumulate=2))
)
State = dict[str, torch.Tensor]


class KilledError(Exception):
    """As sudden as a process that is killed: nobody writes anything any more."""


class Normed(torch.nn.Module):
    """Carries running statistics, and dropout behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 6, 3, stride=2)
        self.norm = torch.nn.BatchNorm2d(6)
        self.flatten = torch.nn.Flatten()
        self.dropout = torch.nn.Dropout(0.3)
        self.fc = torch.nn.Linear(6 * 25, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.flatten(torch.relu(self.norm(self.conv(x))))))


MODELS = {"dense": lambda: Dense(dropout=0.3), "conv": Conv, "normed": Normed}


def train(
    path: Path | None,
    kind: str = "dense",
    dies_after: int | None = None,
    seconds: float = 0.0,
    task: Task = TASK,
) -> tuple[State, list[EpochRecord], int]:
    """Train; how many steps it took, and what came out."""
    steps = 0

    def count(_step: int, _steps: int, _loss: torch.Tensor) -> None:
        nonlocal steps
        if steps == dies_after:
            raise KilledError
        steps += 1

    with seeded(0, "test"):
        model, teacher = MODELS[kind](), MODELS[kind]()
    pruner = Pruner(model)
    pruner.prune(GlobalDensity(0.5))
    records = run_phases(
        model,
        task,
        PHASES,
        seed=0,
        stage="round-01",
        pruner=pruner,
        gradual=Gradual(lambda done: 0.5 - 0.3 * done, 0, 11, 2),
        distillation=Distillation(LiveTeacher(teacher), 0.5, 2.0),
        progress=Progress(path, seconds, on_batch=count),
    )
    return dict(model.state_dict()), records, steps


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def figures(records: list[EpochRecord]) -> list[tuple[Any, ...]]:
    return [(r.phase, r.epoch, r.loss, r.validation_loss, r.learning_rate, r.density) for r in records]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dies_after", [1, 4, 6, 7, 9, 15, 20, 27])
def test_killed_between_two_steps_it_ends_with_the_same_bits(
    tmp_path: Path, kind: str, dies_after: int
) -> None:
    alone, records, steps = train(None, kind)
    assert steps == 4 * STEPS
    with pytest.raises(KilledError):
        train(tmp_path / "a.pt", kind, dies_after)
    again, told, left = train(tmp_path / "a.pt", kind)
    # The step that it was killed in had not been kept.
    assert left == steps - dies_after
    assert same(alone, again)
    assert figures(told) == figures(records)


def test_killed_after_every_step_it_still_ends_with_the_same_bits(tmp_path: Path) -> None:
    alone, records, _ = train(None, "normed")
    for _ in range(4 * STEPS - 1):
        with pytest.raises(KilledError):
            train(tmp_path / "a.pt", "normed", dies_after=1)
    again, told, left = train(tmp_path / "a.pt", "normed")
    assert left == 1
    assert same(alone, again)
    assert figures(told) == figures(records)
    assert all(record.seconds > 0 for record in told)


def test_keeping_changes_no_bit(tmp_path: Path) -> None:
    alone, kept = train(None), train(tmp_path / "a.pt")
    assert same(alone[0], kept[0])
    assert figures(alone[1]) == figures(kept[1])


def test_within_an_epoch_nothing_is_written_before_it_is_time(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(tmp_path / "a.pt", dies_after=6, seconds=1e9)
    assert not (tmp_path / "a.pt").exists()


def test_the_seconds_of_an_epoch_are_those_of_all_its_pieces(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(tmp_path / "a.pt", dies_after=5)
    kept = load_checkpoint(tmp_path / "a.pt")["midway"]
    assert kept["step"] == 5
    assert 0 < kept["seconds"] < train(tmp_path / "a.pt")[1][0].seconds


def test_a_stream_is_taken_up_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "pictures", {"train": 12, "test": 2})
    task = streamed_task(
        find_parts(folder), View(12, 12, ResizedCrop()), source="corners", validation=8, workers=1
    )
    ways = tuple(Phase.model_validate(phase(2, batch_size=8)) for _ in range(1))

    def run(path: Path | None, dies_at: tuple[int, int] | None = None) -> State:
        with seeded(0, "test"):
            model = torch.nn.Sequential(
                torch.nn.Flatten(), torch.nn.Dropout(0.4), torch.nn.Linear(3 * 144, CLASSES)
            )
        epoch = 0

        def stop(step: int, steps: int, _loss: torch.Tensor) -> None:
            nonlocal epoch
            if (epoch, step) == dies_at:
                raise KilledError
            epoch += step == steps

        run_phases(model, task, ways, seed=3, stage="dense", progress=Progress(path, 0.0, on_batch=stop))
        return dict(model.state_dict())

    alone = run(None)
    for dies_at in ((0, 3), (1, 4)):
        with pytest.raises(KilledError):
            run(tmp_path / "a.pt", dies_at)
        assert load_checkpoint(tmp_path / "a.pt")["midway"]["step"] == dies_at[1] - 1
        assert same(run(tmp_path / "a.pt"), alone)
        (tmp_path / "a.pt").unlink()


@pytest.mark.filterwarnings("ignore:.*")
def test_a_loss_that_is_no_number_is_noticed_within_the_epoch_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    wild = Phase.model_validate(phase(1, batch_size=8, optimizer={"kind": "sgd", "learning_rate": 1e30}))
    fine = Phase.model_validate(phase(1))
    steps = 0

    def count(_step: int, _steps: int, _loss: torch.Tensor) -> None:
        nonlocal steps
        steps += 1

    progress = Progress(path, 0.0, on_batch=count)
    with pytest.raises(
        DivergenceError, match=r"dense, phase 2, epoch 1: the loss is (nan|inf) at step \d+; what"
    ):
        run_phases(Dense(), TASK, (fine, wild), seed=0, stage="dense", progress=progress)
    assert STEPS < steps < STEPS + 25
    assert all(bool(tensor.isfinite().all()) for tensor in load_checkpoint(path)["model"].values())


def run_together(path: Path, dies_after: int | None) -> tuple[State, list[tuple[Any, ...]], int] | str:
    try:
        state, records, steps = train(path, "conv", dies_after)
    except KilledError:
        return "killed"
    return state, figures(records), steps


def run_on_peers(path: Path, dies_after: int | None) -> Any:
    join()
    return run_together(path, dies_after)


def test_an_epoch_goes_on_with_as_many_processes_with_the_same_bits_and_with_fewer_to_its_end(
    tmp_path: Path,
) -> None:
    whole, _ = values(together(2, run_on_peers, tmp_path / "whole.pt", None))
    for name in ("two", "one"):
        # The first process alone counts steps, so that the other one sees it gone.
        ended = together(2, run_on_peers, tmp_path / f"{name}.pt", 10)
        assert ended[0].value == "killed"
        assert load_checkpoint(tmp_path / f"{name}.pt")["midway"]["step"] == 3
    again, _ = values(together(2, run_on_peers, tmp_path / "two.pt", None))
    assert same(whole[0], again[0])
    assert whole[1] == again[1]
    state, told, steps = run_together(tmp_path / "one.pt", None)
    assert steps == 4 * STEPS - 10
    assert [place[:2] for place in told] == [place[:2] for place in whole[1]]
    assert not same(whole[0], state)  # one process drops other units than two
