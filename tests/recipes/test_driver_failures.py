from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import (
    CheckpointError,
    DivergenceError,
    InterruptedRunError,
    StorageError,
    UnreachableTargetError,
)
from secateur.recipes.driver import Observer, train_prune_retrain
from secateur.recipes.result import read_result
from secateur.training.checkpoint import load_checkpoint, save_weights
from secateur.training.loop import EpochRecord
from tests.recipes.runs import TASK, log, run, same, tensors
from tests.small import Conv, Dense, phase, plan


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("finished") / "run").folder


def test_a_target_that_cannot_be_reached_keeps_the_dense_network(tmp_path: Path) -> None:
    with pytest.raises(UnreachableTargetError, match="would leave no weight at all"):
        run(tmp_path, the_plan=plan(cut={"kind": "quality", "quality": 50.0}, rounds=1))
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["dense.pt"]


def test_divergence_names_its_place_and_keeps_what_is_finished(tmp_path: Path) -> None:
    wild = phase(2, optimizer={"kind": "sgd", "learning_rate": 1e30}, schedule={"kind": "constant"})
    said = (
        r"round-01, phase 1, epoch 1: the .*loss is (nan|inf); .*kept\. Lower the learning rate .*\. A "
        r"changed plan is another run: give it another folder, or none, .*; the finished stages of this one "
        r"stay in " + re.escape(str(tmp_path))
    )
    for _ in range(2):
        with pytest.raises(DivergenceError, match=said):
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


class Shrunk(Dense):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class Activated(nn.Module):
    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), activation(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.layers(x))


def _scaled() -> Dense:
    model = Dense()
    with torch.no_grad():
        model.fc1.weight.mul_(2)
    return model


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [
        (Dense, Conv, "network.class is 'tests.small.Dense' there and 'tests.small.Conv' here"),
        (Dense, Shrunk, "network.class is 'tests.small.Dense' there and 'tests.recipes.test_driver_failures"),
        (lambda: Activated(nn.ReLU), lambda: Activated(nn.Tanh), "(2): ReLU()\\n    (3): Linear("),
        (Dense, _scaled, "network.initial_weights is "),
    ],
)
def test_a_folder_of_another_network_is_refused(
    tmp_path: Path, first: Callable[[], nn.Module], second: Callable[[], nn.Module], differs: str
) -> None:
    run(tmp_path / "a", first, plan(retrain=[phase(0)]))
    with pytest.raises(CheckpointError, match=rf"holds another run: .*{re.escape(differs)}"):
        run(tmp_path / "a", second, plan(retrain=[phase(0)]))


def test_networks_of_the_same_shapes_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = plan(rounds=1, retrain=[phase(0)])
    found = [train_prune_retrain(model, TASK, short, seed=1) for model in (Dense, Shrunk, Dense)]
    assert found[0].folder != found[1].folder
    assert found[0].folder == found[2].folder
    assert found[0].dense_error == found[2].dense_error
    with_settings = train_prune_retrain(Dense, TASK, short, seed=1, settings={"shift": 1})
    assert with_settings.folder != found[0].folder
    assert with_settings.record["configuration"]["settings"] == {"shift": 1}


def test_the_configurations_hash_does_not_depend_on_the_seed(tmp_path: Path) -> None:
    short = plan(rounds=1, retrain=[phase(0)])
    records = [run(tmp_path / str(seed), the_plan=short, seed=seed).record for seed in (0, 1)]
    hashes = {record["provenance"]["configuration_hash"] for record in records}
    assert len(hashes) == 1


def test_a_finished_run_is_read_with_other_threads_and_another_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path / "a")
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "b", observer=_break_at(1, KeyboardInterrupt()))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "__version__", "9.9.0")
    assert run(tmp_path / "a").record == first.record
    with pytest.raises(
        CheckpointError, match=r"threads is 1 there and 7 here; torch is '.*' there and '9\.9\.0'"
    ):
        run(tmp_path / "b")


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_an_interruption_loses_no_finished_epoch_however_seldom_the_state_is_written(
    tmp_path: Path, epoch: int
) -> None:
    rarely = {"save_every": 1e9}
    with pytest.raises(
        InterruptedRunError, match=r"kept in .*, but for the last steps of the epoch under way: run the same"
    ):
        run(tmp_path / "a", observer=_break_at(epoch, KeyboardInterrupt()), **rarely)
    before = log(tmp_path / "a")
    assert len(before) == epoch
    result = run(tmp_path / "a", **rarely).record
    run(tmp_path / "b")
    assert log(tmp_path / "a")[:epoch] == before  # their seconds too: no epoch was trained again
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert result["phases"] == [
        {
            "stage": stage,
            "phase": 0,
            "epochs": epochs,
            "seconds": sum(line["seconds"] for line in log(tmp_path / "a") if line["stage"] == stage),
        }
        for stage, epochs in (("dense", 2), ("round-01", 1), ("round-02", 1))
    ]
    assert result["seconds"] == {part["stage"]: part["seconds"] for part in result["phases"]}


