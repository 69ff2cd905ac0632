"""MNN over the model in which its converter looked for sparse weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = ("MNN", "_tools")


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    """Convert, and look for layers whose weights are sparse enough."""
    del batch, threads
    # By its plain name: a started file's own folder is on the path.
    path: str = import_module("run_mnn").convert(
        source, str(Path(folder) / "mnn-sparse.mnn"), "--detectSparseSpeedUp"
    )
    return path


def configurations(threads: int) -> list[str]:
    """All threads, or one."""
    names: list[str] = import_module("run_mnn").configurations(threads)
    return names


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Open a session."""
    loaded: tuple[Callable[[], Any], Callable[[Any], Any]] = import_module("run_mnn").load(
        path, inputs, configuration
    )
    return loaded
