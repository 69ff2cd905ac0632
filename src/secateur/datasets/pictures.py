"""Pictures: decoded from files, cropped for training and for evaluation, turned into numbers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, assert_never, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.errors import ConfigurationError, DataError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

Bytes = NDArray[np.uint8]
Box = tuple[float, float, float, float]

WHITE = 255.0
_TRIES = 10  # draws of a crop before it is taken from the middle
_TAIL = 64  # bytes in which a file's end is looked for: some programs write a few more after it


@final
@dataclass(frozen=True)
class ResizedCrop:
    """A random part of a picture, whatever its size, resized: the training crop of ImageNet.

    Args:
        scale: The part's area, as a fraction of the picture's, is drawn evenly from this range, in 0..1.
        ratio: Its width / height is drawn from this range, evenly on a logarithmic scale.

    Source: Szegedy et al., "Going deeper with convolutions", arXiv 1409.4842, section 6.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigurationError(
                f"crop: expected a scale within 0..1 and a ratio above 0, each from low to high, found "
                f"{self.scale} and {self.ratio}"
            )


@final
@dataclass(frozen=True)
class PaddedCrop:
    """A picture with a black margin, cropped to its own size at a random place: the training crop of CIFAR.

    Args:
        pad: Pixels of the margin, at least 0.

    Source: He et al., "Deep residual learning", arXiv 1512.03385, section 4.2.
    """

    pad: int = 4

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ConfigurationError(f"crop: expected a pad of at least 0 pixels, found {self.pad}")


Crop = ResizedCrop | PaddedCrop


@final
@dataclass(frozen=True)
class View:
    """How a picture is looked at.

    Args:
        size: Height and width of what a network sees, in pixels.
        resize: For evaluation, the shorter side of the resized picture out of whose middle it is cropped.
        crop: How it is cropped for training.
        flip: Whether training mirrors every other picture.
    """

    size: int
    resize: int
    crop: Crop
    flip: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise ConfigurationError(
                f"view: expected 1 <= size <= resize, found {self.size} and {self.resize}"
            )


@final
@dataclass(frozen=True)
class Normalisation:
    """Pixels as standardised numbers, colour by colour: ``(x / 255 - mean) / deviation``.

    Args:
        mean: Of red, green and blue, on the scale 0..1.
        deviation: The same, above 0.

    Example:
        >>> grey = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        >>> grey(torch.tensor([0, 255, 255], dtype=torch.uint8).view(3, 1, 1)).flatten()
        tensor([-1.,  1.,  1.])
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.deviation) != 3 or min(self.deviation) <= 0:
            raise ConfigurationError(
                f"normalisation: expected a mean and a deviation above 0 for each of 3 colours, found "
                f"{self.mean} and {self.deviation}; pictures of one single colour cannot be standardised"
            )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Standardise uint8 pixels [..., 3, height, width]; float32 of the same shape."""
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.deviation))
        return pixels.to(torch.float32).div_(WHITE).sub_(mean).div_(deviation)


def colour_statistics(pixels: Tensor) -> Normalisation:
    """Mean and population standard deviation of each colour, exact in integers.

    Args:
        pixels: uint8 [n, 3, height, width], training pictures only, not empty.

    Returns:
        What standardises them.

    Raises:
        DataError: There are no pixels.
    """
    if pixels.numel() == 0:
        raise DataError("colour statistics: expected at least one picture, found none")
    means, deviations = [], []
    for colour in range(3):
        counts = torch.bincount(pixels[:, colour].flatten(), minlength=256).tolist()
        count, total = sum(counts), sum(value * times for value, times in enumerate(counts))
        squares = sum(value * value * times for value, times in enumerate(counts))
        means.append(total / count / WHITE)
        deviations.append(math.sqrt(count * squares - total * total) / count / WHITE)
    return Normalisation(tuple(means), tuple(deviations))


