"""Shifted views of images: the cheapest augmentation there is, one gather a batch."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from secateur.datasets.pictures import Normalisation
from secateur.errors import ConfigurationError, DataError


@final
class ShiftedImages:
    """Images that can be taken at every shift of up to `radius` pixels, padded once and never copied again.

    Variant v = (dy + r) * (2r + 1) + (dx + r) moves an image dy pixels down and dx to the right; what
    comes in from outside is `fill`.

    Args:
        images: float32 or uint8 tensor [n, channels, height, width], not empty.
        radius: r, the largest shift in pixels, at least 0; with 0 the images are used as they are.
        fill: value of pixels from outside the image, on the images' own scale: a standardised black is
            -mean / std, not 0.

    Raises:
        DataError: the images are not a non-empty float32 or uint8 tensor of four dimensions.
        ConfigurationError: the radius is negative.

    Example:
        >>> shifted = ShiftedImages(torch.tensor([[[[1.0, 2.0]]]]), radius=1, fill=0.0)
        >>> shifted.variants
        9
        >>> right = shifted.identity_variant + 1
        >>> shifted.take(torch.tensor([0]), torch.tensor([right]))
        tensor([[[[0., 1.]]]])
    """

    def __init__(self, images: Tensor, radius: int, fill: float) -> None:
        if images.dtype not in (torch.float32, torch.uint8) or images.dim() != 4 or images.numel() == 0:
            raise DataError(
                "shifted images: expected a non-empty float32 or uint8 tensor [n, channels, height, width], "
                f"found {images.dtype} of shape {tuple(images.shape)}; standardise the images first"
            )
        if radius < 0:
            raise ConfigurationError(
                f"shifted images: expected a radius of at least 0 pixels, found {radius}; 0 means no shifts"
            )
        self.radius = radius
        self._count = len(images)
        self._images = images
        if radius == 0:
            return
        _, channels, height, width = images.shape
        padded = functional.pad(images, (radius, radius, radius, radius), value=fill)
        self._row = width + 2 * radius
        plane = (height + 2 * radius) * self._row
        self._image = channels * plane
        # A window into the padded images is fixed by the place of its first pixel alone. One overlapping view
        # with a row for each such place (an unfold over flat memory) makes every shift of every image one
        # index_select, twice as fast as indexing a six-dimensional unfold.
        places = padded.numel() - (channels - 1) * plane - (height - 1) * self._row - (width - 1)
        self._images = padded.as_strided(
            (places, channels, height, width), (1, plane, self._row, 1), padded.storage_offset()
        )

    @property
    def description(self) -> str:
        """What is done to the images, to tell tasks apart."""
        return str(self.radius)

    @property
    def variants(self) -> int:
        """How many shifts there are: (2r + 1)^2."""
        return (2 * self.radius + 1) ** 2

    @property
    def identity_variant(self) -> int:
        """The variant that does not shift."""
        return self.variants // 2

    def take(self, indices: Tensor, variants: Tensor) -> Tensor:
        """Take images, each at its own shift.

        Args:
            indices: int64 tensor [b], which images, each in 0..n-1.
            variants: int64 tensor [b], which shift of each, each in 0..variants-1.

        Returns:
            A tensor [b, channels, height, width] of the images' own type and of its own memory.

        Raises:
            ConfigurationError: the two are not int64 [b] of one length, or hold a number out of range.
        """
        if indices.shape != variants.shape:
            raise ConfigurationError(
                f"shifted images: expected one variant an index, found {tuple(indices.shape)} indices and "
                f"{tuple(variants.shape)} variants; draw both with the same batch size"
            )
        # checked here because an index that is out by one image reads its neighbour without any error
        _check_range(indices, self._count, "indices")
        _check_range(variants, self.variants, "variants")
        if self.radius == 0:
            return self._images.index_select(0, indices)
        # moving the image down and right is moving the window up and left, so the variants run backwards
        window = (self.variants - 1) - variants
        side = 2 * self.radius + 1
        rows = torch.div(window, side, rounding_mode="floor")
        starts = indices * self._image + rows * self._row + (window - rows * side)
        return self._images.index_select(0, starts)


@final
class PictureViews:
    """Decoded pictures that can be taken at every shift and mirrored, and are standardised as they are taken.

    They stay bytes until then: a quarter of the memory. Variants below (2r + 1)^2 are the shifts of
    `ShiftedImages`; with `flip` the same again, mirrored left to right after the shift.

    Args:
        pixels: uint8 tensor [n, 3, height, width], not empty.
        radius: r, the largest shift in pixels, at least 0; what comes in from outside is black.
        normalisation: Turns pixels into numbers.
        flip: Whether there are mirrored variants.

    Raises:
        DataError: the pixels are not uint8, or there are none.
        ConfigurationError: the radius is negative.
    """

    def __init__(self, pixels: Tensor, radius: int, normalisation: Normalisation, *, flip: bool) -> None:
        if pixels.dtype != torch.uint8:
            raise DataError(
                f"picture views: expected uint8 pixels, found {pixels.dtype}; give them as decoded"
            )
        self._shifted = ShiftedImages(pixels, radius, fill=0)
        self._normalisation = normalisation
        self._flip = flip

    @property
    def description(self) -> str:
        """What is done to the images, to tell tasks apart."""
        return f"{self._shifted.radius} {self._flip} {self._normalisation}"

    @property
    def variants(self) -> int:
        """How many views of a picture there are."""
        return self._shifted.variants * (2 if self._flip else 1)

    @property
    def identity_variant(self) -> int:
        """The variant that neither shifts nor mirrors."""
        return self._shifted.identity_variant

    def take(self, indices: Tensor, variants: Tensor) -> Tensor:
        """Take pictures, each in its own view.

        Args:
            indices: int64 tensor [b], which pictures, each in 0..n-1.
            variants: int64 tensor [b], which view of each, each in 0..variants-1.

        Returns:
            A float32 tensor [b, 3, height, width].

        Raises:
            ConfigurationError: the two are not int64 [b] of one length, or hold a number out of range.
        """
        _check_range(variants, self.variants, "variants")
        shifts = self._shifted.variants
        pixels = self._shifted.take(indices, variants % shifts)
        mirrored = variants >= shifts
        pixels[mirrored] = pixels[mirrored].flip(-1)
        return self._normalisation(pixels)


def _check_range(numbers: Tensor, end: int, name: str) -> None:
    """Raise ConfigurationError unless the numbers are int64 [b] in 0..end-1."""
    if numbers.dtype != torch.int64 or numbers.dim() != 1:
        raise ConfigurationError(
            f"shifted images: expected {name} as an int64 tensor [b], found {numbers.dtype} of shape "
            f"{tuple(numbers.shape)}; draw them with torch.randint or torch.randperm"
        )
    if len(numbers) == 0:
        return
    lowest, highest = (int(bound) for bound in torch.aminmax(numbers))
    if lowest < 0 or highest >= end:
        raise ConfigurationError(
            f"shifted images: expected {name} in 0..{end - 1}, found {lowest}..{highest}; "
            "draw them below that end"
        )
