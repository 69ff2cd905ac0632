"""Keeping an unfinished stage: on the disk now and then, in memory after every epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, final

from torch import Tensor

from secateur.errors import DivergenceError, PeerError
from secateur.training.checkpoint import save_checkpoint

_SHARE = 20  # the time between two writes, at least, in times that one of them takes


@final
class Keeper:
    """Writes the state when enough time has passed, and that of the last finished epoch when training ends.

    What is not written yet is copied in memory: a copy moves every number once, where an epoch moves each
    of them several times a step. So an interruption, or a loss that is no number, costs no finished epoch;
    only a killed process loses what it had not written.

    A network of a gigabyte takes seconds to write. Writing takes a twentieth of the time at most, so for such
    a network the time between two writes is longer than it was asked to be.

    Args:
        path: Where; None keeps nothing.
        seconds: The least time between two writes; 0 writes on every occasion.
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._pause = seconds
        self._written_at = time.monotonic()
        self._pending: dict[str, Any] | None = None

    def __enter__(self) -> Keeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, trace
        if error is None or isinstance(error, KeyboardInterrupt | DivergenceError | PeerError):
            self._write_pending()

    @property
    def seconds_left(self) -> float:
        """How long it is until the next write, 0 or less if it is due; infinity where nothing is kept."""
        if self._path is None:
            return float("inf")
        return self._pause - (time.monotonic() - self._written_at)

    def keep(self, content: Mapping[str, Any]) -> None:
        """Keep a state that training can go on from.

        Args:
            content: Tensors and values; copied before this returns.

        Raises:
            StorageError: It cannot be written; the one before is untouched.
        """
        if self._path is None:
            return
        if self.seconds_left > 0:
            self._pending = _copied(content)
            return
        began = time.monotonic()
        save_checkpoint(self._path, content)
        self._pending = None
        self._written_at = time.monotonic()
        if self._seconds:
            self._pause = max(self._seconds, _SHARE * (self._written_at - began))

    def _write_pending(self) -> None:
        if self._path is not None and self._pending is not None:
            save_checkpoint(self._path, self._pending)
            self._pending = None


def _copied(value: Any) -> Any:
    match value:
        case Tensor():
            # Onto the CPU: an accelerator's memory may hold the network only once.
            return value.detach().to("cpu", copy=True)
        case Mapping():
            return {key: _copied(part) for key, part in value.items()}
        case list() | tuple():
            return type(value)(_copied(part) for part in value)
        case _:
            return value
