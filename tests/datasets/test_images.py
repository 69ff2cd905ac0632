import hashlib
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.datasets.images import ImageDataset, pixel_statistics, split_validation, standardise
from secateur.errors import ConfigurationError, DataError


def small_dataset() -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    return ImageDataset(
        train_images=torch.randint(0, 256, (6, 1, 3, 4), dtype=torch.uint8, generator=generator),
        train_labels=torch.tensor([0, 1, 2, 0, 1, 2]),
        test_images=torch.randint(0, 256, (3, 1, 3, 4), dtype=torch.uint8, generator=generator),
        test_labels=torch.tensor([2, 1, 0]),
        classes=3,
        source="made up",
    )


def test_dataset_is_frozen_and_prints_no_pixels() -> None:
    data = small_dataset()
    assert data.image_shape == (1, 3, 4)
    assert repr(data) == "ImageDataset(classes=3, source='made up')"
    with pytest.raises(FrozenInstanceError):
        data.classes = 4  # type: ignore[misc]  # the assignment is the test


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_images": torch.zeros(6, 1, 3, 4)},
            r"training images: .* found torch.float32",
        ),
        ({"test_images": torch.zeros(3, 3, 4, dtype=torch.uint8)}, r"test images: .* shape \(3, 3, 4\)"),
        ({"train_labels": torch.zeros(6, dtype=torch.int32)}, r"expected an int64 .* found torch.int32"),
        ({"test_labels": torch.zeros(3, 1, dtype=torch.int64)}, r"test labels: .* shape \(3, 1\)"),
        ({"train_labels": torch.tensor([0, 1])}, "found 6 images and 2 labels"),
        ({"test_labels": torch.tensor([0, 1, 3])}, r"expected class numbers in 0\.\.2, found 0\.\.3"),
        ({"train_labels": torch.tensor([0, 1, 2, 0, 1, -1])}, r"found -1\.\.2"),
        (
            {
                "test_images": torch.zeros(0, 1, 3, 4, dtype=torch.uint8),
                "test_labels": torch.zeros(0, dtype=torch.int64),
            },
            "test images: expected at least one image",
        ),
        (
            {"test_images": torch.zeros(3, 1, 4, 4, dtype=torch.uint8)},
            r"\(1, 3, 4\) in training and \(1, 4",
        ),
        ({"classes": 1}, "expected at least 2 classes, found classes=1"),
    ],
)
def test_dataset_refuses_what_does_not_fit(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(small_dataset(), **change)


def test_fingerprint_covers_contents_shapes_and_order_but_not_the_source() -> None:
    data = small_dataset()
    assert len(data.fingerprint) == 64
    assert replace(data, source="elsewhere", classes=5).fingerprint == data.fingerprint
    changed = data.train_images.clone()
    changed[0, 0, 0, 0] ^= 1
    others = [
        replace(data, train_images=changed),
        replace(data, test_labels=data.test_labels.flip(0)),
        replace(
            data,
            train_images=data.train_images.reshape(6, 1, 4, 3),
            test_images=data.test_images.reshape(3, 1, 4, 3),
        ),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_fingerprint_is_the_sha256_of_shapes_and_bytes_even_for_a_view() -> None:
    data = small_dataset()
    by_hand = hashlib.sha256()
    for tensor in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        by_hand.update(str(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())
    assert data.fingerprint == by_hand.hexdigest()
    view = data.train_images.transpose(2, 3).contiguous().transpose(2, 3)
    assert not view.is_contiguous()
    assert replace(data, train_images=view).fingerprint == data.fingerprint


@given(
    sizes=st.lists(st.integers(5, 40), min_size=1, max_size=6),
    share=st.floats(0.01, 0.6),
    seed=st.integers(0, 9),
)
def test_split_is_exact_stratified_and_deterministic(sizes: list[int], share: float, seed: int) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    count = max(1, int(share * len(labels)))
    split = split_validation(labels, count, seed=seed)
    assert len(split.validation_indices) == count
    together = torch.cat([split.train_indices, split.validation_indices])
    assert torch.equal(together.sort().values, torch.arange(len(labels)))
    for label, size in enumerate(sizes):
        held_back = int((labels[split.validation_indices] == label).sum())
        assert abs(held_back - count * size / len(labels)) < 1
    again = split_validation(labels, count, seed=seed)
    assert torch.equal(again.validation_indices, split.validation_indices)
    assert torch.equal(again.train_indices, split.train_indices)


def test_split_depends_on_the_seed() -> None:
    labels = torch.arange(10).repeat(20)
    first, second = split_validation(labels, 50, seed=0), split_validation(labels, 50, seed=1)
    assert not torch.equal(first.validation_indices, second.validation_indices)


def test_split_rounds_by_largest_remainders_with_ties_to_the_lower_class() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    held_back = labels[split_validation(labels, 4).validation_indices]
    assert torch.bincount(held_back).tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("labels", "count", "message"),
    [
        (torch.tensor([0, 0, 1, 1]), 4, "4 of 4 .* leave class 0 without training images"),
        (torch.tensor([0] * 9 + [1]), 6, r"leave class 1 without training images \(it has 1\)"),
        (torch.tensor([0, 0, 1, 1]), 100, "without training images"),
        (torch.tensor([0, 0, 1, 1]), 0, "count of at least 1, found 0"),
        (torch.tensor([0, 0, 1, 1]), -1, "count of at least 1, found -1"),
        (torch.tensor([0.0, 1.0]), 1, "int64 labels .* found torch.float32"),
        (torch.zeros(0, dtype=torch.int64), 1, r"non-empty .* shape \(0,\)"),
    ],
)
def test_split_refuses(labels: torch.Tensor, count: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        split_validation(labels, count)


def test_standardise_is_the_formula_and_leaves_its_input_alone() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    before = images.clone()
    result = standardise(images, mean=0.1307, std=0.3081)
    exact = (images.to(torch.float64) / 255 - 0.1307) / 0.3081
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.to(torch.float64), exact, rtol=1e-5, atol=1e-6)
    assert torch.equal(images, before)


def test_statistics_standardise_to_mean_zero_and_deviation_one() -> None:
    images = torch.randint(
        0, 256, (50, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    mean, std = pixel_statistics(images)
    scaled = images.to(torch.float64) / 255
    assert mean == pytest.approx(float(scaled.mean()), rel=1e-12)
    assert std == pytest.approx(float(scaled.std(correction=0)), rel=1e-12)
    result = standardise(images, mean, std)
    assert float(result.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(result.std(correction=0)) == pytest.approx(1.0, abs=1e-5)


def test_numbers_refuse_scaled_images_and_a_single_colour() -> None:
    with pytest.raises(DataError, match=r"standardise: expected uint8 .* found torch.float32"):
        standardise(torch.zeros(2), 0.5, 0.5)
    with pytest.raises(DataError, match="pixel statistics: expected uint8"):
        pixel_statistics(torch.zeros(2))
    with pytest.raises(DataError, match="at least one pixel"):
        pixel_statistics(torch.zeros(0, dtype=torch.uint8))
    single = torch.full((4,), 7, dtype=torch.uint8)
    mean, std = pixel_statistics(single)
    assert std == 0.0
    with pytest.raises(ConfigurationError, match=r"above 0, found 0\.0"):
        standardise(single, mean, std)
