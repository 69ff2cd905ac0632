import statistics
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.datasets.augment import PictureViews, ShiftedImages
from secateur.datasets.pictures import Normalisation
from secateur.errors import ConfigurationError, DataError


def shifted_by_hand(image: Tensor, dy: int, dx: int, fill: float) -> Tensor:
    """Pixel by pixel: what the position (y - dy, x - dx) held, or the fill."""
    _, height, width = image.shape
    result = torch.full_like(image, fill)
    for y in range(height):
        for x in range(width):
            if 0 <= y - dy < height and 0 <= x - dx < width:
                result[:, y, x] = image[:, y - dy, x - dx]
    return result


@given(
    count=st.integers(1, 4),
    channels=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    radius=st.integers(0, 3),
    fill=st.sampled_from([0.0, -0.4242]),
)
def test_every_variant_of_every_image_is_the_shift_by_hand(
    count: int, channels: int, height: int, width: int, radius: int, fill: float
) -> None:
    images = torch.arange(1.0, count * channels * height * width + 1).reshape(count, channels, height, width)
    shifted = ShiftedImages(images, radius, fill)
    side = 2 * radius + 1
    assert shifted.variants == side**2
    indices = torch.arange(count).repeat_interleave(shifted.variants)
    variants = torch.arange(shifted.variants).repeat(count)
    taken = shifted.take(indices, variants)
    for place, (index, variant) in enumerate(zip(indices.tolist(), variants.tolist(), strict=True)):
        dy, dx = variant // side - radius, variant % side - radius
        assert torch.equal(taken[place], shifted_by_hand(images[index], dy, dx, fill))


def test_a_shift_agrees_with_roll_away_from_the_border() -> None:
    image = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    variant = (2 + 2) * 5 + (-1 + 2)  # two down, one to the left
    taken = ShiftedImages(image, 2, fill=0.0).take(torch.tensor([0]), torch.tensor([variant]))
    rolled = torch.roll(image, (2, -1), dims=(2, 3))
    assert torch.equal(taken[..., 2:, :-1], rolled[..., 2:, :-1])
    assert not taken[..., :2, :].any()
    assert not taken[..., -1:].any()


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_identity_variant_gives_the_images_themselves(radius: int) -> None:
    images = torch.rand(5, 1, 4, 4)
    shifted = ShiftedImages(images, radius, fill=9.0)
    order = torch.tensor([4, 0, 0, 2])
    taken = shifted.take(order, torch.full((4,), shifted.identity_variant))
    assert torch.equal(taken, images[order])
    taken.zero_()
    assert torch.equal(shifted.take(order, torch.full((4,), shifted.identity_variant)), images[order])


def test_radius_zero_copies_nothing() -> None:
    images = torch.zeros(3, 1, 2, 2)
    shifted = ShiftedImages(images, 0, fill=0.0)
    images[1] = 5.0  # seen only where the original tensor is used as it is
    assert torch.equal(shifted.take(torch.tensor([1]), torch.tensor([0])), torch.full((1, 1, 2, 2), 5.0))


def test_an_empty_batch_is_empty() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert ShiftedImages(torch.zeros(3, 1, 2, 2), 1, 0.0).take(none, none).shape == (0, 1, 2, 2)


@pytest.mark.parametrize(
    ("indices", "variants", "message"),
    [
        ([3], [0], r"indices in 0\.\.2, found 3\.\.3"),
        ([-1], [0], r"indices in 0\.\.2, found -1\.\.-1"),
        ([0, 1], [9, 0], r"variants in 0\.\.8, found 0\.\.9"),
        ([0], [-1], r"variants in 0\.\.8, found -1\.\.-1"),
        ([0, 1], [0], r"found \(2,\) indices and \(1,\) variants"),
        ([0.0], [0.0], "indices as an int64 .* found torch.float32"),
        ([[0]], [[0]], r"of shape \(1, 1\)"),
    ],
)
def test_take_refuses_numbers_that_would_read_a_neighbour(
    indices: list[float], variants: list[float], message: str
) -> None:
    shifted = ShiftedImages(torch.zeros(3, 1, 2, 2), 1, 0.0)
    with pytest.raises(ConfigurationError, match=message):
        shifted.take(torch.tensor(indices), torch.tensor(variants))


def test_construction_refuses_bytes_empty_sets_and_negative_radius() -> None:
    with pytest.raises(DataError, match=r"float32 .* found torch.float64 .* standardise the images first"):
        ShiftedImages(torch.zeros(3, 1, 2, 2, dtype=torch.float64), 1, 0.0)
    with pytest.raises(DataError, match=r"non-empty .* shape \(0, 1, 2, 2\)"):
        ShiftedImages(torch.zeros(0, 1, 2, 2), 1, 0.0)
    with pytest.raises(ConfigurationError, match="found -1; 0 means no shifts"):
        ShiftedImages(torch.zeros(3, 1, 2, 2), -1, 0.0)


def test_a_batch_of_128_takes_well_under_a_millisecond() -> None:
    generator = torch.Generator().manual_seed(0)
    shifted = ShiftedImages(torch.rand(5000, 1, 28, 28, generator=generator), 2, 0.0)
    indices = torch.randint(0, 5000, (128,), generator=generator)
    variants = torch.randint(0, shifted.variants, (128,), generator=generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for _ in range(50):
        begin = time.perf_counter()
        shifted.take(indices, variants)
        seconds.append(time.perf_counter() - begin)
    torch.set_num_threads(threads)
    # about 0.07 ms on one idle core; the median forgives a busy machine
    assert statistics.median(seconds) < 1e-3


def test_picture_views_are_shifted_mirrored_and_standardised() -> None:
    pixels = torch.randint(
        0, 256, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    normalisation = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    views = PictureViews(pixels, 1, normalisation, flip=True)
    assert (views.variants, views.identity_variant) == (18, 4)
    every = torch.arange(5)
    shifted = ShiftedImages(pixels, 1, fill=0)
    for variant in range(18):
        found = views.take(every, torch.full_like(every, variant))
        expected = normalisation(shifted.take(every, torch.full_like(every, variant % 9)))
        assert torch.equal(found, expected.flip(-1) if variant >= 9 else expected)
    mixed = views.take(every, torch.tensor([0, 9, 4, 13, 17]))
    assert torch.equal(mixed[2], normalisation(pixels[2]))
    assert torch.equal(mixed[3], normalisation(pixels[3]).flip(-1))
    assert PictureViews(pixels, 1, normalisation, flip=False).variants == 9


def test_picture_views_tell_what_they_do_and_refuse_what_they_cannot() -> None:
    pixels, normalisation = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), Normalisation((0.5,) * 3, (0.5,) * 3)
    views = [
        PictureViews(pixels, radius, normalisation, flip=flip) for radius in (0, 1) for flip in (True, False)
    ]
    views.append(PictureViews(pixels, 0, Normalisation((0.4,) * 3, (0.5,) * 3), flip=True))
    assert len({view.description for view in views}) == 5
    with pytest.raises(ConfigurationError, match=r"variants in 0\.\.1, found 0\.\.2"):
        views[0].take(torch.tensor([0, 1]), torch.tensor([0, 2]))
    with pytest.raises(DataError, match=r"expected uint8 pixels, found torch\.float32"):
        PictureViews(pixels.float(), 0, normalisation, flip=True)
