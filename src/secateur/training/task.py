"""A task: what a network is trained on, how its decisions are checked, and what it is tested with once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from secateur.datasets.augment import ShiftedImages
from secateur.datasets.images import ImageDataset, pixel_statistics, split_validation, standardise
from secateur.errors import ConfigurationError, DataError

_CHUNK = 10_000


@final
@dataclass(frozen=True, eq=False)
class Task:
    """Classification of images that fit in memory.

    Args:
        images: Training images, possibly shifted; `train` says which of them train.
        labels: int64 [n], the class of each.
        train: int64 indices of the images that train.
        validation_images: float32 [v, c, h, w], for every decision; never trained on.
        validation_labels: int64 [v].
        test_images: float32 [t, c, h, w], looked at once, at the end.
        test_labels: int64 [t].
        classes: Number of classes.
        source: Where the data come from, for the record.

    Raises:
        DataError: A label is outside 0..classes-1, or counts of images and labels differ.
    """

    images: ShiftedImages = field(repr=False)
    labels: Tensor = field(repr=False)
    train: Tensor = field(repr=False)
    validation_images: Tensor = field(repr=False)
    validation_labels: Tensor = field(repr=False)
    test_images: Tensor = field(repr=False)
    test_labels: Tensor = field(repr=False)
    classes: int
    source: str

    def __post_init__(self) -> None:
        if not isinstance(self.images, ShiftedImages):
            raise DataError(
                f"training part of {self.source!r}: expected ShiftedImages, found "
                f"{type(self.images).__name__}; wrap the tensor, or make the task with image_task"
            )
        pairs = {
            "validation": (self.validation_images, self.validation_labels),
            "test": (self.test_images, self.test_labels),
        }
        for part, (images, labels) in pairs.items():
            if len(images) != len(labels) or len(images) == 0:
                raise DataError(
                    f"{part} part of {self.source!r}: {len(images)} images but {len(labels)} labels"
                )
        if len(self.train) == 0 or not 0 <= int(self.train.min()) <= int(self.train.max()) < len(self.labels):
            raise DataError(
                f"training part of {self.source!r}: expected indices into the {len(self.labels)} "
                f"training labels, found {len(self.train)} indices; give each image one label"
            )
        self._check_training_images()
        for part, labels in (
            ("training", self.labels),
            ("validation", pairs["validation"][1]),
            ("test", self.test_labels),
        ):
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.classes:
                raise DataError(
                    f"{part} labels of {self.source!r}: expected 0..{self.classes - 1}, found {low}..{high}; "
                    "give the right number of classes"
                )

    def _check_training_images(self) -> None:
        labels = len(self.labels)
        if not self._has_image(labels - 1) or self._has_image(labels):
            raise DataError(
                f"training part of {self.source!r}: there are {labels} labels and "
                f"{'more' if self._has_image(labels) else 'fewer'} images; give each image one label"
            )

    def _has_image(self, index: int) -> bool:
        try:
            self.images.take(torch.tensor([index]), torch.tensor([self.images.identity_variant]))
        except ConfigurationError:
            return False
        return True

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image: channels, height, width."""
        return tuple(self.test_images.shape[1:])

    @property
    def fingerprint(self) -> str:
        """A hash of what trains, validates and tests, to tell tasks apart."""
        digest = hashlib.sha256(f"{self.classes}/{self.images.radius}/{self.image_shape}".encode())
        for indices in torch.split(self.train, _CHUNK):
            unshifted = torch.full_like(indices, self.images.identity_variant)
            digest.update(self.images.take(indices, unshifted).numpy().data)
        for tensor in (
            self.labels,
            self.train,
            self.validation_images,
            self.validation_labels,
            self.test_images,
            self.test_labels,
        ):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:16]


def image_task(dataset: ImageDataset, *, validation: int, shift: int = 0) -> Task:
    """A task from a data set: pixels standardised by the training images, validation images held out.

    Args:
        dataset: The images.
        validation: How many training images are held out for decisions, the same share of every class. The
            choice does not depend on the run's seed, so that runs of several seeds decide on the same images.
        shift: Training images are moved by up to this many pixels in each direction, at random.

    Returns:
        The task.

    Raises:
        ConfigurationError: Too many images are held out.
    """
    split = split_validation(dataset.train_labels, validation)
    mean, deviation = pixel_statistics(dataset.train_images[split.train_indices])
    images = standardise(dataset.train_images, mean, deviation)
    return Task(
        images=ShiftedImages(images, shift, fill=-mean / deviation),
        labels=dataset.train_labels,
        train=split.train_indices,
        validation_images=images[split.validation_indices],
        validation_labels=dataset.train_labels[split.validation_indices],
        test_images=standardise(dataset.test_images, mean, deviation),
        test_labels=dataset.test_labels,
        classes=dataset.classes,
        source=dataset.source,
    )
