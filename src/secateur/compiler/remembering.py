"""Times of kernels that this machine has measured before, in one small file of the user's cache folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeGuard

from secateur.storage import write_json

# Of the file and the kernels: raised when those run differently, so that times of the old ones are forgotten.
_VERSION = 10


def default_cache() -> Path:
    """Where measured times are kept: ``$XDG_CACHE_HOME/secateur/kernels.json``."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:  # a user without a home, as in some containers: nothing is kept
        folder = Path(os.devnull)
    return folder / "secateur" / "kernels.json"


def read_times(path: Path) -> dict[str, dict[str, float]]:
    """Times in microseconds, and bytes that kernels pack, by layer and kernel.

    Args:
        path: Of the file.

    Returns:
        What it holds; nothing where it is not there or not what it should be: it can be measured again.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        return {}
    found = content.get("microseconds")
    return dict(found) if _well_formed(found) else {}


def write_times(path: Path, times: dict[str, dict[str, float]]) -> None:
    """Keep times for the next compilation.

    Args:
        path: Of the file.
        times: Microseconds, and bytes, by layer and kernel.

    Raises:
        StorageError: The file system refused.
    """
    write_json(path, {"version": _VERSION, "microseconds": times})


def _well_formed(found: object) -> TypeGuard[dict[str, dict[str, float]]]:
    return isinstance(found, dict) and all(
        isinstance(layer, str)
        and isinstance(times, dict)
        and times
        and all(isinstance(kernel, str) and isinstance(time, float) for kernel, time in times.items())
        for layer, times in found.items()
    )
