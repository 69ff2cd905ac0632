"""Small pictures that are decoded once and then live in memory: faster than a stream, epoch after epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.datasets.augment import PictureViews
from secateur.datasets.folders import FolderParts, PictureFiles
from secateur.datasets.images import split_validation
from secateur.datasets.pictures import Normalisation, PaddedCrop, View, colour_statistics
from secateur.errors import ConfigurationError
from secateur.training.streaming import about_pictures, decoded_sample, default_workers
from secateur.training.task import ImagesInMemory


def decoded_task(
    parts: FolderParts,
    view: View,
    *,
    source: str,
    validation: int,
    normalisation: Normalisation | None = None,
    workers: int | None = None,
) -> ImagesInMemory:
    """The task that `streamed_task` makes of the same files, all pictures in memory.

    Its crops and flips are drawn in another way, so the two train to other bits.

    Args:
        parts: The files.
        view: How they are looked at; training crops are padded ones.
        source: Where they come from, for the record.
        validation: How many training pictures are held out if no folder of their own holds them.
        normalisation: Turns pixels into numbers; by default what all training pictures say.
        workers: Processes that decode.

    Returns:
        The task.

    Raises:
        ConfigurationError: The view draws crops of any size, or too many pictures are held out.
        DataError: A picture is damaged.
    """
    if not isinstance(view.crop, PaddedCrop):
        raise ConfigurationError(
            "pictures in memory have one size: expected padded crops, found crops of any scale; give `pad` "
            "(0 for none), or stream the pictures"
        )
    workers = default_workers() if workers is None else workers
    train, test = (_all(part, view, workers) for part in (parts.train, parts.test))
    if parts.validation is None:
        split = split_validation(parts.train.labels, validation)
        training, held_out = split.train_indices, train[split.validation_indices]
        labels = parts.train.labels[split.validation_indices]
    else:
        training, held_out = torch.arange(len(train)), _all(parts.validation, view, workers)
        labels = parts.validation.labels
    normalisation = normalisation or colour_statistics(train[training])
    return ImagesInMemory(
        images=PictureViews(train, view.crop.pad, normalisation, flip=view.flip),
        labels=parts.train.labels,
        train=training,
        validation_images=normalisation(held_out),
        validation_labels=labels,
        test_images=normalisation(test),
        test_labels=parts.test.labels,
        classes=len(parts.train.classes),
        source=source,
        about=about_pictures(parts, normalisation),
    )


def _all(files: PictureFiles, view: View, workers: int) -> Tensor:
    return decoded_sample(files, view, len(files), workers)[0]
