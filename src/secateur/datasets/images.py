"""Labelled images in memory: what a data set is, how it is split, and how pixels become numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from secateur.errors import ConfigurationError, DataError

WHITE = 255.0


@final
@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Training and test images with their labels, checked once when they are put together.

    Args:
        train_images: uint8 tensor [n, channels, height, width], pixels in 0..255.
        train_labels: int64 tensor [n], each in 0..classes-1.
        test_images: uint8 tensor [m, channels, height, width] of the same image shape.
        test_labels: int64 tensor [m], each in 0..classes-1.
        classes: number of classes, at least 2.
        source: where the images come from, in words for a report.

    Raises:
        DataError: a tensor has the wrong type or shape, is empty, or does not fit the others.

    Example:
        >>> images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
        >>> data = ImageDataset(images, torch.tensor([0, 1, 1]), images[:1], torch.tensor([0]), 2, "made up")
        >>> data.image_shape
        (1, 2, 2)
    """

    train_images: Tensor = field(repr=False)
    train_labels: Tensor = field(repr=False)
    test_images: Tensor = field(repr=False)
    test_labels: Tensor = field(repr=False)
    classes: int
    source: str

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DataError(
                f"data set {self.source!r}: expected at least 2 classes, found classes={self.classes}; "
                "give the number of different labels"
            )
        _check_part(self.train_images, self.train_labels, self.classes, f"data set {self.source!r}, training")
        _check_part(self.test_images, self.test_labels, self.classes, f"data set {self.source!r}, test")
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"data set {self.source!r}: expected training and test images of one shape, found "
                f"{tuple(self.train_images.shape[1:])} in training and {tuple(self.test_images.shape[1:])} "
                "in test; take both parts from the same data set"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image: (channels, height, width)."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def fingerprint(self) -> str:
        """The sha256, in hex, over the shapes and the bytes of the four tensors.

        Two data sets have one fingerprint exactly when they hold the same images and labels in the same
        order; the source's name is no part of it.
        """
        digest = hashlib.sha256()
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(tuple(tensor.shape)).encode())
            # little-endian on purpose: the fingerprint must not depend on the machine's byte order
            array = tensor.cpu().contiguous().numpy()
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        return digest.hexdigest()


