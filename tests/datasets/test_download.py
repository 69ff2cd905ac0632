import gzip
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur.datasets import load_idx_folder
from secateur.datasets.download import CHECKSUMS, MIRRORS, download_mnist
from secateur.datasets.idx import IDX_NAMES
from secateur.errors import ConfigurationError, DataError, StorageError
from tests.datasets.idx_files import idx_bytes, small_arrays

UNPACKED = {f"{name}.gz": idx_bytes(values) for name, values in small_arrays().items()}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in UNPACKED.items()}
MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"
FIRST = f"{IDX_NAMES[0]}.gz"


class Mirror(http.server.ThreadingHTTPServer):
    """A mirror on this machine that serves what its dictionary holds and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MirrorHandler)
        self.files = {name: gzip.compress(content, mtime=0) for name, content in UNPACKED.items()}
        self.missing_bytes = 0
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mnist/"


class MirrorHandler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        body = self.server.files.get(name)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - self.server.missing_bytes])

    def log_message(self, *_: object) -> None:
        """Keep the test output quiet."""


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mirror, Mirror]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    pair = (Mirror(), Mirror())
    threads = [threading.Thread(target=mirror.serve_forever, args=(0.01,)) for mirror in pair]
    for thread in threads:
        thread.start()
    yield pair
    for mirror, thread in zip(pair, threads, strict=True):
        mirror.shutdown()
        thread.join()
        mirror.server_close()


def dead_url() -> str:
    """An address on this machine where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


