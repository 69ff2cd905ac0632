import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from secateur.datasets.idx import IDX_NAMES, load_idx_folder, read_idx, spellings
from secateur.datasets.images import pixel_statistics
from secateur.errors import DataError
from tests.datasets.idx_files import CODES, idx_bytes, small_arrays, small_folder

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"
MNIST_MISSING = pytest.mark.skipif(
    not MNIST.is_dir(), reason="the four MNIST files are not in ../shared/data/mnist beside the repository"
)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = IDX_NAMES
SMALL = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))


@given(
    values=npst.arrays(
        dtype=st.sampled_from(sorted(CODES)).map(np.dtype),
        shape=npst.array_shapes(max_dims=4, max_side=5),
    ),
    packed=st.booleans(),
)
def test_reading_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, packed: bool
) -> None:
    file = tmp_path_factory.mktemp("idx") / "values"
    file.write_bytes(gzip.compress(idx_bytes(values)) if packed else idx_bytes(values))
    read = read_idx(file)
    assert read.dtype == values.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, values)


@given(cut=st.integers(0, len(SMALL) - 1), packed=st.booleans())
def test_every_truncation_is_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int, packed: bool
) -> None:
    file = tmp_path_factory.mktemp("idx") / "cut"
    file.write_bytes(gzip.compress(SMALL[:cut], mtime=0) if packed else SMALL[:cut])
    with pytest.raises(DataError, match=r"truncated|magic number") as refusal:
        read_idx(file)
    assert str(file) in str(refusal.value)


@given(content=st.binary(max_size=64))
def test_arbitrary_bytes_are_read_or_refused_and_never_crash(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    for start in (b"", b"\0\0\x08", b"\x1f\x8b\x08"):
        file = tmp_path_factory.mktemp("idx") / "anything"
        file.write_bytes(start + content)
        try:
            values = read_idx(file)
        except DataError:
            continue
        assert len(start + content) == 4 + 4 * values.ndim + values.nbytes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"PK\x03\x04rest", "found a zip archive"),
        (b"<html>Not here</html>", "found 3c 68 74 6d, which looks like a web page"),
        (b"\0\0\x07\x01\0\0\0\x01\0", r"expected an idx magic number .* found 00 00 07 01"),
        (b"\0\0\x08\0\0\0\0\x01\0", "found 00 00 08 00"),
        (b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\0", r"1\.\.32 dimensions\), found 00 00 08 ff"),
        (b"\0\0\x08\x02\0\0\0", "expected 2 dimensions of 4 bytes each, found 3 bytes"),
        (b"\0\0\x08\x01\0\0\0\0", r"expected dimensions of at least 1, found \(0,\)"),
        (
            SMALL[:-1],
            r"dimensions \(2, 4, 3\), 40 bytes in all; found at most 39 bytes",
        ),
        (SMALL + b"\0", r"24 bytes of values; found trailing bytes"),
        (gzip.compress(SMALL[:-1], mtime=0), "24 bytes of values; found 23 bytes, so the file is truncated"),
        (gzip.compress(SMALL + b"\0", mtime=0), "found trailing bytes"),
        (gzip.compress(SMALL, mtime=0)[:-9], "undamaged gzip file, found EOFError"),
        (
            gzip.compress(SMALL, mtime=0)[:-8] + b"\0" * 8,
            "undamaged gzip file, found BadGzipFile: CRC check failed",
        ),
        (gzip.compress(SMALL, mtime=0)[:10] + b"\xff" * 30, "undamaged gzip file, found error: Error -3"),
    ],
)
def test_damage_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "damaged.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        read_idx(file)
    assert str(refusal.value).startswith(f"{file}: ")


@pytest.mark.parametrize("packed", [False, True])
def test_a_lying_header_takes_no_memory(tmp_path: Path, packed: bool) -> None:
    huge = b"\0\0\x08\x03" + b"\x7f\xff\xff\xff" * 3 + b"\0" * 100
    file = tmp_path / "huge"
    file.write_bytes(gzip.compress(huge, mtime=0) if packed else huge)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"\(2147483647, 2147483647, 2147483647\).* truncated"):
            read_idx(file)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_packed_file_that_promises_what_gzip_could_hold_takes_memory_only_as_it_comes(
    tmp_path: Path,
) -> None:
    # bytes that do not compress leave room, by the ratio gzip can reach, for a promise of 64 MiB
    noise = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8).tobytes()
    file = tmp_path / "promise.gz"
    file.write_bytes(gzip.compress(b"\0\0\x08\x01" + (64 << 20).to_bytes(4, "big") + noise))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="67108864 bytes of values; found 100000 bytes"):
            read_idx(file)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_unreadable_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found FileNotFoundError: No such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="found IsADirectoryError"):
        read_idx(tmp_path)


