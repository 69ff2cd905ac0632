"""Reading idx files, the format that MNIST and its relatives are published in.

An idx file is a magic number (two zero bytes, a type code, the number of dimensions), one big-endian
32-bit length for each dimension, and the values in C order, big-endian.
Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.datasets.images import ImageDataset
from secateur.errors import DataError

IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""The four original names, without `.gz`."""

IDX_CLASSES = 10

TYPES: dict[int, np.dtype[np.generic]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

GZIP_MAGIC = b"\x1f\x8b"
# deflate cannot do better than this, so a header that promises more than it is lying
MOST_GZIP_EXPANSION = 1032
GZIP_DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error)
CHUNK = 1 << 20
MOST_DIMENSIONS = 32
LISTED = 12
REFETCH = "fetch the file again or take it from another copy"


def read_idx(path: Path) -> NDArray[np.generic]:
    """Read one idx file, plain or gzip, whatever its name ends in.

    The size is checked against the header before any memory is taken for the values.

    Args:
        path: the file.

    Returns:
        The values in the shape that the header gives, in the machine's own byte order.

    Raises:
        DataError: the file is missing or unreadable, is no idx file, is damaged, or is longer or shorter
            than its header says.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "labels-idx1-ubyte"
        ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(file)
        array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    try:
        stored = path.stat().st_size
        with path.open("rb") as plain:
            compressed = plain.read(2) == GZIP_MAGIC
            plain.seek(0)
            if not compressed:
                return _read_values(plain, path, stored)
            with gzip.GzipFile(fileobj=plain) as unpacked:
                return _read_values(unpacked, path, stored * MOST_GZIP_EXPANSION)
    except GZIP_DAMAGE as damage:
        raise DataError(
            f"{path}: expected an undamaged gzip file, found {type(damage).__name__}: {damage}; {REFETCH}"
        ) from damage
    except OSError as refusal:
        raise DataError(
            f"{path}: expected a readable idx file, found {type(refusal).__name__}: {refusal.strerror}; "
            "check the path and the permissions"
        ) from refusal


def _read_values(stream: IO[bytes] | gzip.GzipFile, path: Path, most: int) -> NDArray[np.generic]:
    """Read header and values; `most` is the number of bytes that the stream can hold at the very most."""
    kind, shape = _read_header(stream, path)
    header = 4 + 4 * len(shape)
    expected = math.prod(shape) * kind.itemsize
    if header + expected > most:
        raise DataError(
            f"{path}: the header gives dimensions {shape}, {header + expected} bytes in all; found at most "
            f"{most} bytes, so the file is truncated; {REFETCH}"
        )
    values = bytearray()
    # in pieces: one read of the whole would take the memory even where a damaged file has no such bytes
    while len(values) <= expected and (chunk := stream.read(min(CHUNK, expected + 1 - len(values)))):
        values += chunk
    if len(values) < expected:
        raise DataError(
            f"{path}: the header gives dimensions {shape}, {expected} bytes of values; found {len(values)} "
            f"bytes, so the file is truncated; {REFETCH}"
        )
    if len(values) > expected:
        raise DataError(
            f"{path}: the header gives dimensions {shape}, {expected} bytes of values; found trailing bytes "
            f"after them; {REFETCH}"
        )
    return np.frombuffer(values, dtype=kind).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def _read_header(
    stream: IO[bytes] | gzip.GzipFile, path: Path
) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    """Read the magic number and the dimensions."""
    magic = stream.read(4)
    if (
        len(magic) < 4
        or magic[:2] != b"\0\0"
        or magic[2] not in TYPES
        or not 1 <= magic[3] <= MOST_DIMENSIONS
    ):
        codes = ", ".join(f"0x{code:02x}" for code in TYPES)
        raise DataError(
            f"{path}: expected an idx magic number (00 00, a type of {codes}, 1..{MOST_DIMENSIONS} "
            f"dimensions), found {_describe(magic)}; check that this is the right file, and {REFETCH}"
        )
    lengths = stream.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise DataError(
            f"{path}: expected {magic[3]} dimensions of 4 bytes each, found {len(lengths)} bytes, so the "
            f"file is truncated; {REFETCH}"
        )
    shape = tuple(int.from_bytes(lengths[at : at + 4], "big") for at in range(0, len(lengths), 4))
    if 0 in shape:
        raise DataError(f"{path}: expected dimensions of at least 1, found {shape}; {REFETCH}")
    return TYPES[magic[2]], shape


def _describe(magic: bytes) -> str:
    """What the first bytes of a file are, in words a person can act on."""
    if not magic:
        return "an empty file"
    if magic == b"PK\x03\x04":
        return "a zip archive (unpack it first)"
    if magic.lstrip()[:1] == b"<":
        return f"{magic.hex(' ')}, which looks like a web page saved under this name"
    return magic.hex(" ")


def spellings(name: str) -> tuple[str, ...]:
    """The file names under which one of the four original files is accepted, most wanted first.

    Args:
        name: one of IDX_NAMES.

    Returns:
        The name with a hyphen or with a dot before `idx`, plain and with `.gz`.

    Example:
        >>> spellings("t10k-labels-idx1-ubyte")[2:]
        ('t10k-labels.idx1-ubyte', 't10k-labels.idx1-ubyte.gz')
    """
    dotted = name.replace("-idx", ".idx")
    return name, f"{name}.gz", dotted, f"{dotted}.gz"


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Find which of the four original files lie in a folder.

    Args:
        folder: where to look; it need not exist.

    Returns:
        From each name of IDX_NAMES that was found, under any of its spellings, to its file.
    """
    found = {}
    for name in IDX_NAMES:
        files = [folder / spelling for spelling in spellings(name) if (folder / spelling).is_file()]
        if files:
            found[name] = files[0]
    return found


