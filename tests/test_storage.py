from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from secateur import storage
from secateur.errors import StorageError
from secateur.storage import write_atomically, write_json


def _files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_whole_files_with_ordinary_rights_and_nothing_beside(tmp_path: Path) -> None:
    write_atomically(tmp_path / "deep" / "a.bin", lambda file: file.write(b"one"))
    write_atomically(tmp_path / "deep" / "a.bin", lambda file: file.write(b"two"))
    assert (tmp_path / "deep" / "a.bin").read_bytes() == b"two"
    assert _files(tmp_path / "deep") == ["a.bin"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "deep" / "a.bin").stat().st_mode) == 0o666 & ~mask


def test_a_link_stays_a_link_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.bin").write_bytes(b"old")
    link = tmp_path / "link.bin"
    link.symlink_to(tmp_path / "there" / "a.bin")
    write_atomically(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert (tmp_path / "there" / "a.bin").read_bytes() == b"new"
    assert _files(tmp_path / "there") == ["a.bin"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, lambda file: file.write(b"through"))
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert _files(tmp_path) == ["pipe"]


def test_the_null_device_is_written_to_and_stays_one() -> None:
    write_atomically(Path(os.devnull), lambda file: file.write(b"gone"))
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_link_to_a_pipe_without_a_name_is_written_to() -> None:
    script = (
        "from pathlib import Path; from secateur.storage import write_atomically; "
        "write_atomically(Path('/dev/stdout'), lambda file: file.write(b'through'))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)  # noqa: S603
    assert done.stdout == b"through"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(StorageError, match=r"runs: Is a directory.*give the name of a file in it"):
        write_atomically(tmp_path / "runs", lambda file: file.write(b"new"))
    assert _files(tmp_path) == ["runs"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_there_stays_when_writing_breaks_off(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(file: storage.ByteSink) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert _files(tmp_path) == ["a.bin"]


def test_a_full_disk_is_named_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(
        StorageError, match=r"cannot write .*a\.bin: No space left on device.*Free some space"
    ):
        write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"old"
    assert _files(tmp_path) == ["a.bin"]


def test_a_limit_of_the_file_system_is_a_storage_error(tmp_path: Path) -> None:
    script = f"""
import resource, signal, sys
from pathlib import Path
from secateur.errors import StorageError
from secateur.storage import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path({str(tmp_path / "big.bin")!r}), lambda file: file.write(b"x" * 100_000))
except StorageError as error:
    sys.exit(0 if "File too large" in str(error) else 1)
sys.exit(2)
"""
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, check=False).returncode == 0  # noqa: S603  # the script above
    assert _files(tmp_path) == []


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_json(tmp_path / "file" / "a.json", {})


def test_json_ends_with_a_newline_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, 2.5]})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": [\n    1,\n    2.5\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"a": float("nan")})
    assert _files(tmp_path) == ["a.json"]