@pytest.mark.parametrize("spelling", range(4))
def test_folder_is_read_under_every_spelling(tmp_path: Path, spelling: int) -> None:
    arrays = small_arrays()
    for name, values in arrays.items():
        file = tmp_path / spellings(name)[spelling]
        file.write_bytes(gzip.compress(idx_bytes(values)) if file.suffix == ".gz" else idx_bytes(values))
    data = load_idx_folder(tmp_path)
    assert data.train_images.shape == (20, 1, 4, 3)
    assert data.test_images.shape == (10, 1, 4, 3)
    np.testing.assert_array_equal(data.train_images.squeeze(1).numpy(), arrays[TRAIN_IMAGES])
    np.testing.assert_array_equal(data.test_labels.numpy(), arrays[TEST_LABELS])
    assert data.test_labels.dtype == torch.int64
    assert data.classes == 10
    assert data.source == f"idx files in the folder {tmp_path.name!r}"


def test_file_that_a_browser_unpacked_under_its_gz_name_is_read(tmp_path: Path) -> None:
    fingerprint = load_idx_folder(small_folder(tmp_path)).fingerprint
    (tmp_path / f"{TRAIN_IMAGES}.gz").write_bytes(idx_bytes(small_arrays()[TRAIN_IMAGES]))
    assert load_idx_folder(tmp_path).fingerprint == fingerprint


def test_missing_folder_and_files_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a folder .*train-images-idx3-ubyte.* found nothing there"):
        load_idx_folder(tmp_path / "absent")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"missing: .*train-images.*t10k-labels.*; found .*: nothing;"):
        load_idx_folder(empty)
    partial = small_folder(tmp_path / "partial")
    (partial / f"{TEST_LABELS}.gz").rename(partial / "labels.gz")
    with pytest.raises(DataError, match=f"missing: {TEST_LABELS}; found .*: labels.gz, {TEST_IMAGES}"):
        load_idx_folder(partial)
    with pytest.raises(DataError, match="found a file there"):
        load_idx_folder(partial / "labels.gz")


def test_long_listings_are_cut(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02d}").touch()
    with pytest.raises(DataError, match="10, 11 and 8 more"):
        load_idx_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (TRAIN_LABELS, np.zeros(19, np.uint8), "each of the 20 images in train-images.*, found 19 labels"),
        (TEST_LABELS, np.zeros(11, np.uint8), "each of the 10 images in t10k-images.*, found 11 labels"),
        (TEST_LABELS, np.arange(1, 11, dtype=np.uint8), r"labels in 0\.\.9, found 10 at place 9"),
        (
            TRAIN_LABELS,
            np.zeros((20, 4, 3), np.uint8),
            r"labels, magic number 00 00 08 01 .*\(20, 4, 3\)",
        ),
        (TRAIN_IMAGES, np.zeros(20, np.uint8), r"expected images, magic number 00 00 08 03 .* shape \(20,\)"),
        (TEST_IMAGES, np.zeros((10, 4, 3), np.int16), "found int16 of shape"),
        (TEST_IMAGES, np.zeros((10, 5, 3), np.uint8), r"\(1, 4, 3\) in training and \(1, 5, 3\) in test"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, values: np.ndarray, message: str
) -> None:
    small_folder(tmp_path)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(values)))
    with pytest.raises(DataError, match=message):
        load_idx_folder(tmp_path)


@MNIST_MISSING
def test_mnist_itself() -> None:
    data = load_idx_folder(MNIST)
    assert data.train_images.shape == (60_000, 1, 28, 28)
    assert data.test_images.shape == (10_000, 1, 28, 28)
    assert torch.bincount(data.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert torch.bincount(data.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    mean, std = pixel_statistics(data.train_images)
    assert (round(mean, 4), round(std, 4)) == (0.1307, 0.3081)
    assert data.fingerprint == "35914650c8beaeed4429263376775b71ac05b224ab7d958a603bb5feac95afaf"