def is_whole(path: str | os.PathLike[str]) -> int | None:
    """Look a picture over: its size in bytes, or None where it is truncated or cannot be decoded.

    JPEG is told by its header and its last bytes, without decoding: damage to its pixels decodes to wrong
    colours. PNG has checksums, which are computed. Everything else is decoded.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            tail = file.read()
    except OSError:  # a link that leads nowhere, say: its name is all there is to tell
        return None
    try:
        with _refusing_damage(path) as pillow:
            if head[:3] == b"\xff\xd8\xff" and b"\xff\xd9" in tail:
                with pillow.open(path):
                    pass
            elif head == b"\x89PNG":
                with pillow.open(path) as picture:
                    picture.verify()
            else:
                _colours(path, pillow)
    except DataError:
        return None
    return size


def read_picture(path: str | os.PathLike[str]) -> Image:
    """Decode a picture file into red, green and blue.

    Args:
        path: The file.

    Returns:
        The picture, its pixels in memory.

    Raises:
        DataError: The file is missing, truncated or no picture.
        MissingExtraError: Pillow is not installed.
    """
    with _refusing_damage(path) as pillow:
        return _colours(path, pillow)


@contextmanager
def _refusing_damage(path: str | os.PathLike[str]) -> Iterator[ModuleType]:
    try:
        from PIL import Image  # noqa: PLC0415  # only pictures in files need it
    except ImportError as absence:
        raise MissingExtraError(
            "pictures in files: expected the package pillow, found it not installed; "
            'install it with: pip install "secateur[images]"'
        ) from absence
    try:
        yield Image
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as damage:
        raise DataError(
            f"{os.fspath(path)}: expected a whole picture, found {type(damage).__name__}: {damage}; "
            "put the undamaged file back, or remove it and begin the run anew"
        ) from damage


def _colours(path: str | os.PathLike[str], pillow: ModuleType) -> Image:
    with pillow.open(path) as picture:
        if picture.mode.startswith("I"):
            # 16 bits of grey, which convert("RGB") would turn white wherever they are above 255.
            grey = pillow.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            return cast("Image", grey.convert("RGB"))
        # A palette may hold transparent colours, which convert("RGB") alone warns of.
        opaque = picture.convert("RGBA") if "transparency" in picture.info else picture
        return cast("Image", opaque.convert("RGB"))


def draws(key: int, index: int) -> np.random.Generator:
    """The draws of one picture in one epoch: a function of the two alone, whoever decodes it.

    Args:
        key: The epoch's seed, at least 0.
        index: The picture's number.

    Returns:
        A generator of its own.

    Example:
        >>> float(draws(1, 2).random()) == float(draws(1, 2).random()) != float(draws(1, 3).random())
        True
    """
    # A counter-based generator starts anywhere at once, which one that must be seeded does not.
    return np.random.Generator(np.random.Philox(key=key, counter=[0, index, 0, 0]))


def training_view(picture: Image, view: View, draw: np.random.Generator) -> Bytes:
    """A random look at a picture.

    Args:
        picture: In red, green and blue.
        view: How it is looked at.
        draw: Where the draws come from.

    Returns:
        uint8 [3, size, size].
    """
    match view.crop:
        case ResizedCrop():
            box = drawn_box(picture.width, picture.height, view.crop, draw)
            seen = _planes(_resized(picture, view.size, view.size, box))
        case PaddedCrop():
            down, right = draw.integers(2 * view.crop.pad + 1, size=2)
            whole = np.pad(evaluation_view(picture, view), ((0, 0), *[(view.crop.pad, view.crop.pad)] * 2))
            seen = whole[:, down : down + view.size, right : right + view.size]
        case _:
            assert_never(view.crop)
    return seen[:, :, ::-1] if view.flip and draw.random() < 0.5 else seen


def evaluation_view(picture: Image, view: View) -> Bytes:
    """The middle of a picture whose shorter side was resized: the paper's single centre crop.

    Args:
        picture: In red, green and blue.
        view: How it is looked at.

    Returns:
        uint8 [3, size, size].
    """
    shorter = min(picture.width, picture.height)
    width, height = (side * view.resize // shorter for side in (picture.width, picture.height))
    planes = _planes(_resized(picture, width, height))
    top, left = (height - view.size) // 2, (width - view.size) // 2
    return planes[:, top : top + view.size, left : left + view.size]


def drawn_box(width: int, height: int, crop: ResizedCrop, draw: np.random.Generator) -> Box:
    """The part of a picture that a training crop shows.

    Args:
        width: Of the picture.
        height: Of the picture.
        crop: What is drawn.
        draw: Where the draws come from.

    Returns:
        Left, top, right, bottom in whole pixels. Where ten draws do not fit into the picture it is the
        largest part of its middle with an allowed ratio.
    """
    low, high = (math.log(bound) for bound in crop.ratio)
    for _ in range(_TRIES):
        area = width * height * draw.uniform(*crop.scale)
        ratio = math.exp(draw.uniform(low, high))
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(draw.integers(width - wide + 1)), int(draw.integers(height - tall + 1))
            return left, top, left + wide, top + tall
    ratio = min(max(width / height, crop.ratio[0]), crop.ratio[1])
    wide, tall = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


def decode(paths: Sequence[Path], view: View, drawn: Sequence[np.random.Generator] | None) -> Tensor:
    """Decode and crop pictures.

    Args:
        paths: Their files.
        view: How they are looked at.
        drawn: The draws of each for training; None for evaluation.

    Returns:
        uint8 [n, 3, size, size].

    Raises:
        DataError: A file is missing, truncated or no picture.
    """
    pixels = np.empty((len(paths), 3, view.size, view.size), np.uint8)
    for place, path in enumerate(paths):
        picture = read_picture(path)
        seen = evaluation_view(picture, view) if drawn is None else training_view(picture, view, drawn[place])
        pixels[place] = seen
    return torch.from_numpy(pixels)


def _resized(picture: Image, width: int, height: int, box: Box | None = None) -> Image:
    if box is None and picture.size == (width, height):
        return picture
    return picture.resize((width, height), _bilinear(), box=box)


def _bilinear() -> int:
    from PIL.Image import Resampling  # noqa: PLC0415  # a picture is there, so Pillow is

    return Resampling.BILINEAR


def _planes(picture: Image) -> Bytes:
    return np.asarray(picture, np.uint8).transpose(2, 0, 1)
