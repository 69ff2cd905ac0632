from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from secateur.errors import (
    CheckpointError,
    DivergenceError,
    InterruptedRunError,
    StorageError,
    UnreachableTargetError,
)
from secateur.recipes.driver import Observer, train_prune_retrain
from secateur.recipes.result import read_result
from secateur.training.checkpoint import load_checkpoint
from secateur.training.loop import EpochRecord
from tests.recipes.runs import TASK, log, run, same, tensors
from tests.small import Conv, Dense, phase, plan


def test_a_target_that_cannot_be_reached_keeps_the_dense_network(tmp_path: Path) -> None:
    with pytest.raises(UnreachableTargetError, match="would leave no weight at all"):
        run(tmp_path, the_plan=plan(cut={"kind": "quality", "quality": 50.0}, rounds=1))
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["dense.pt"]


def test_divergence_names_its_place_and_keeps_what_is_finished(tmp_path: Path) -> None:
    wild = phase(2, optimizer={"kind": "sgd", "learning_rate": 1e30}, schedule={"kind": "constant"})
    for _ in range(2):
        with pytest.raises(DivergenceError, match=r"round-01, phase 1, epoch 1: the .*loss is (nan|inf)"):
            run(tmp_path, the_plan=plan(retrain=[wild]))
        assert load_checkpoint(tmp_path / "stages" / "dense.pt")["history"]
        assert not (tmp_path / "result.json").exists()


def _break_at(count: int, error: BaseException) -> Observer:
    seen: list[EpochRecord] = []

    def on_epoch(record: EpochRecord) -> None:
        seen.append(record)
        if len(seen) == count:
            raise error

    return Observer(on_epoch=on_epoch)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, epoch: int) -> None:
    with pytest.raises(
        InterruptedRunError, match=r"interrupted; what was done is kept in .*run the same command"
    ):
        run(tmp_path / "a", observer=_break_at(epoch, KeyboardInterrupt()), save_every=0.0)
    assert not (tmp_path / "a" / "result.json").exists()
    trained: list[EpochRecord] = []
    run(tmp_path / "a", observer=Observer(on_epoch=trained.append), save_every=0.0)
    run(tmp_path / "b")
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert [line["loss"] for line in log(tmp_path / "a")] == [line["loss"] for line in log(tmp_path / "b")]


@pytest.mark.parametrize("failing", range(1, 12))
def test_a_full_disk_at_any_write_loses_nothing_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    writes = 0

    def full(_descriptor: int) -> None:
        nonlocal writes
        writes += 1
        if writes == failing:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("secateur.storage.os.fsync", full)
        with pytest.raises(StorageError, match=r"cannot write .*No space left on device.*Free some"):
            run(tmp_path / "a", save_every=0.0)
    assert not list(tmp_path.rglob("*.tmp"))
    for path in tmp_path.rglob("*.pt"):
        load_checkpoint(path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("stages/[dr]*[e0-9].pt")}
    run(tmp_path / "a", save_every=0.0)
    run(tmp_path / "b")
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_a_folder_of_another_network_is_refused_naming_every_tensor(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(CheckpointError, match=r"dense\.pt is of another network: ") as caught:
        run(tmp_path, Conv)
    assert "fc1.weight is (24, 144) but must be (4, 100)" in str(caught.value)
    for name in (
        "missing conv1.weight",
        "missing conv1.bias",
        "unexpected fc2.bias",
        "unexpected fc3.weight",
    ):
        assert name in str(caught.value)


def test_a_folder_of_another_seed_plan_or_task_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(CheckpointError, match="holds another run: seed is 0 there and 1 here"):
        run(tmp_path, seed=1)
    with pytest.raises(CheckpointError, match=r"plan\.rounds is 2 there and 3 here"):
        run(tmp_path, the_plan=plan(rounds=3))
    with pytest.raises(CheckpointError, match=r"data\.fingerprint is .* there and .* here"):
        train_prune_retrain(Dense, replace(TASK, train=TASK.train[1:]), plan(), tmp_path)


@pytest.mark.parametrize("name", ["dense.pt", "round-01.partial.pt"])
def test_truncated_states_are_refused_and_made_again_once_removed(tmp_path: Path, name: str) -> None:
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "a", observer=_break_at(3, KeyboardInterrupt()), save_every=0.0)
    path = tmp_path / "a" / "stages" / name
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=rf"{name} is damaged .*remove it, and the run makes it again"):
        run(tmp_path / "a")
    path.unlink()
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no result\.json: the run is not finished"):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text('{"format"')
    with pytest.raises(
        CheckpointError, match=r"result\.json is damaged .*remove it, and the run writes it again"
    ):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text('{"format": 0}')
    with pytest.raises(CheckpointError, match=r"not a result of this version of Secateur \(format 1\)"):
        read_result(tmp_path)
