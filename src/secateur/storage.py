"""Writing files so that a half-written one is never taken for a whole one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from secateur.errors import StorageError


class ByteSink(Protocol):
    """What content is written to."""

    def write(self, content: bytes | memoryview, /) -> int:
        """Write bytes."""


def write_atomically(path: Path, write: Callable[[ByteSink], object]) -> None:
    """Write a file under another name and move it into place when it is whole and on the disk.

    Args:
        path: Where the file shall be. What is there stays until the new one is complete; a link stays a link,
            and a device or a pipe is written to as it is.
        write: Writes the content to the open file it is given.

    Raises:
        StorageError: The file system refused (a full disk, a missing right); nothing is left behind.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_atomically(folder / "a.bin", lambda file: file.write(b"whole"))
        >>> (folder / "a.bin").read_bytes()
        b'whole'
    """
    temporary: Path | None = None
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            # Moved into place, a file would put an end to /dev/null.
            with path.open("wb") as device:
                write(device)
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", suffix=".tmp", delete=False
        ) as file:
            temporary = Path(file.name)
            write(file)
            file.flush()
            os.fchmod(file.fileno(), _ordinary_mode())
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise refused(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, indented, with a newline at its end.

    Args:
        path: Where the file shall be.
        content: Anything that JSON can hold; NaN and infinity are refused, since JSON has neither.

    Raises:
        StorageError: The file system refused.
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def refused(path: Path, error: OSError) -> StorageError:
    """The error that says which write the file system refused.

    Args:
        path: What could not be written.
        error: What the file system said.

    Returns:
        The error, to be raised.
    """
    advice = "Free some space or choose another folder, and run the same command again"
    if isinstance(error, IsADirectoryError):
        advice = "It is a folder: give the name of a file in it"
    return StorageError(
        f"cannot write {path}: {error.strerror or error}; what was finished before is untouched. {advice}"
    )


def _ordinary_mode() -> int:
    # Temporary files are private to their user; what a run leaves behind is an ordinary file. The umask can
    # only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    # Without this a power cut can undo the move even though the file's content was synced.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
