"""Pictures that are decoded as they are needed, by several worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from secateur.datasets.folders import FolderParts, PictureFiles
from secateur.datasets.images import split_validation
from secateur.datasets.pictures import Normalisation, View, colour_statistics, decode, draws
from secateur.errors import DataError
from secateur.training.seeding import derive_seed, generator
from secateur.training.task import WHOLE, Batch, Labelled, Part, Task

_TOGETHER = 100  # pictures that are evaluated together
_SAMPLE_BYTES = 512 << 20  # of float32 pictures that a scan holds
_MEASURED = 2_000  # pictures whose colours are looked at
_MOST_WORKERS = 8


def default_workers() -> int:
    """Worker processes that decode: one less than this process's share of the processors, 1 to 8."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torchrun: training processes on this machine
    return min(max(len(os.sched_getaffinity(0)) // beside - 1, 1), _MOST_WORKERS)


@final
@dataclass(frozen=True, eq=False)
class _Pictures(Dataset[Tensor | DataError]):
    """What a worker process holds: where pictures lie and how they are looked at.

    Args:
        files: Where they lie.
        view: How they are looked at.
        key: What an epoch's draws come from; None looks at them as evaluation does.
    """

    files: PictureFiles
    view: View
    key: int | None

    def __getitems__(self, indices: Sequence[int]) -> Tensor | DataError:
        paths = [self.files.path(index) for index in indices]
        drawn = None if self.key is None else [draws(self.key, index) for index in indices]
        try:
            return decode(paths, self.view, drawn)
        except DataError as error:  # raised in a worker it would come with that process's stack in its text
            return error


@final
@dataclass(frozen=True, eq=False)
class StreamedImages(Task):
    """Classification of pictures in files, of which only a few batches are in memory at a time.

    Order, crops and flips are functions of the seed, the epoch and the picture's number: any number of
    workers or processes, and an epoch that is taken up again, see the same pixels.

    Args:
        training: Pictures; `train` says which of them train.
        train: int64 indices of the pictures that train.
        held_out: Pictures for every decision.
        tested: Pictures that are looked at once, at the end.
        view: How they are looked at.
        normalisation: Turns pixels into numbers.
        classes: Number of classes.
        source: Where they come from, for the record.
        about: What else a result says of them, as JSON values.
        workers: Processes that decode; 0 decodes between the steps.
    """

    training: PictureFiles = field(repr=False)
    train: Tensor = field(repr=False)
    held_out: PictureFiles = field(repr=False)
    tested: PictureFiles = field(repr=False)
    view: View
    normalisation: Normalisation
    classes: int
    source: str
    about: Mapping[str, Any] = field(repr=False)
    workers: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image: channels, height, width."""
        return 3, self.view.size, self.view.size

    @property
    def fingerprint(self) -> str:
        """A hash of the pictures' names, sizes and classes, and of how they are looked at.

        Not of their content: reading all of ImageNet takes as long as an epoch.
        """
        digest = hashlib.sha256(repr((self.view, self.normalisation)).encode())
        digest.update(self.train.numpy().data)
        for part in (self.training, self.held_out, self.tested):
            for content in part.content():
                digest.update(content)
        return digest.hexdigest()[:16]

    @property
    def train_count(self) -> int:
        """How many images train."""
        return len(self.train)

    @property
    def validation_count(self) -> int:
        """How many images decisions are made on."""
        return len(self.held_out)

    @property
    def test_count(self) -> int:
        """How many images are looked at once, at the end."""
        return len(self.tested)

    def batches(
        self, size: int, seed: int, *place: str | int, start: int = 0, part: Part = WHOLE
    ) -> Iterator[Batch]:
        """The batches of one epoch, decoded by the workers some steps ahead."""
        order = self.train[torch.randperm(len(self.train), generator=generator(seed, *place, "order"))]
        steps = torch.split(order, size)[start:]
        own = [indices[part.of(len(indices))] for indices in steps]
        seen = _Pictures(self.training, self.view, derive_seed(seed, *place, "views"))
        for whole, indices, pixels in zip(steps, own, _decoded(seen, own, self.workers), strict=True):
            labels, images = self.training.labels[indices], self.normalisation(pixels)
            yield Batch(images, labels, indices, torch.zeros_like(indices), len(whole))

    def validation(self, part: Part = WHOLE) -> Iterator[Labelled]:
        """Images for every decision."""
        return self._all(self.held_out, part)

    def test(self, part: Part = WHOLE) -> Iterator[Labelled]:
        """Images that are looked at once, at the end."""
        return self._all(self.tested, part)

    def sample(self) -> Labelled:
        """Validation images, as many as fit into half a gigabyte, spread evenly over the classes."""
        count = max(_SAMPLE_BYTES // (4 * 3 * self.view.size**2), 1)
        pixels, chosen = decoded_sample(self.held_out, self.view, count, self.workers)
        return self.normalisation(pixels), self.held_out.labels[chosen]

    def example(self, count: int = 1) -> Tensor:
        """The first validation images."""
        first = range(min(count, len(self.held_out)))
        pixels = decode([self.held_out.path(index) for index in first], self.view, None)
        images = self.normalisation(pixels)
        return torch.cat([images] * -(-count // len(images)))[:count]

    def subset(self, count: int, draw: torch.Generator) -> StreamedImages:
        """The same task with at most so many of its training images."""
        order = torch.randperm(len(self.train), generator=draw)
        return replace(self, train=self.train[order[:count]])

    def _all(self, files: PictureFiles, part: Part) -> Iterator[Labelled]:
        steps = torch.split(torch.arange(len(files))[part.of(len(files))], _TOGETHER)
        pixels = _decoded(_Pictures(files, self.view, None), steps, self.workers)
        for indices, some in zip(steps, pixels, strict=True):
            yield self.normalisation(some), files.labels[indices]


def streamed_task(
    parts: FolderParts,
    view: View,
    *,
    source: str,
    validation: int,
    normalisation: Normalisation | None = None,
    workers: int | None = None,
) -> StreamedImages:
    """A task from picture files, validation pictures held out if no folder of their own holds them.

    Args:
        parts: The files.
        view: How they are looked at.
        source: Where they come from, for the record.
        validation: How many training pictures are held out, the same share of every class and the same ones
            whatever the run's seed.
        normalisation: Turns pixels into numbers; by default what 2,000 training pictures say.
        workers: Processes that decode; see `default_workers`.

    Returns:
        The task.

    Raises:
        ConfigurationError: Too many pictures are held out.
        DataError: A picture is damaged.
    """
    workers = default_workers() if workers is None else workers
    training, held_out = parts.train, parts.validation
    if held_out is None:
        split = split_validation(training.labels, validation)
        training, held_out = training.take(split.train_indices), training.take(split.validation_indices)
    if normalisation is None:
        normalisation = colour_statistics(decoded_sample(training, view, _MEASURED, workers)[0])
    return StreamedImages(
        training=training,
        train=torch.arange(len(training)),
        held_out=held_out,
        tested=parts.test,
        view=view,
        normalisation=normalisation,
        classes=len(training.classes),
        source=source,
        about=about_pictures(parts, normalisation),
        workers=workers,
    )


def decoded_sample(files: PictureFiles, view: View, count: int, workers: int) -> tuple[Tensor, Tensor]:
    """Pictures as evaluation sees them, spread evenly over the classes.

    Args:
        files: The pictures.
        view: How they are looked at.
        count: How many at most.
        workers: Processes that decode.

    Returns:
        uint8 [n, 3, size, size], and which ones they are, int64 [n].
    """
    chosen = torch.div(
        torch.arange(min(count, len(files))) * len(files), min(count, len(files)), rounding_mode="floor"
    )
    steps = torch.split(chosen, _TOGETHER)
    return torch.cat(list(_decoded(_Pictures(files, view, None), steps, workers))), chosen


def about_pictures(parts: FolderParts, normalisation: Normalisation) -> dict[str, Any]:
    """Names of the classes, the colours' statistics, and what lies in the folders and is not used.

    Args:
        parts: The files.
        normalisation: Turns pixels into numbers.

    Returns:
        JSON values.
    """
    own = [part for part in (parts.train, parts.validation, parts.test) if part is not None]
    return {
        "classes": list(parts.train.classes),
        "mean": list(normalisation.mean),
        "deviation": list(normalisation.deviation),
        "ignored_files": sum(part.ignored for part in own),
        "unreadable_pictures": [f"{part.folder.name}/{name}" for part in own for name in part.unreadable],
    }


def _decoded(pictures: _Pictures, steps: Sequence[Tensor], workers: int) -> Iterator[Tensor]:
    """Bytes [b, 3, size, size] for each step; workers hand over bytes, a quarter of what numbers take."""
    loader = DataLoader(
        pictures,
        batch_sampler=[step.tolist() for step in steps],
        num_workers=min(workers, len(steps)),
        collate_fn=_as_it_is,
        # The loader seeds its workers from a draw. Out of the global generator, which dropout draws from, an
        # epoch that is taken up again in its middle would draw once more than one that was left alone.
        generator=torch.Generator(),
    )
    for pixels in loader:
        if isinstance(pixels, DataError):
            raise pixels
        yield pixels


def _as_it_is(pixels: Any) -> Any:
    return pixels  # the pictures of a step are put together as they are decoded
