"""TensorBoard scalars of a run, from its log, as its epochs end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

from secateur.errors import MissingExtraError
from secateur.recipes.driver import Observer
from secateur.storage import refused
from secateur.training.loop import EpochRecord

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_KEYS = ("loss", "validation_loss", "validation_error", "learning_rate", "density")


@final
class Scalars:
    """Writes loss, validation error, learning rate and density of every epoch, numbered through all stages.

    They go to ``tensorboard`` within the run's folder. A run that goes on after an interruption writes all of
    them anew from its log, for what was written before may hold epochs that were not kept.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        check_installed()
        self._folder: Path | None = None
        self._writer: SummaryWriter | None = None
        self._written = 0
        self._open = ExitStack()

    def __enter__(self) -> Scalars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def beside(self, observer: Observer) -> Observer:
        """An observer that tells another, and writes what an epoch brought when it ends."""

        def on_epoch(record: EpochRecord) -> None:
            self.catch_up()
            if observer.on_epoch is not None:
                observer.on_epoch(record)

        return replace(observer, on_folder=self.begin, on_epoch=on_epoch)

    def begin(self, folder: Path) -> None:
        """Take note of the run's folder; nothing is written yet."""
        self._folder = folder

    def catch_up(self) -> None:
        """Write the epochs that the log has and TensorBoard has not.

        Raises:
            StorageError: They cannot be written.
        """
        if self._folder is None:
            return
        # From the log and not from the observer, whom nobody tells of stages that were finished before.
        lines = (self._folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        target = self._folder / "tensorboard"
        try:
            if self._writer is None:
                self._writer = self._open.enter_context(_fresh_writer(target))
            for step, line in enumerate(lines[self._written :], start=self._written + 1):
                _add(self._writer, json.loads(line), step)
            self._writer.flush()
        except OSError as error:
            raise refused(target, error) from error
        self._written = len(lines)


def check_installed() -> None:
    """Refuse to go on where TensorBoard is not installed: better before a run than in it.

    Raises:
        MissingExtraError: It is not.
    """
    if find_spec("tensorboard") is None:
        raise MissingExtraError(
            '--tensorboard needs the package tensorboard: pip install "secateur[tensorboard]"'
        )


def _fresh_writer(target: Path) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # an extra that most do without

    for earlier in target.glob("events.out.tfevents.*"):  # the same epochs twice would be drawn twice
        earlier.unlink()
    return SummaryWriter(str(target))


def _add(writer: SummaryWriter, record: Mapping[str, Any], step: int) -> None:
    for key in _KEYS:
        writer.add_scalar(key, record[key], step)
