from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from secateur.cli.tensorboard import write_scalars
from secateur.errors import MissingExtraError, StorageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [
        {"loss": loss, "validation_loss": 0.5, "validation_error": 2.0, "learning_rate": 0.1, "density": 1.0}
        for loss in (1.0, 0.25)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_scalars_can_be_read_back_and_are_there_once(folder: Path) -> None:
    write_scalars(folder)
    write_scalars(folder)
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415  # an extra
        EventAccumulator,
    )

    assert len(list((folder / "tensorboard").iterdir())) == 1
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == [
        "density",
        "learning_rate",
        "loss",
        "validation_error",
        "validation_loss",
    ]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 0.25)]


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_a_folder_that_cannot_be_written_is_a_storage_error(folder: Path) -> None:
    (folder / "tensorboard").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*tensorboard"):
        write_scalars(folder)


def test_without_tensorboard_its_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.cli.tensorboard.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"--tensorboard needs the package tensorboard: pip install"):
        write_scalars(folder)
