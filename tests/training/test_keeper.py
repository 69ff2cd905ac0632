from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from secateur.errors import DivergenceError, StorageError
from secateur.training import keeper as keeper_module
from secateur.training.checkpoint import load_checkpoint
from secateur.training.keeper import Keeper


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, writing: float = 0.0) -> None:
        self.now, self.writes = 100.0, []
        real = keeper_module.save_checkpoint

        def save(path: Path, content: Any) -> None:
            self.now += writing
            self.writes.append(self.now)
            real(path, content)

        monkeypatch.setattr(keeper_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(keeper_module, "save_checkpoint", save)


def test_it_writes_when_it_is_time_and_the_last_state_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(monkeypatch), tmp_path / "a.pt"
    with Keeper(path, 20.0) as keeper:
        assert keeper.seconds_left == 20.0
        clock.now += 19.0
        keeper.keep({"x": torch.tensor(1)})
        assert not path.exists()
        clock.now += 1.0
        assert keeper.seconds_left == 0.0
        keeper.keep({"x": torch.tensor(2)})
        assert load_checkpoint(path)["x"] == 2
        assert keeper.seconds_left == 20.0
        state = torch.tensor(3)
        keeper.keep({"x": state})
        state.fill_(4)  # what is kept is what it was
    assert load_checkpoint(path)["x"] == 3
    assert len(clock.writes) == 2


def test_what_is_written_within_an_epoch_is_newer_than_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(monkeypatch), tmp_path / "a.pt"
    with Keeper(path, 20.0) as keeper:
        keeper.keep({"x": "end of an epoch"})
        clock.now += 25.0
        keeper.keep({"x": "in the middle of the next"})
    assert load_checkpoint(path)["x"] == "in the middle of the next"


def test_writing_takes_a_twentieth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, writing=5.0)
    keeper = Keeper(tmp_path / "a.pt", 20.0)
    for _ in range(1000):
        clock.now += 1.0
        if keeper.seconds_left <= 0:
            keeper.keep({})
    assert len(clock.writes) == 10  # once a hundred seconds
    often = Keeper(tmp_path / "b.pt", 0.0)
    for _ in range(3):
        often.keep({})
    assert len(clock.writes) == 13


@pytest.mark.parametrize(
    ("error", "written"), [(KeyboardInterrupt, True), (DivergenceError, True), (StorageError, False)]
)
def test_which_errors_leave_the_last_state(tmp_path: Path, error: type[BaseException], written: bool) -> None:
    path = tmp_path / "a.pt"

    def fail() -> None:
        with Keeper(path, 1e9) as keeper:
            keeper.keep({"x": 1})
            raise error

    with pytest.raises(error):
        fail()
    assert path.exists() is written


def test_nothing_is_kept_without_a_path() -> None:
    with Keeper(None, 0.0) as keeper:
        keeper.keep({"x": 1})
        assert keeper.seconds_left == float("inf")
