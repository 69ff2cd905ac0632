from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from secateur.datasets.pictures import (
    Normalisation,
    PaddedCrop,
    ResizedCrop,
    View,
    colour_statistics,
    decode,
    drawn_box,
    draws,
    evaluation_view,
    is_whole,
    read_picture,
    training_view,
)
from secateur.errors import ConfigurationError, DataError, MissingExtraError
from tests.datasets.picture_files import picture, truncate

PLAIN = View(16, 16, PaddedCrop(0), flip=False)


def planes(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


@given(
    width=st.integers(1, 600),
    height=st.integers(1, 600),
    low=st.floats(0.01, 1.0),
    ratio=st.floats(0.2, 5.0),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_drawn_box_lies_in_the_picture(
    width: int, height: int, low: float, ratio: float, seed: int
) -> None:
    crop = ResizedCrop((low, 1.0), (min(ratio, 1.0), max(ratio, 1.0)))
    left, top, right, bottom = drawn_box(width, height, crop, draws(seed, 0))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_drawn_boxes_have_the_areas_and_ratios_asked_for() -> None:
    crop = ResizedCrop((0.25, 0.5), (0.5, 2.0))
    boxes = np.array([drawn_box(1000, 800, crop, draws(3, index)) for index in range(2000)])
    wide, tall = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, ratio = wide * tall / 800_000, np.log(wide / tall)
    assert area.min() > 0.248
    assert area.max() < 0.502
    assert area.mean() == pytest.approx(0.375, abs=0.01)
    assert np.abs(ratio).max() < math.log(2.0) + 0.01
    # Wide crops of half the area do not fit as often as tall ones, so the mean is not quite 0.
    assert abs(ratio.mean()) < 0.05
    assert len({tuple(box) for box in boxes}) > 1990


@pytest.mark.parametrize(("width", "height", "box"), [(300, 10, (143, 0, 156, 10)), (8, 90, (0, 39, 8, 50))])
def test_what_no_crop_fits_into_is_taken_from_the_middle(
    width: int, height: int, box: tuple[int, ...]
) -> None:
    assert drawn_box(width, height, ResizedCrop((0.9, 1.0)), draws(0, 0)) == box


def test_draws_are_a_function_of_epoch_and_picture() -> None:
    numbers = {
        (key, index): draws(key, index).random(64).tobytes() for key in range(4) for index in range(50)
    }
    assert len(set(numbers.values())) == 200
    assert draws(2**63 - 1, 10**7).random(64).tobytes() == draws(2**63 - 1, 10**7).random(64).tobytes()
    together = np.concatenate([draws(1, index).random(64) for index in range(50)])
    assert len(np.unique(together)) == together.size  # no picture's draws run into the next one's


def test_the_centre_crop_is_of_the_resized_picture() -> None:
    wide = picture(0, 1, 60, 40)
    found = evaluation_view(wide, View(16, 20, ResizedCrop()))
    resized = planes(wide.resize((30, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(found, resized[:, 2:18, 7:23])
    tall = evaluation_view(wide.transpose(Image.Transpose.ROTATE_90), View(16, 20, ResizedCrop()))
    assert tall.shape == (3, 16, 16)
    assert np.array_equal(evaluation_view(picture(0, 1, 16, 16), PLAIN), planes(picture(0, 1, 16, 16)))


def test_padded_crops_are_the_picture_moved_into_black() -> None:
    image = picture(1, 2, 16, 16)
    whole = np.pad(planes(image), ((0, 0), (4, 4), (4, 4)))
    windows = {
        whole[:, down : down + 16, right : right + 16].tobytes(): (down, right)
        for down in range(9)
        for right in range(9)
    }
    view = View(16, 16, PaddedCrop(4), flip=False)
    seen = {windows[training_view(image, view, draws(5, index)).tobytes()] for index in range(1000)}
    assert len(seen) == 81


@pytest.mark.parametrize("crop", [PaddedCrop(0), ResizedCrop((1.0, 1.0), (1.0, 1.0))])
def test_every_other_picture_is_mirrored(crop: PaddedCrop | ResizedCrop) -> None:
    image = picture(1, 2, 16, 16)
    plain, mirrored = planes(image), planes(image)[:, :, ::-1]
    seen = [training_view(image, View(16, 16, crop), draws(5, index)) for index in range(400)]
    flipped = sum(np.array_equal(one, mirrored) for one in seen)
    assert flipped + sum(np.array_equal(one, plain) for one in seen) == 400
    assert 150 < flipped < 250


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 40), more=st.integers(0, 9))
def test_every_view_of_every_picture_has_its_size(width: int, height: int, size: int, more: int) -> None:
    image = Image.new("RGB", (width, height), (10, 20, 30))
    for crop in (PaddedCrop(2), ResizedCrop()):
        view = View(size, size + more, crop)
        assert evaluation_view(image, view).shape == (3, size, size)
        assert training_view(image, view, draws(0, 0)).shape == (3, size, size)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA", "LA", "1", "I;16"])
def test_pictures_of_every_kind_become_three_colours(tmp_path: Path, mode: str) -> None:
    image = picture(0, 0).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    suffix = ".jpg" if mode == "CMYK" else ".png"
    options = {"transparency": b"\x00\x80"} if mode == "P" else {}
    image.save(tmp_path / f"a{suffix}", **options)
    found = read_picture(tmp_path / f"a{suffix}")
    assert (found.mode, found.size) == ("RGB", (20, 16))


def test_sixteen_bits_of_grey_keep_their_brightness(tmp_path: Path) -> None:
    grey = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(
        np.asarray(read_picture(tmp_path / "a.png"))[:, :, 0], np.arange(256).reshape(16, 16)
    )


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_damage_is_seen_and_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    picture(0, 0, 64, 64).save(path)
    assert is_whole(path) == path.stat().st_size
    truncate(path)
    assert is_whole(path) is None
    message = (
        rf"a{suffix}: expected a whole picture, found \w+: .*; put the undamaged file back, or remove it"
    )
    with pytest.raises(DataError, match=message):
        read_picture(path)
    assert is_whole(tmp_path / "absent.jpg") is None


def test_a_png_that_is_damaged_within_is_seen_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(0, 0, 64, 64).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert is_whole(path) is None


def test_a_jpeg_whose_header_is_damaged_is_seen_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(0, 0, 64, 64).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:3] + bytes(len(content) - 5) + content[-2:])
    assert is_whole(path) is None


def test_a_picture_of_absurd_size_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    picture(0, 0, 64, 64).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert is_whole(path) is None
    with pytest.raises(DataError, match=r"a\.png: expected a whole picture, found DecompressionBombError"):
        read_picture(path)


def test_a_picture_with_a_few_bytes_after_its_end_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(0, 0, 64, 64).save(path)
    for more in (5, 500):  # beyond the bytes that are looked at it is decoded
        path.write_bytes(path.read_bytes() + b"\0" * more)
        assert is_whole(path) == path.stat().st_size


def test_pictures_of_one_batch(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        picture(number, 0, 16, 16).save(path)
    found = decode(paths, PLAIN, None)
    assert found.dtype == torch.uint8
    assert np.array_equal(found[2].numpy(), planes(picture(2, 0, 16, 16)))
    view = View(16, 16, PaddedCrop(4))
    drawn = decode(paths[::-1], view, [draws(1, index) for index in (2, 1, 0)])
    assert torch.equal(drawn.flip(0), decode(paths, view, [draws(1, index) for index in range(3)]))
    assert decode([], PLAIN, None).shape == (0, 3, 16, 16)


def test_colours_are_standardised_by_their_own_statistics() -> None:
    pixels = torch.randint(
        0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    pixels[:, 1] //= 2
    normalisation = colour_statistics(pixels)
    found = normalisation(pixels).double()
    assert torch.allclose(found.mean(dim=(0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(
        found.std(dim=(0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5
    )
    with pytest.raises(DataError, match="expected at least one picture"):
        colour_statistics(pixels[:0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ResizedCrop((0.0, 1.0)), r"expected a scale within 0\.\.1"),
        (lambda: ResizedCrop((0.5, 0.2)), "each from low to high"),
        (lambda: ResizedCrop(ratio=(-1.0, 2.0)), "a ratio above 0"),
        (lambda: PaddedCrop(-1), "a pad of at least 0 pixels, found -1"),
        (lambda: View(0, 8, PaddedCrop()), "expected 1 <= size <= resize, found 0 and 8"),
        (lambda: View(9, 8, PaddedCrop()), "expected 1 <= size <= resize, found 9 and 8"),
        (lambda: Normalisation((0.5,), (0.5,)), "for each of 3 colours"),
        (lambda: colour_statistics(torch.zeros(2, 3, 4, 4, dtype=torch.uint8)), "one single colour"),
    ],
)
def test_what_cannot_be_is_refused(make: object, match: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigurationError, match=match):
        make()


def test_a_missing_pillow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"package pillow, .* pip install .secateur\[images\]"):
        read_picture(tmp_path / "a.jpg")
