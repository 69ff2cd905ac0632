"""The data of a recipe: which images, how they are looked at, and the task that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, final

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from secateur.datasets import DATASETS, load_dataset
from secateur.datasets.folders import TOLERATED, find_parts
from secateur.datasets.pictures import Normalisation, PaddedCrop, ResizedCrop, View
from secateur.errors import ConfigurationError
from secateur.training.configuration import Frozen
from secateur.training.decoded import decoded_task
from secateur.training.phase import Fraction, Positive
from secateur.training.streaming import streamed_task
from secateur.training.task import Task, image_task

FOLDER = "folder"
_MARGIN = 256 / 224  # resized shorter side / side of the crop, as ImageNet is evaluated
Range = Annotated[tuple[Positive, Positive], Field(strict=False)]
Colours = Annotated[tuple[float, float, float], Field(strict=False)]


@final
class ImageChoice(Frozen):
    """How pictures in files are looked at.

    Attributes:
        size: Height and width of what the network sees, in pixels.
        resize: For evaluation, the shorter side of the resized picture, out of whose middle `size` is
            cropped; by default 256 / 224 of `size`, and `size` itself where `pad` is given.
        scale: Training crops have an area in this range, as a fraction of the picture's.
        ratio: Their width / height is in this range.
        pad: Instead of such crops, the picture with a margin of so many black pixels, cropped to its size.
        flip: Whether training mirrors every other picture.
        mean: Of red, green and blue on the scale 0..1; by default that of training pictures.
        deviation: The same.
        memory: Whether all pictures are decoded once and kept in memory, which needs `pad`.
        tolerate: The share of a part's pictures that may be damaged; those are left out.
    """

    size: int = Field(default=224, ge=1)
    resize: int | None = None
    scale: Range | None = None
    ratio: Range | None = None
    pad: int | None = Field(default=None, ge=0)
    flip: bool = True
    mean: Colours | None = None
    deviation: Colours | None = None
    memory: bool = False
    tolerate: Fraction = TOLERATED

    @model_validator(mode="after")
    def _fits_together(self) -> ImageChoice:
        if self.pad is not None and (self.scale or self.ratio) is not None:
            raise ValueError("pad is a crop of the picture's own size; leave scale and ratio away")
        if self.memory and self.pad is None:
            raise ValueError("pictures in memory have one size: give pad (0 for none), or leave memory away")
        if (self.mean is None) != (self.deviation is None):
            raise ValueError("give both mean and deviation, or neither")
        try:
            _ = self.view, self.normalisation
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def view(self) -> View:
        """The same as a value of the data sets."""
        if self.pad is not None:
            return View(self.size, self.resize or self.size, PaddedCrop(self.pad), self.flip)
        default = ResizedCrop()
        crop = ResizedCrop(self.scale or default.scale, self.ratio or default.ratio)
        return View(self.size, self.resize or round(self.size * _MARGIN), crop, self.flip)

    @property
    def normalisation(self) -> Normalisation | None:
        """What turns pixels into numbers, if it is given."""
        if self.mean is None or self.deviation is None:
            return None
        return Normalisation(self.mean, self.deviation)


@final
class DataChoice(Frozen):
    """Which images, and how they are used.

    Attributes:
        name: A data set's name, or ``folder``: pictures in ImageNet's layout, a folder a class in ``train``
            and in ``val`` or ``test``.
        validation: Training images held out for decisions, where no folder of their own holds them.
        shift: Training images are moved by up to this many pixels; pictures in a folder have `image` instead.
        image: How pictures in a folder are looked at.
    """

    name: str = "mnist"
    validation: int = Field(default=5000, ge=1)
    shift: int = Field(default=0, ge=0)
    image: ImageChoice | None = None

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known = (*DATASETS, FOLDER)
        if name not in known:
            raise ValueError(f"there is no such data set; there are {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> DataChoice:
        if self.name == FOLDER and self.shift:
            raise ValueError("shift is for images in memory; pictures in a folder have `image: {pad: ...}`")
        if self.name != FOLDER and self.image is not None:
            raise ValueError(f"image says how pictures in a folder are looked at; {self.name} has none")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A run is known by these values: what does not concern it must not change its name.
        values: dict[str, Any] = serialise(self)
        if self.image is None:
            values.pop("image", None)
        return values


def load_task(choice: DataChoice, folder: Path | None = None, workers: int | None = None) -> Task:
    """The task of a recipe's data.

    Args:
        choice: Which data.
        folder: Where they lie; MNIST is downloaded to a cache if it is left out.
        workers: Processes that decode pictures; 0 decodes between the steps. They change no pixel.

    Returns:
        The task, its images in memory or streamed.

    Raises:
        ConfigurationError: Pictures are asked for and no folder is given, too many images are held out, or
            the number of workers is negative.
        DataError: Files are missing, damaged, or cannot be downloaded.
        MissingExtraError: What reads them is not installed.
        StorageError: The cache folder cannot be written.
    """
    if workers is not None and workers < 0:
        raise ConfigurationError(f"--workers must be at least 0, found {workers}")
    if choice.name != FOLDER:
        return image_task(load_dataset(choice.name, folder), validation=choice.validation, shift=choice.shift)
    if folder is None:
        raise ConfigurationError(
            "the recipe's data are pictures in a folder: name it with --data DIR, where DIR/train and "
            "DIR/val or DIR/test hold a folder a class"
        )
    image = choice.image or ImageChoice()
    parts = find_parts(folder, image.tolerate)
    make = decoded_task if image.memory else streamed_task
    return make(
        parts,
        image.view,
        source=f"the pictures of {folder.resolve().name}",
        validation=choice.validation,
        normalisation=image.normalisation,
        workers=workers,
    )
