from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from secateur.errors import ConfigurationError, DataError
from secateur.training.task import image_task
from tests.small import CLASSES, blob_task, blobs


def test_validation_and_training_share_no_image_and_lose_none() -> None:
    data = blobs()
    task = image_task(data, validation=40)
    assert len(task.train) + len(task.validation_images) == len(data.train_images)
    assert torch.bincount(task.validation_labels).tolist() == [10] * CLASSES
    assert task.image_shape == (1, 12, 12)
    every = torch.arange(len(task.labels))
    plain = task.images.take(every, torch.zeros_like(every))
    held_out = torch.ones(len(every), dtype=torch.bool)
    held_out[task.train] = False
    assert torch.equal(plain[held_out], task.validation_images)
    assert abs(float(plain[task.train].mean())) < 1e-5
    assert abs(float(plain[task.train].std()) - 1) < 1e-3


@pytest.mark.parametrize("validation", [0, 240, 1000])
def test_holding_out_too_much_or_nothing_is_refused(validation: int) -> None:
    with pytest.raises(ConfigurationError, match="validation"):
        image_task(blobs(), validation=validation)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"classes": 3}, r"training labels of 'blobs': expected 0..2, found 0..3; give the right number"),
        ({"test_labels": torch.tensor([0])}, r"test part of 'blobs': 200 images but 1 labels"),
        (
            {"validation_images": torch.zeros(0, 1, 12, 12), "validation_labels": torch.zeros(0)},
            "validation part of 'blobs': 0 images but 0 labels",
        ),
        ({"train": torch.zeros(0, dtype=torch.int64)}, r"training part of 'blobs'.*found 0 indices"),
        ({"train": torch.tensor([0, 240])}, r"expected indices into the 240 training labels"),
        (
            {"labels": torch.zeros(250, dtype=torch.int64)},
            "training part of 'blobs': there are 250 labels and fewer images; give each image one label",
        ),
        (
            {"labels": torch.zeros(239, dtype=torch.int64), "train": torch.arange(100)},
            "there are 239 labels and more images",
        ),
        ({"images": torch.zeros(240, 1, 12, 12)}, "expected ShiftedImages, found Tensor; wrap the tensor"),
        ({"train": torch.tensor([-1, 2])}, r"expected indices into the 240 training labels"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        replace(blob_task(), **changes)


def test_the_fingerprint_tells_tasks_apart() -> None:
    task = blob_task()
    assert task.fingerprint == blob_task().fingerprint
    others = [
        blob_task(shift=1),
        blob_task(seed=1),
        replace(task, train=task.train[1:]),
        replace(task, test_labels=task.test_labels.flip(0)),
        replace(task, classes=5),
    ]
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 6
