"""Fetching MNIST from its public mirrors: checked, whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from secateur.datasets.idx import CHUNK, GZIP_DAMAGE
from secateur.errors import ConfigurationError, DataError, StorageError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

CHECKSUMS: Mapping[str, str] = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""sha256 of the *unpacked* bytes: a mirror may have compressed the same file in its own way."""

TIMEOUT = 20.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# the largest file is 10 MB packed and 47 MB unpacked; what is larger than this is something else
MOST_PACKED = 64 << 20
MOST_UNPACKED = 256 << 20


def download_mnist(
    folder: Path,
    *,
    base_urls: Sequence[str] = MIRRORS,
    timeout: float = TIMEOUT,
    checksums: Mapping[str, str] = CHECKSUMS,
) -> None:
    """Fetch the four files of MNIST into a folder, from the first mirror that gives each one whole.

    Every file is checked before it gets its name, so the folder never holds half a file under a final name.
    A file that is there already and passes its check is not fetched again.

    Args:
        folder: where the files go; made if it is not there.
        base_urls: mirrors in the order they are tried, https only (plain http on this machine itself).
        timeout: seconds to wait for a mirror that says nothing, above 0.
        checksums: from each file name to the sha256, in hex, of its unpacked bytes.

    Raises:
        ConfigurationError: the timeout is not above 0, there is no mirror, or one is not https.
        DataError: a file could not be had from any mirror; the message names each attempt.
        StorageError: the folder or a file in it cannot be written.
    """
    _check_arguments(base_urls, timeout)
    folder = Path(folder)
    with _refusals_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, checksum in checksums.items():
            target = folder / name
            if target.is_file() and _fault(target.read_bytes(), checksum) is None:
                continue
            # opened before anything is fetched: a folder that cannot be written should say so at once
            with _scratch_file(folder, name) as scratch:
                body = _fetch_from_any(name, checksum, base_urls, timeout, checksums)
                with scratch.open("wb") as stream:
                    stream.write(body)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(scratch, target)


def _check_arguments(base_urls: Sequence[str], timeout: float) -> None:
    """Raise ConfigurationError for mirrors or a timeout that cannot be."""
    if not timeout > 0:
        raise ConfigurationError(f"download: expected a timeout above 0 seconds, found {timeout}")
    if isinstance(base_urls, str) or not base_urls:
        raise ConfigurationError(
            f"download: expected a sequence of at least one mirror, found {base_urls!r}; "
            "leave base_urls out to use the public ones"
        )
    for url in base_urls:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ConfigurationError(
                f"download: expected an https address as a mirror, found {url!r}; use https, or copy "
                "the files by hand"
            )


@contextmanager
def _refusals_named(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into a StorageError."""
    try:
        yield
    except OSError as refusal:
        raise StorageError(
            f"{folder}: expected a folder that can be written, found {type(refusal).__name__}: "
            f"{refusal.strerror}; free space, change the permissions, or name another folder in SECATEUR_DATA"
        ) from refusal


@contextmanager
def _scratch_file(folder: Path, name: str) -> Iterator[Path]:
    """A temporary file beside its final place, so that the final rename cannot cross file systems."""
    # not mkstemp, whose files no other user of a shared folder could read
    scratch = folder / f".{name}.{uuid4().hex}.part"
    scratch.touch(exist_ok=False)
    try:
        yield scratch
    finally:
        # gone already where the rename succeeded
        scratch.unlink(missing_ok=True)


def _fetch_from_any(
    name: str, checksum: str, base_urls: Sequence[str], timeout: float, checksums: Mapping[str, str]
) -> bytes:
    """The bytes of one file from the first mirror that gives them whole, or DataError with every attempt."""
    attempts = []
    for base in base_urls:
        url = f"{base.rstrip('/')}/{name}"
        try:
            body = _fetch(url, timeout)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            attempts.append(f"{url}: {refusal}")
            continue
        # URLError and TimeoutError are OSErrors; they end here and never look like a full disk
        except (OSError, http.client.HTTPException) as failure:
            attempts.append(f"{url}: {str(failure) or type(failure).__name__}")
            continue
        fault = _fault(body, checksum)
        if fault is None:
            return body
        attempts.append(f"{url}: {fault}")
    raise DataError(
        f"download of {name}: expected one of {len(base_urls)} mirrors to give it, found none that did:\n  "
        + "\n  ".join(attempts)
        + f"\ncopy the files there by hand ({', '.join(checksums)}) and give their folder, or run "
        "`secateur demo`, which needs no network"
    )


def _fetch(url: str, timeout: float) -> bytes:
    """All bytes behind an address; an answer cut short is an IncompleteRead."""
    with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - scheme checked in _check_arguments
        body: bytes = answer.read(MOST_PACKED + 1)
        announced = answer.headers.get("Content-Length")
    if announced is not None and announced.isdigit() and len(body) < min(int(announced), MOST_PACKED):
        raise http.client.IncompleteRead(body, int(announced) - len(body))
    return body


def _fault(body: bytes, checksum: str) -> str | None:
    """What is wrong with a packed file, or None if its unpacked bytes are the expected ones."""
    if len(body) > MOST_PACKED:
        return f"expected a file below {MOST_PACKED} bytes, found more"
    digest = hashlib.sha256()
    unpacked = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                unpacked += len(chunk)
                if unpacked > MOST_UNPACKED:
                    return f"expected a file below {MOST_UNPACKED} bytes unpacked, found more"
    except GZIP_DAMAGE as damage:
        return f"expected an undamaged gzip file, found {type(damage).__name__}: {damage}"
    if digest.hexdigest() != checksum:
        return f"expected unpacked bytes of sha256 {checksum}, found {digest.hexdigest()}"
    return None
