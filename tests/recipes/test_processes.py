"""One run on one process and on several: the same masks and losses, and one can finish what others began."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateur.errors import ConfigurationError, InterruptedRunError
from secateur.recipes.driver import Observer, train_prune_retrain
from secateur.recipes.plan import Plan
from secateur.training.checkpoint import load_checkpoint
from secateur.training.processes import Processes, join
from tests.recipes.runs import log, same, tensors
from tests.small import Conv, blob_task, phase, plan
from tests.training.peers import Ended, together, values

RELATIVE = 1e-5  # float32's rounding through some dozens of steps
TASK = blob_task(shift=1)
# 33 is no multiple of two, and the last step of an epoch has two images for up to three processes.
PHASE = phase(2, batch_size=33)
PLAN = plan(
    dense=[PHASE],
    cut={"kind": "global", "density": 0.2},
    rounds=2,
    retrain=[
        phase(1, batch_size=33, only=["fc*"], l1=1e-4),
        phase(1, batch_size=33, only=["conv*"], accumulate=3),
        phase(2, batch_size=33, optimizer={"kind": "adam", "learning_rate": 0.003}, clip=1.0),
    ],
    dropout=0.0,
    dropout_rule=False,
)
KINDS = {
    "paper": PLAN,
    "turns": PLAN.model_copy(
        update={
            "cut": {"kind": "density", "density": 0.3},
            "turns": [{"layers": ["fc*"], "retrain": [phase(1, batch_size=33, only=["fc*"])]}],
        }
    ),
    "gradual": PLAN.model_copy(
        update={"gradual": {"every": 3}, "retrain": [PHASE], "teach": {"weight": 0.5}, "sweep": False}
    ),
    "dropout": PLAN.model_copy(update={"dropout": 0.3}),
    "compact": PLAN.model_copy(update={"compact": True, "survivors": {"kind": "rewind", "epoch": 1}}),
    "searched": Plan.model_validate(
        PLAN.model_dump(exclude={"cut", "rounds"})
        | {"target": {"max_error_increase": 3.0}, "search": {"rounds": 2, "trial": 60}}
    ),
}


def work(folder: Path, kind: str = "paper", dies_at: int | None = None) -> dict[str, Any]:
    """A whole run; the second process may kill itself at one of its forward passes."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == dies_at and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)

    def model() -> nn.Module:
        network = Conv()
        network.register_forward_pre_hook(count)
        return network

    return dict(train_prune_retrain(model, TASK, KINDS[kind], folder, save_every=0).record)


def agree(one: Path, other: Path) -> None:
    """Same masks, same losses to rounding."""
    masks, others = tensors(one, "masks"), tensors(other, "masks")
    assert all(torch.equal(masks[name], others[name]) for name in masks | others)
    lines, told = log(one), log(other)
    assert [(a["stage"], a["phase"], a["epoch"]) for a in lines] == [
        (a["stage"], a["phase"], a["epoch"]) for a in told
    ]
    for a, b in zip(lines, told, strict=True):
        for key in ("loss", "validation_loss", "density"):
            assert a[key] == pytest.approx(b[key], rel=RELATIVE), a
        assert a["validation_error"] == b["validation_error"]
    weights, own = tensors(one), tensors(other)
    for name in weights:
        torch.testing.assert_close(own[name], weights[name], rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            work(made[kind], kind)
        return made[kind]

    return of


@pytest.mark.parametrize(
    ("kind", "count"),
    [("paper", 2), ("paper", 3), ("turns", 2), ("gradual", 2), ("compact", 2), ("searched", 2)],
)
def test_several_processes_do_what_one_does(
    tmp_path: Path, alone: Callable[[str], Path], kind: str, count: int
) -> None:
    told = values(together(count, work, tmp_path, kind))
    assert all(each == told[0] for each in told)
    agree(alone(kind), tmp_path)
    record = told[0]
    assert (record["processes"], record["configuration"]["processes"]) == (count, count)


def test_a_process_that_dies_ends_the_run_with_a_message_and_one_finishes_it(
    tmp_path: Path, alone: Callable[[str], Path]
) -> None:
    first, lost = together(2, work, tmp_path, "paper", 25)
    assert lost.status == -signal.SIGKILL
    assert first.kind == "PeerError"
    assert "another process of this run has ended or is silent (" in first.error
    assert "start the same command again" in first.error
    (unfinished,) = (tmp_path / "stages").glob("*.partial.pt")
    assert load_checkpoint(unfinished)["midway"] is not None  # and in the middle of an epoch
    assert not (tmp_path / "result.json").exists()
    record = work(tmp_path)
    assert "processes" not in record
    assert record["configuration"]["processes"] == 2
    agree(alone("paper"), tmp_path)


def test_killed_and_started_again_several_end_with_the_same_bits_also_with_dropout(tmp_path: Path) -> None:
    left_alone, killed = tmp_path / "alone", tmp_path / "killed"
    values(together(2, work, left_alone, "dropout"))
    for passes in (11, 25):
        _, lost = together(2, work, killed, "dropout", passes)
        assert lost.status == -signal.SIGKILL
    values(together(2, work, killed, "dropout"))
    for name in ("pruned", "dense", "masks", "test-errors"):
        assert same(tensors(killed, name), tensors(left_alone, name))


def test_several_finish_what_one_began(tmp_path: Path, alone: Callable[[str], Path]) -> None:
    seen = 0

    def interrupt(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise KeyboardInterrupt

    model: Callable[[], nn.Module] = Conv
    with pytest.raises(InterruptedRunError):
        train_prune_retrain(model, TASK, PLAN, tmp_path, observer=Observer(on_epoch=interrupt))
    assert (tmp_path / "stages" / "round-01.partial.pt").exists()
    values(together(2, work, tmp_path))
    agree(alone("paper"), tmp_path)


def differing(folder: Path, what: str) -> None:
    other = join().rank == 1
    the_plan = PLAN.model_copy(update={"rounds": 3}) if other and what == "recipe" else PLAN
    task = blob_task(shift=1, seed=1) if other and what == "data" else TASK
    seed = 7 if other and what == "seed" else 0
    train_prune_retrain(Conv, task, the_plan, folder, seed=seed)


@pytest.mark.parametrize(
    ("what", "where"),
    [("recipe", "plan.rounds (3, not 2)"), ("seed", "seed (7, not 0)"), ("data", "data.fingerprint ('")],
)
def test_processes_that_were_started_differently_are_refused(tmp_path: Path, what: str, where: str) -> None:
    ended: list[Ended] = together(2, differing, tmp_path / "run", what)
    assert [each.kind for each in ended] == ["PeerError"] * 2
    for each in ended:
        assert (
            "the processes of this run were started differently: process 1 of 2 differs from " in each.error
        )
        assert where in each.error
        assert "Start all of them with the same recipe, seed, data and versions" in each.error
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_refused_on_every_process(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    ended = together(2, work, tmp_path)
    assert [each.kind for each in ended] == ["CheckpointError"] * 2
    assert all("is not empty and not the folder of a run" in each.error for each in ended)


def test_more_processes_than_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.recipes.driver.join", lambda: Processes(0, 41))
    with pytest.raises(
        ConfigurationError, match="41 processes share the images, and of blobs one part has 40"
    ):
        train_prune_retrain(Conv, TASK, PLAN, tmp_path)