def _check_part(images: Tensor, labels: Tensor, classes: int, where: str) -> None:
    """Raise DataError unless images and labels are well typed, non-empty and belong together."""
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise DataError(
            f"{where} images: expected a uint8 tensor [n, channels, height, width], found {images.dtype} "
            f"of shape {tuple(images.shape)}; keep pixels as bytes and add the channel dimension"
        )
    if labels.dtype != torch.int64 or labels.dim() != 1:
        raise DataError(
            f"{where} labels: expected an int64 tensor [n], found {labels.dtype} of shape "
            f"{tuple(labels.shape)}; convert with labels.long() and give one class number an image"
        )
    if images.numel() == 0:
        raise DataError(
            f"{where} images: expected at least one image of at least one pixel, found shape "
            f"{tuple(images.shape)}; check the files it was read from"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{where}: expected one label an image, found {len(images)} images and {len(labels)} labels; "
            "images and labels must come from the same set"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise DataError(
            f"{where} labels: expected class numbers in 0..{classes - 1}, found {lowest}..{highest}; "
            "number the classes from 0 or raise `classes`"
        )


@final
@dataclass(frozen=True, eq=False)
class Split:
    """Which training images train and which are held back for validation.

    Args:
        train_indices: int64 tensor, ascending, into the training images.
        validation_indices: int64 tensor, ascending, disjoint from train_indices.
    """

    train_indices: Tensor
    validation_indices: Tensor


def split_validation(labels: Tensor, count: int, seed: int = 0) -> Split:
    """Hold back exactly `count` images for validation, each class in proportion to its size.

    Class c gets count * n_c / n images, rounded by largest remainders; ties go to the lower class.

    Args:
        labels: int64 tensor [n] of class numbers.
        count: images to hold back, at least 1.
        seed: picks the images; the same seed gives the same split on every machine.

    Returns:
        The two index tensors; together they hold each of 0..n-1 once.

    Raises:
        ConfigurationError: the labels are not int64 [n], count is below 1, or a class would keep no
            training image.

    Example:
        >>> split = split_validation(torch.tensor([0, 0, 0, 1, 1, 1]), 2)
        >>> len(split.train_indices), len(split.validation_indices)
        (4, 2)
    """
    if labels.dtype != torch.int64 or labels.dim() != 1 or len(labels) == 0:
        raise ConfigurationError(
            f"validation split: expected non-empty int64 labels [n], found {labels.dtype} of shape "
            f"{tuple(labels.shape)}; convert with labels.long()"
        )
    if count < 1:
        raise ConfigurationError(
            f"validation split: expected a count of at least 1, found {count}; "
            "without validation images no choice can be made off the test set"
        )
    labels = labels.cpu()
    classes, sizes = torch.unique(labels, return_counts=True)
    quotas = _largest_remainders(sizes.tolist(), count)
    generator = torch.Generator().manual_seed(seed)
    held_back = torch.zeros(len(labels), dtype=torch.bool)
    for label, size, quota in zip(classes.tolist(), sizes.tolist(), quotas, strict=True):
        if quota >= size:
            raise ConfigurationError(
                f"validation split: {count} of {len(labels)} images for validation would leave class {label} "
                f"without training images (it has {size}); choose a smaller count"
            )
        members = torch.nonzero(labels == label).flatten()
        held_back[members[torch.randperm(size, generator=generator)[:quota]]] = True
    return Split(torch.nonzero(~held_back).flatten(), torch.nonzero(held_back).flatten())


def _largest_remainders(sizes: list[int], count: int) -> list[int]:
    """Share `count` out in proportion to `sizes`, in whole numbers that sum to count exactly."""
    total = sum(sizes)
    quotas = [size * count // total for size in sizes]
    remainders = [size * count % total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda place: (-remainders[place], place))
    for place in by_remainder[: count - sum(quotas)]:
        quotas[place] += 1
    return quotas


def standardise(images: Tensor, mean: float, std: float) -> Tensor:
    """Turn pixels into standardised numbers: (x / 255 - mean) / std.

    Args:
        images: uint8 tensor of any shape, pixels in 0..255.
        mean: of the training pixels on the scale 0..1, see `pixel_statistics`.
        std: of the training pixels on the scale 0..1, above 0.

    Returns:
        A float32 tensor of the same shape.

    Raises:
        DataError: the images are not uint8 (scaled already?).
        ConfigurationError: std is not above 0.

    Example:
        >>> standardise(torch.tensor([0, 255], dtype=torch.uint8), mean=0.5, std=0.5)
        tensor([-1.,  1.])
    """
    _check_bytes(images, "standardise")
    if not std > 0.0:
        raise ConfigurationError(
            f"standardise: expected a standard deviation above 0, found {std}; images of one single colour "
            "cannot be standardised"
        )
    return images.to(torch.float32).div_(WHITE).sub_(mean).div_(std)


def pixel_statistics(images: Tensor) -> tuple[float, float]:
    """Mean and population standard deviation of all pixels on the scale 0..1.

    Exact in integers, so the numbers do not depend on threads or the order of summation.
    Give it training images only: statistics of the test images would leak into training.

    Args:
        images: uint8 tensor of any shape, pixels in 0..255, not empty.

    Returns:
        (mean, std), both in 0..1.

    Raises:
        DataError: the images are not uint8 or there are none.

    Example:
        >>> pixel_statistics(torch.tensor([0, 255], dtype=torch.uint8))
        (0.5, 0.5)
    """
    _check_bytes(images, "pixel statistics")
    if images.numel() == 0:
        raise DataError("pixel statistics: expected at least one pixel, found none; give training images")
    # a histogram instead of float sums: exact, and 256 numbers instead of a float copy of every image
    counts = torch.bincount(images.flatten(), minlength=256).tolist()
    pixels = images.numel()
    total = sum(value * count for value, count in enumerate(counts))
    squares = sum(value * value * count for value, count in enumerate(counts))
    variance = (pixels * squares - total * total) / (pixels * pixels)
    return total / pixels / WHITE, variance**0.5 / WHITE


def _check_bytes(images: Tensor, where: str) -> None:
    """Raise DataError unless the images are bytes."""
    if images.dtype != torch.uint8:
        raise DataError(
            f"{where}: expected uint8 pixels in 0..255, found {images.dtype}; "
            "give the images as they were read, not scaled ones"
        )
