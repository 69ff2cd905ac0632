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


@final
class Keeper:
    """Writes the state after an epoch when enough time has passed, and the last one when training ends.

    What is not written yet is copied in memory: a copy moves every number once, where an epoch moves each
    of them several times a step. So an interruption, or a loss that is no number, costs no finished epoch;
    only a killed process loses what it had not written.

    Args:
        path: Where; None keeps nothing.
        seconds: The least time between two writes.
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
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

    def keep(self, content: Mapping[str, Any]) -> None:
        """Keep the state after an epoch.

        Args:
            content: Tensors and values; copied before this returns.

        Raises:
            StorageError: It cannot be written; the one before is untouched.
        """
        if self._path is None:
            return
        if time.monotonic() - self._written_at < self._seconds:
            self._pending = _copied(content)
            return
        save_checkpoint(self._path, content)
        self._pending = None
        self._written_at = time.monotonic()

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