def fetch(folder: Path, *urls: str) -> None:
    download_mnist(folder, base_urls=urls, timeout=5.0, checksums=SUMS)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_success_makes_the_folder_and_leaves_exactly_the_four_files(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    folder = tmp_path / "new" / "mnist"
    fetch(folder, mirrors[0].url, mirrors[1].url)
    assert names(folder) == set(SUMS)
    assert mirrors[0].asked == list(SUMS)
    assert mirrors[1].asked == []
    assert load_idx_folder(folder).train_images.shape == (20, 1, 4, 3)


def test_files_are_as_readable_as_any_other_new_file(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    other = tmp_path / "other"
    other.touch()
    fetch(tmp_path, mirrors[0].url)
    assert (tmp_path / FIRST).stat().st_mode == other.stat().st_mode


def test_good_files_are_kept_and_damaged_ones_replaced(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    fetch(tmp_path, mirrors[0].url)
    mirrors[0].asked.clear()
    (tmp_path / FIRST).write_bytes(b"damaged")
    fetch(tmp_path, mirrors[0].url)
    assert mirrors[0].asked == [FIRST]
    assert gzip.decompress((tmp_path / FIRST).read_bytes()) == UNPACKED[FIRST]


def test_a_mirror_may_compress_in_its_own_way(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    mirrors[0].files[FIRST] = gzip.compress(UNPACKED[FIRST], compresslevel=1, mtime=12345)
    fetch(tmp_path, mirrors[0].url)
    assert (tmp_path / FIRST).read_bytes() == mirrors[0].files[FIRST]


@pytest.mark.parametrize("first", ["missing", "corrupt", "truncated", "dead"])
def test_second_mirror_stands_in(tmp_path: Path, mirrors: tuple[Mirror, Mirror], first: str) -> None:
    urls = [mirrors[0].url, mirrors[1].url]
    if first == "missing":
        del mirrors[0].files[FIRST]
    elif first == "corrupt":
        mirrors[0].files[FIRST] = gzip.compress(b"something else", mtime=0)
    elif first == "truncated":
        mirrors[0].missing_bytes = 5
    else:
        urls[0] = dead_url()
    fetch(tmp_path, *urls)
    assert FIRST in mirrors[1].asked
    assert names(tmp_path) == set(SUMS)
    assert {name: gzip.decompress((tmp_path / name).read_bytes()) for name in SUMS} == UNPACKED


def test_not_found_everywhere_names_both_attempts_and_the_remedy(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    del mirrors[0].files[FIRST], mirrors[1].files[FIRST]
    with pytest.raises(DataError, match="expected one of 2 mirrors") as refusal:
        fetch(tmp_path, mirrors[0].url, mirrors[1].url)
    text = str(refusal.value)
    assert f"{mirrors[0].url}{FIRST}: HTTP Error 404" in text
    assert f"{mirrors[1].url}{FIRST}: HTTP Error 404" in text
    assert f"copy the files there by hand ({', '.join(SUMS)})" in text
    assert "`secateur demo`" in text
    assert names(tmp_path) == set()


def test_truncated_answer_leaves_nothing(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    mirrors[0].missing_bytes = 5
    with pytest.raises(DataError, match=r"IncompleteRead\(\d+ bytes read, 5 more expected\)"):
        fetch(tmp_path, mirrors[0].url)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            gzip.compress(b"something else", mtime=0),
            "unpacked bytes of sha256 [0-9a-f]{64}, found [0-9a-f]{64}",
        ),
        (b"<html>log in first</html>", "expected an undamaged gzip file, found BadGzipFile"),
        (gzip.compress(UNPACKED[FIRST], mtime=0)[:-9], "expected an undamaged gzip file, found EOFError"),
        (b"", "expected unpacked bytes of sha256"),
    ],
)
def test_corrupt_content_is_refused_and_leaves_nothing(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror], content: bytes, message: str
) -> None:
    mirrors[0].files[FIRST] = content
    with pytest.raises(DataError, match=message):
        fetch(tmp_path, mirrors[0].url)
    assert names(tmp_path) == set()


def test_later_failure_keeps_the_whole_files_and_no_part(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    last = list(SUMS)[-1]
    del mirrors[0].files[last]
    with pytest.raises(DataError, match=f"download of {last}"):
        fetch(tmp_path, mirrors[0].url)
    assert names(tmp_path) == set(SUMS) - {last}


def test_oversized_answers_are_refused(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.datasets.download.MOST_UNPACKED", 100)
    with pytest.raises(DataError, match="below 100 bytes unpacked, found more"):
        fetch(tmp_path, mirrors[0].url)
    monkeypatch.setattr("secateur.datasets.download.MOST_PACKED", 100)
    with pytest.raises(DataError, match="below 100 bytes, found more"):
        fetch(tmp_path, mirrors[0].url)
    assert names(tmp_path) == set()


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = dead_url()
    with pytest.raises(DataError, match=rf"{url}{FIRST}: <urlopen error .*refused"):
        fetch(tmp_path, url)
    assert names(tmp_path) == set()


def test_a_silent_server_runs_into_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DataError, match="timed out"):
            download_mnist(tmp_path, base_urls=[url], timeout=0.2, checksums=SUMS)
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_a_storage_error_before_anything_is_fetched(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=r"a folder that can be written, found .*SECATEUR_DATA"):
            fetch(folder, mirrors[0].url)
    assert mirrors[0].asked == []


def test_a_folder_without_write_permission_is_a_storage_error_before_anything_is_fetched(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    # by hand and not by chmod: the superuser may write anywhere, and tests run as the superuser in containers
    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(StorageError, match="found PermissionError: Permission denied; free space"):
        fetch(tmp_path, mirrors[0].url)
    assert mirrors[0].asked == []


def test_a_full_disk_leaves_no_part(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        fetch(tmp_path, mirrors[0].url)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("urls", "timeout", "message"),
    [
        (
            ["http://example.org/mnist/"],
            1.0,
            "expected an https address as a mirror, found 'http://example.org",
        ),
        (["file:///etc"], 1.0, "found 'file:///etc'"),
        ([], 1.0, r"at least one mirror, found \[\]"),
        ("https://example.org", 1.0, "sequence of at least one mirror, found 'https"),
        (["https://example.org"], 0.0, r"timeout above 0 seconds, found 0\.0"),
    ],
)
def test_arguments_that_cannot_be(tmp_path: Path, urls: list[str], timeout: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        download_mnist(tmp_path, base_urls=urls, timeout=timeout)


def test_the_real_mirrors_and_names() -> None:
    assert all(url.startswith("https://") and url.endswith("/") for url in MIRRORS)
    assert list(CHECKSUMS) == [f"{name}.gz" for name in IDX_NAMES]


@pytest.mark.skipif(not MNIST.is_dir(), reason="the four MNIST files are not in ../shared/data/mnist")
def test_the_real_checksums_are_those_of_the_real_files() -> None:
    for name, checksum in CHECKSUMS.items():
        assert hashlib.sha256(gzip.decompress((MNIST / name).read_bytes())).hexdigest() == checksum
