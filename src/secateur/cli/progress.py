"""How a run shows itself in a terminal; plain lines when it is not one."""

from __future__ import annotations

import time
from types import TracebackType
from typing import final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from secateur.recipes.driver import Observer
from secateur.training.loop import EpochRecord

_REFRESH = (
    0.2  # seconds between two updates of the bar; asking for the loss costs more than a step's bookkeeping
)


@final
class RunDisplay:
    """Shows stages, rate, time left, loss and error while a run goes on.

    Args:
        console: Where to; a console that is no terminal gets one plain line an epoch.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._began = 0.0
        self._shown = 0.0
        self._epochs_done = 0
        self._error = ""  # of the epoch before, so that it stays in sight during the next

    def __enter__(self) -> RunDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @property
    def observer(self) -> Observer:
        """What the run tells its progress to."""
        return Observer(on_stage=self._on_stage, on_batch=self._on_batch, on_epoch=self._on_epoch)

    def _on_stage(self, name: str, number: int, stages: int, epochs: int, finished: bool) -> None:
        if self._quiet:
            return
        label = f"[{number + 1}/{stages}] {name}"
        if finished:
            self._console.print(f"{label}: finished before, kept", highlight=False, markup=False)
            self._task = None
            return
        if not self._console.is_terminal:
            self._console.print(f"{label}: {epochs} epochs", highlight=False, markup=False)
        self._epochs_done, self._error = 0, ""
        self._began = self._shown = time.monotonic()
        self._task = self._bars.add_task(label, total=epochs, status="")

    def _on_batch(self, step: int, steps: int, loss: Tensor) -> None:
        now = time.monotonic()
        if self._task is None or now - self._shown < _REFRESH:
            return
        self._shown = now
        rate = step / max(now - self._began, 1e-9)
        self._bars.update(
            self._task,
            completed=self._epochs_done + step / steps,
            status=f"{rate:.0f} steps/s  loss {float(loss):.4f}{self._error}",
        )

    def _on_epoch(self, record: EpochRecord) -> None:
        if self._quiet or self._task is None:
            return
        self._epochs_done += 1
        self._error = f"  validation error {record.validation_error:.2f} %"
        self._began = time.monotonic()
        status = f"loss {record.loss:.4f}{self._error}"
        self._bars.update(self._task, completed=self._epochs_done, status=status)
        if not self._console.is_terminal:
            self._console.print(
                f"  epoch {self._epochs_done}: {status}  "
                f"density {record.density:.4f}  {record.seconds:.1f} s",
                highlight=False,
                markup=False,
            )
