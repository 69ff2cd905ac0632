from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from secateur.cli.tensorboard import Scalars
from secateur.errors import InterruptedRunError, MissingExtraError, StorageError
from secateur.recipes.driver import Observer
from secateur.training.loop import EpochRecord
from tests.recipes.runs import log, run

KEYS = ["density", "learning_rate", "loss", "validation_error", "validation_loss"]
needs_tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="tensorboard is not installed"
)


def points(folder: Path, key: str = "loss") -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415  # an extra
        EventAccumulator,
    )

    assert len(list((folder / "tensorboard").iterdir())) == 1
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == KEYS
    return [(event.step, event.value) for event in events.Scalars(key)]


def assert_as_in_the_log(folder: Path) -> None:
    for key in KEYS:
        expected = [pytest.approx(line[key], rel=1e-6) for line in log(folder)]
        assert points(folder, key) == list(enumerate(expected, start=1))


def recorded(folder: Path, on_epoch: Callable[[EpochRecord], None] | None = None) -> None:
    with Scalars() as scalars:
        run(folder, observer=scalars.beside(Observer(on_epoch=on_epoch)), save_every=0.0)
        scalars.catch_up()


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_scalars_are_there_when_their_epoch_ends(tmp_path: Path) -> None:
    seen: list[int] = []
    recorded(tmp_path, lambda _: seen.append(len(points(tmp_path))))
    assert seen == list(range(1, len(log(tmp_path)) + 1))
    assert_as_in_the_log(tmp_path)


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_run_goes_on_with_each_epoch_once(tmp_path: Path, epoch: int) -> None:
    told: list[EpochRecord] = []

    def stop(record: EpochRecord) -> None:
        told.append(record)
        if len(told) == epoch:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError):
        recorded(tmp_path, stop)
    assert len(points(tmp_path)) == epoch
    recorded(tmp_path)
    assert_as_in_the_log(tmp_path)


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_a_finished_run_can_be_given_its_scalars(tmp_path: Path) -> None:
    run(tmp_path)
    recorded(tmp_path)
    recorded(tmp_path)
    assert_as_in_the_log(tmp_path)


@needs_tensorboard
def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*tensorboard"):
        recorded(tmp_path)


def test_without_tensorboard_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.cli.tensorboard.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"--tensorboard needs the package tensorboard: pip install"):
        Scalars()
