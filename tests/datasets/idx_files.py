"""Small idx files for the tests of this folder."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.datasets.idx import IDX_NAMES

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(values: NDArray[np.generic]) -> bytes:
    """An array as the bytes of an idx file."""
    code = CODES[f"{values.dtype.kind}{values.dtype.itemsize}"]
    lengths = b"".join(length.to_bytes(4, "big") for length in values.shape)
    return (
        bytes([0, 0, code, values.ndim]) + lengths + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )


def small_arrays() -> dict[str, NDArray[np.uint8]]:
    """Four arrays that belong together: 20 training and 10 test images of 4x3 pixels."""
    random = np.random.default_rng(0)
    return {
        IDX_NAMES[0]: random.integers(0, 256, (20, 4, 3), dtype=np.uint8),
        IDX_NAMES[1]: np.arange(20, dtype=np.uint8) % 10,
        IDX_NAMES[2]: random.integers(0, 256, (10, 4, 3), dtype=np.uint8),
        IDX_NAMES[3]: np.arange(10, dtype=np.uint8),
    }


def small_folder(folder: Path) -> Path:
    """The four small files, packed, in a folder."""
    folder.mkdir(exist_ok=True)
    for name, values in small_arrays().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(values)))
    return folder
