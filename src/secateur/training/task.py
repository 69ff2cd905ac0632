"""A task: what a network is trained on, how its decisions are checked, and what it is tested with once."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

from secateur.datasets.augment import PictureViews, ShiftedImages
from secateur.datasets.images import ImageDataset, pixel_statistics, split_validation, standardise
from secateur.errors import ConfigurationError, DataError
from secateur.training.seeding import generator

_CHUNK = 10_000
_TOGETHER = 1000  # images that are evaluated together

Labelled = tuple[Tensor, Tensor]
"""Images [b, channels, height, width] and their labels, int64 [b]."""


@final
@dataclass(frozen=True)
class Part:
    """The share of one process among several: each takes its own piece of every batch.

    Args:
        rank: Which of them, in 0..count-1.
        count: How many there are.

    Example:
        >>> [Part(rank, 3).of(10) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """

    rank: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count:
            raise ConfigurationError(f"part: expected a rank in 0..{self.count - 1}, found {self.rank}")

    def of(self, length: int) -> slice:
        """This part of a sequence: a contiguous piece, at most one longer than any other.

        A sequence that is shorter than there are processes is seen whole by all of them: none is without an
        image, with which neither a mean nor batch normalisation could do anything.
        """
        if length < self.count:
            return slice(0, length)
        return slice(self.rank * length // self.count, (self.rank + 1) * length // self.count)

    def counted(self, length: int) -> float:
        """How many elements of a sequence this part stands for; over all parts the sum is its length."""
        here = self.of(length)
        return length / self.count if length < self.count else here.stop - here.start


WHOLE = Part()


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """What one process sees of one step.

    Attributes:
        images: float32 [b, channels, height, width].
        labels: int64 [b].
        indices: int64 [b], the number of each image in its data set; they stay on the CPU.
        variants: int64 [b], which view of the image it is; 0 where views are not numbered.
        whole: How many images the step has on all processes together.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    variants: Tensor
    whole: int

    def to(self, device: torch.device) -> Batch:
        """The same with images and labels on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


class Task(ABC):
    """Classification of images: training images in a drawn order, and two parts that nobody trains on.

    Attributes:
        classes: Number of classes.
        source: Where the data come from, for the record.
        about: What else a result says of the data, as JSON values: the names of the classes, say.
    """

    classes: int
    source: str
    about: Mapping[str, Any]

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image: channels, height, width."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of what trains, validates and tests, to tell tasks apart."""

    @property
    @abstractmethod
    def train_count(self) -> int:
        """How many images train."""

    @property
    @abstractmethod
    def validation_count(self) -> int:
        """How many images decisions are made on."""

    @property
    @abstractmethod
    def test_count(self) -> int:
        """How many images are looked at once, at the end."""

    @abstractmethod
    def batches(
        self, size: int, seed: int, *place: str | int, start: int = 0, part: Part = WHOLE
    ) -> Iterator[Batch]:
        """The batches of one epoch, in an order drawn for its place in the run.

        Every draw is a function of the seed, the place and the image, so that neither where an epoch is
        taken up again nor the number of processes changes a pixel.

        Args:
            size: Images of a step on all processes together; the last step holds the rest.
            seed: The run's seed.
            place: The stage, phase and epoch.
            start: Steps that were done already; their images are not even looked at.
            part: Which piece of every step this process sees.

        Yields:
            A batch for each step that is left.
        """

    @abstractmethod
    def validation(self, part: Part = WHOLE) -> Iterator[Labelled]:
        """Images for every decision, never trained on: always the same ones in the same order."""

    @abstractmethod
    def test(self, part: Part = WHOLE) -> Iterator[Labelled]:
        """Images that are looked at once, at the end, in a fixed order."""

    @abstractmethod
    def sample(self) -> Labelled:
        """Validation images in memory for what looks at them many times, such as a scan.

        All of them where the task is in memory, and else a fixed share of them.
        """

    @abstractmethod
    def example(self, count: int = 1) -> Tensor:
        """The first validation images, over again where there are not enough, [count, c, h, w]."""

    @abstractmethod
    def subset(self, count: int, draw: torch.Generator) -> Task:
        """The same task with at most so many of its training images, drawn at random."""


def in_chunks(images: Tensor, labels: Tensor, part: Part = WHOLE) -> Iterator[Labelled]:
    """Labelled images in memory, in pieces that are evaluated together.

    Args:
        images: [n, ...].
        labels: int64 [n].
        part: Which of them.

    Yields:
        At most 1,000 images and their labels.
    """
    here = part.of(len(images))
    yield from zip(torch.split(images[here], _TOGETHER), torch.split(labels[here], _TOGETHER), strict=True)


@final
@dataclass(frozen=True, eq=False)
class ImagesInMemory(Task):
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
        about: What else a result says of the data, as JSON values.

    Raises:
        DataError: A label is outside 0..classes-1, or counts of images and labels differ.
    """

    images: ShiftedImages | PictureViews = field(repr=False)
    labels: Tensor = field(repr=False)
    train: Tensor = field(repr=False)
    validation_images: Tensor = field(repr=False)
    validation_labels: Tensor = field(repr=False)
    test_images: Tensor = field(repr=False)
    test_labels: Tensor = field(repr=False)
    classes: int
    source: str
    about: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.images, ShiftedImages | PictureViews):
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
        digest = hashlib.sha256(f"{self.classes}/{self.images.description}/{self.image_shape}".encode())
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

    @property
    def train_count(self) -> int:
        """How many images train."""
        return len(self.train)

    @property
    def validation_count(self) -> int:
        """How many images decisions are made on."""
        return len(self.validation_labels)

    @property
    def test_count(self) -> int:
        """How many images are looked at once, at the end."""
        return len(self.test_labels)

    def batches(
        self, size: int, seed: int, *place: str | int, start: int = 0, part: Part = WHOLE
    ) -> Iterator[Batch]:
        """The batches of one epoch; order and shifts are drawn at once, for all of its images."""
        draw = generator(seed, *place, "order")
        order = self.train[torch.randperm(len(self.train), generator=draw)]
        shifts = torch.randint(self.images.variants, (len(order),), generator=draw)
        for first in range(start * size, len(order), size):
            whole = min(size, len(order) - first)
            here = part.of(whole)
            indices = order[first : first + whole][here]
            variants = shifts[first : first + whole][here]
            yield Batch(self.images.take(indices, variants), self.labels[indices], indices, variants, whole)

    def validation(self, part: Part = WHOLE) -> Iterator[Labelled]:
        """Images for every decision."""
        return in_chunks(self.validation_images, self.validation_labels, part)

    def test(self, part: Part = WHOLE) -> Iterator[Labelled]:
        """Images that are looked at once, at the end."""
        return in_chunks(self.test_images, self.test_labels, part)

    def sample(self) -> Labelled:
        """All validation images."""
        return self.validation_images, self.validation_labels

    def example(self, count: int = 1) -> Tensor:
        """The first validation images."""
        repeats = -(-count // len(self.validation_images))
        return torch.cat([self.validation_images] * repeats)[:count]

    def subset(self, count: int, draw: torch.Generator) -> ImagesInMemory:
        """The same task with at most so many of its training images."""
        order = torch.randperm(len(self.train), generator=draw)
        return replace(self, train=self.train[order[:count]])


def image_task(dataset: ImageDataset, *, validation: int, shift: int = 0) -> ImagesInMemory:
    """A task from a data set: pixels standardised by the training images, validation images held out.

    Args:
        dataset: The images.
        validation: How many training images are held out for decisions, the same share of every class. The
            choice does not depend on the run's seed, so that runs of several seeds decide on the same images.
        shift: Training images are moved by up to this many pixels in each direction, at random.

    Returns:
        The task.

    Raises:
        ConfigurationError: Too many images are held out, or images could be shifted out of sight.
    """
    height, width = dataset.train_images.shape[-2:]
    if shift >= min(height, width):
        raise ConfigurationError(
            f"shift: images of {height} x {width} pixels moved by up to {shift} may show nothing; give a "
            f"number of pixels below {min(height, width)}"
        )
    split = split_validation(dataset.train_labels, validation)
    mean, deviation = pixel_statistics(dataset.train_images[split.train_indices])
    images = standardise(dataset.train_images, mean, deviation)
    return ImagesInMemory(
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