def load_idx_folder(folder: Path) -> ImageDataset:
    """Load the four idx files of MNIST or a relative with ten classes (Fashion-MNIST, KMNIST) from a folder.

    Args:
        folder: holds the four files under their original names, each plain or `.gz`.

    Returns:
        The data set, images [n, 1, height, width].

    Raises:
        DataError: the folder or a file is missing, a file is damaged, or the files do not fit each other.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DataError(
            f"{folder}: expected a folder with the four idx files ({', '.join(IDX_NAMES)}, each plain or "
            f".gz), found {found} there; check the path"
        )
    files = find_idx_files(folder)
    missing = [name for name in IDX_NAMES if name not in files]
    if missing:
        raise DataError(
            f"{folder}: expected the four idx files, each plain or .gz; missing: {', '.join(missing)}; "
            f"found in the folder: {_listing(folder)}; copy the missing files there"
        )
    train_images, train_labels = _read_pair(files[IDX_NAMES[0]], files[IDX_NAMES[1]])
    test_images, test_labels = _read_pair(files[IDX_NAMES[2]], files[IDX_NAMES[3]])
    # the folder's own name only: the source ends up in records and reports that travel to other machines
    source = f"idx files in the folder {folder.resolve().name!r}"
    return ImageDataset(train_images, train_labels, test_images, test_labels, IDX_CLASSES, source)


def _read_pair(images_file: Path, labels_file: Path) -> tuple[Tensor, Tensor]:
    """Read images [n, 1, height, width] and their labels [n], and check that they belong together."""
    images = _read_bytes(images_file, 3, "images")
    labels = _read_bytes(labels_file, 1, "labels")
    if len(images) != len(labels):
        raise DataError(
            f"{labels_file}: expected a label for each of the {len(images)} images in {images_file.name}, "
            f"found {len(labels)} labels; take both files from the same set"
        )
    highest = int(labels.max())
    if highest >= IDX_CLASSES:
        raise DataError(
            f"{labels_file}: expected labels in 0..{IDX_CLASSES - 1}, found {highest} at place "
            f"{int(labels.argmax())}; only sets of {IDX_CLASSES} classes are read; if this is one, "
            f"{REFETCH}"
        )
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def _read_bytes(path: Path, dimensions: int, what: str) -> NDArray[np.uint8]:
    """Read a file that must hold unsigned bytes in so many dimensions."""
    values = read_idx(path)
    if values.dtype != np.uint8 or values.ndim != dimensions:
        raise DataError(
            f"{path}: expected {what}, magic number 00 00 08 {dimensions:02x} (unsigned bytes, {dimensions} "
            f"dimensions), found {values.dtype} of shape {values.shape}; check that no file was renamed"
        )
    return values.astype(np.uint8, copy=False)


def _listing(folder: Path) -> str:
    """The first names in a folder, for an error message."""
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
