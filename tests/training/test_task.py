from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ConfigurationError, DataError
from secateur.training.task import Batch, Part, image_task, in_chunks
from tests.small import CLASSES, blob_task, blobs

TASK = blob_task()


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


@pytest.mark.parametrize("shift", [0, 1])
def test_batches_cover_every_training_image_once(shift: int) -> None:
    task = blob_task(shift=shift)
    batches = list(task.batches(32, 0, "dense", 0, 1))
    assert [len(batch.labels) for batch in batches] == [batch.whole for batch in batches] == [32] * 6 + [8]
    seen, variants = (torch.cat([getattr(b, name) for b in batches]) for name in ("indices", "variants"))
    assert sorted(seen.tolist()) == task.train.tolist()
    assert variants.unique().tolist() == list(range(task.images.variants))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), task.labels[seen])
    assert torch.equal(torch.cat([batch.images for batch in batches]), task.images.take(seen, variants))


def test_an_epochs_order_is_its_own_and_always_the_same() -> None:
    first, again, later = (
        torch.cat([batch.indices for batch in TASK.batches(32, 0, "dense", 0, epoch)]) for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_draws_and_fingerprints_are_those_of_the_runs_that_were_published() -> None:
    task = blob_task(shift=1)
    first = next(task.batches(32, 0, "dense", 0, 0))
    assert first.indices[:6].tolist() == [68, 4, 125, 47, 11, 168]
    assert first.variants[:6].tolist() == [4, 3, 8, 0, 1, 2]
    assert (TASK.fingerprint, task.fingerprint) == ("cfde9b30560803ac", "28306ceac1b65bd5")


def equal(a: Batch, b: Batch) -> bool:
    names = ("images", "labels", "indices", "variants")
    return a.whole == b.whole and all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("start", [0, 3, 6, 7])
def test_an_epoch_taken_up_again_is_the_rest_of_the_whole(start: int) -> None:
    task = blob_task(shift=1)
    whole, rest = list(task.batches(32, 5, "dense")), list(task.batches(32, 5, "dense", start=start))
    assert len(rest) == 7 - start
    assert all(equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


@given(count=st.integers(1, 5), size=st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_the_parts_of_a_batch_are_the_batch(count: int, size: int) -> None:
    parts = [TASK.batches(size, 0, "dense", part=Part(rank, count)) for rank in range(count)]
    for whole, *pieces in zip(TASK.batches(size, 0, "dense"), *parts, strict=True):
        if whole.whole < count:
            assert all(equal(piece, whole) for piece in pieces)
            continue
        joined = [torch.cat([getattr(b, name) for b in pieces]) for name in ("images", "labels", "indices")]
        assert equal(Batch(*joined, torch.cat([b.variants for b in pieces]), pieces[0].whole), whole)


@given(length=st.integers(0, 100), count=st.integers(1, 9))
def test_parts_are_contiguous_and_even(length: int, count: int) -> None:
    parts = [Part(rank, count) for rank in range(count)]
    pieces = [list(range(length))[part.of(length)] for part in parts]
    assert sum(part.counted(length) for part in parts) == pytest.approx(length)
    if length < count:  # too few for everybody to have one: everybody has them all
        assert pieces == [list(range(length))] * count
        return
    assert [*chain(*pieces)] == list(range(length))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize(("rank", "count"), [(-1, 2), (2, 2), (0, 0)])
def test_a_part_that_is_none_is_refused(rank: int, count: int) -> None:
    with pytest.raises(ConfigurationError, match=f"part: expected a rank in 0..{count - 1}, found {rank}"):
        Part(rank, count)


def test_validation_and_test_come_in_their_order() -> None:
    for part in (TASK.validation, TASK.test):
        images, labels = (torch.cat(column) for column in zip(*part(), strict=True))
        halves = [next(part(Part(rank, 2))) for rank in (0, 1)]
        own = [torch.cat(column) for column in zip(*halves, strict=True)]
        assert torch.equal(images, own[0])
        assert torch.equal(labels, own[1])
    assert (TASK.validation_count, TASK.test_count, TASK.train_count) == (40, 200, 200)
    chunks = in_chunks(torch.zeros(2500, 1), torch.zeros(2500))
    assert [len(labels) for _, labels in chunks] == [1000, 1000, 500]
    assert torch.equal(TASK.sample()[0], TASK.validation_images)


def test_examples_are_validation_images_over_again() -> None:
    assert torch.equal(TASK.example(), TASK.validation_images[:1])
    assert torch.equal(TASK.example(43)[40:], TASK.validation_images[:3])


def test_a_subset_trains_on_fewer_images() -> None:
    some, again = (TASK.subset(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert some.train_count == len(set(some.train.tolist()) & set(TASK.train.tolist())) == 50
    assert torch.equal(some.train, again.train)
    assert TASK.subset(10**6, torch.Generator()).train_count == 200
