"""Data sets: labelled images in memory, read from files, from a package or from the public mirrors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from secateur.datasets.augment import ShiftedImages
from secateur.datasets.download import download_mnist
from secateur.datasets.embedded import load_embedded_digits
from secateur.datasets.idx import IDX_NAMES, find_idx_files, load_idx_folder, read_idx
from secateur.datasets.images import ImageDataset, Split, pixel_statistics, split_validation, standardise
from secateur.errors import ConfigurationError

__all__ = [
    "DATASETS",
    "ImageDataset",
    "ShiftedImages",
    "Split",
    "download_mnist",
    "load_dataset",
    "load_embedded_digits",
    "load_idx_folder",
    "pixel_statistics",
    "read_idx",
    "split_validation",
    "standardise",
]

CACHE_VARIABLE = "SECATEUR_DATA"


def cache_folder() -> Path:
    """The folder that MNIST is downloaded to and read from when no folder is given.

    Returns:
        What the environment variable SECATEUR_DATA names, else `.cache/secateur/mnist` in the user's home.
    """
    named = os.environ.get(CACHE_VARIABLE, "")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "secateur" / "mnist"


def _mnist(folder: Path | None) -> ImageDataset:
    """MNIST from the given folder; without one, from the cache, downloaded first where it is incomplete."""
    if folder is not None:
        return load_idx_folder(folder)
    cache = cache_folder()
    if len(find_idx_files(cache)) < len(IDX_NAMES):
        download_mnist(cache)
    return load_idx_folder(cache)


def _digits(folder: Path | None) -> ImageDataset:
    """The embedded digits, which come from no folder."""
    if folder is not None:
        raise ConfigurationError(
            f"data set 'digits': expected no folder, as the digits come with a package, found {folder}; "
            "leave the folder out, or ask for 'mnist' to read idx files from it"
        )
    return load_embedded_digits()


DATASETS: Mapping[str, Callable[[Path | None], ImageDataset]] = {
    "mnist": _mnist,
    "digits": _digits,
}


def load_dataset(name: str, folder: Path | None = None) -> ImageDataset:
    """Load a data set by its name.

    Args:
        name: "mnist" (all 70,000 digits, from idx files) or "digits" (5,000 of them, from a package).
        folder: for "mnist", where the four idx files lie; a folder that is given is read and never
            downloaded into. Without it, the cache folder is used and filled from the public mirrors.

    Returns:
        The data set.

    Raises:
        ConfigurationError: no data set has this name, or it takes no folder.
        DataError: files are missing, damaged, or cannot be downloaded.
        StorageError: the cache folder cannot be written.
        MissingExtraError: the package that carries the digits is not installed.

    Example:
        >>> load_dataset("minst")
        Traceback (most recent call last):
            ...
        secateur.errors.ConfigurationError: data set 'minst': expected one of mnist, digits
    """
    if name not in DATASETS:
        raise ConfigurationError(f"data set {name!r}: expected one of {', '.join(DATASETS)}")
    return DATASETS[name](folder)
