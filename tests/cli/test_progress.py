from __future__ import annotations

from io import StringIO

import pytest
import torch
from rich.console import Console

from secateur.cli.progress import RunDisplay
from secateur.training.loop import EpochRecord


def record(stage: str = "dense", epoch: int = 1) -> EpochRecord:
    return EpochRecord(stage, 0, epoch, 0.5, 0.4, 3.25, 0.1, 0.25, 1.5)


def shown(*, terminal: bool, quiet: bool = False) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=140, color_system=None)
    with RunDisplay(console, quiet=quiet) as display:
        observer = display.observer
        assert observer.on_stage
        assert observer.on_batch
        assert observer.on_epoch
        observer.on_stage("dense", 0, 2, 2, True)
        observer.on_epoch(record())
        observer.on_stage("round-01", 1, 2, 2, False)
        display._shown = -10.0
        observer.on_batch(5, 10, torch.tensor(0.75))
        display._bars.refresh()
        observer.on_epoch(record("round-01"))
        observer.on_epoch(record("round-01", 2))
    return out.getvalue()


def test_a_terminal_shows_bars_with_rate_loss_and_error() -> None:
    out = shown(terminal=True)
    assert "[1/2] dense: finished before, kept" in out
    assert "[2/2] round-01" in out
    assert "━" in out
    assert "0/2 epochs" in out
    assert "steps/s  loss 0.7500" in out
    assert "2/2 epochs" in out
    assert "loss 0.5000  validation error 3.25 %" in out
    assert "epoch 1:" not in out


def test_no_terminal_gets_plain_lines() -> None:
    assert shown(terminal=False) == (
        "[1/2] dense: finished before, kept\n"
        "[2/2] round-01: 2 epochs\n"
        "  epoch 1: loss 0.5000  validation error 3.25 %  density 0.2500  1.5 s\n"
        "  epoch 2: loss 0.5000  validation error 3.25 %  density 0.2500  1.5 s\n"
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(terminal: bool) -> None:
    assert shown(terminal=terminal, quiet=True).strip() == ""