def _other_numbers(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


def _of_another_network(path: Path) -> None:
    save_weights(path, {"fc.weight": torch.zeros(2)})


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(b""),
        _other_numbers,
        _of_another_network,
    ],
)
def test_networks_that_are_gone_or_damaged_are_written_again(
    finished: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    names = ("dense", "pruned", "masks")
    for name in names:
        spoil(folder / f"{name}.safetensors")
    assert run(folder).record == read_result(finished).record
    for name in names:
        file = f"{name}.safetensors"
        assert (folder / file).read_bytes() == (finished / file).read_bytes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "there is no file .*"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-4]),
            ".* is damaged or not a safetensors file: .*",
        ),
        (_of_another_network, ".* is not of this run's stages and test images"),
    ],
)
def test_which_images_were_wrong_is_asked_again_only_on_purpose(
    finished: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    path = folder / "test-errors.safetensors"
    whole = path.read_bytes()
    spoil(path)
    with pytest.raises(
        CheckpointError, match=rf"{said}\. The rest of the run is whole\. Remove .*result\.json"
    ):
        run(folder)
    (folder / "result.json").unlink()
    run(folder)
    assert path.read_bytes() == whole


def test_a_folder_of_another_seed_plan_or_task_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(CheckpointError, match="holds another run: seed is 0 there and 1 here"):
        run(tmp_path, seed=1)
    with pytest.raises(CheckpointError, match=r"plan\.rounds is 2 there and 3 here"):
        run(tmp_path, the_plan=plan(rounds=3))
    with pytest.raises(CheckpointError, match=r"data\.fingerprint is .* there and .* here"):
        train_prune_retrain(Dense, replace(TASK, train=TASK.train[1:]), plan(), tmp_path)


class Changing(Dense):
    squash: Callable[[Tensor], Tensor] = staticmethod(torch.relu)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.squash(x))


def test_a_network_whose_forward_was_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path, Changing)
    assert run(tmp_path, Changing).record == first.record
    monkeypatch.setattr(Changing, "squash", staticmethod(torch.sigmoid))
    for finished in (True, False):
        if not finished:
            (tmp_path / "result.json").unlink()
        with pytest.raises(CheckpointError, match=r"another run: the untrained network gives .*its forward"):
            run(tmp_path, Changing)


def test_a_folder_that_does_not_know_outputs_is_taken_up(tmp_path: Path) -> None:
    first = run(tmp_path)
    about = json.loads((tmp_path / "run.json").read_text())
    assert len(about["network"].pop("outputs")) == 2 * 4
    (tmp_path / "run.json").write_text(json.dumps(about))
    assert run(tmp_path).record == first.record


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
        read_result(str(tmp_path))
    (tmp_path / "result.json").write_text('{"format"')
    with pytest.raises(
        CheckpointError, match=r"result\.json is damaged .*remove it, and the same `secateur run` writes it"
    ):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text('{"format": 0}')
    with pytest.raises(CheckpointError, match=r"not a result of this version of Secateur \(format 1\)"):
        read_result(tmp_path)


def test_an_incomplete_result_is_refused_and_made_again_once_removed(tmp_path: Path) -> None:
    record = run(tmp_path).record
    path = tmp_path / "result.json"
    path.write_text(json.dumps({key: value for key, value in record.items() if key != "dead_neurons"}))
    said = r"result\.json is damaged or of another kind \(dead_neurons: Field required\); remove it"
    for read in (read_result, run):
        with pytest.raises(CheckpointError, match=said):
            read(tmp_path)
    path.unlink()
    assert run(tmp_path).record["error"] == record["error"]
