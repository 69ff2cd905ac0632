"""Images made larger by whole factors."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from secateur.compiler.builder import Builder
from secateur.compiler.network import Array
from secateur.compiler.operands import Call
from secateur.compiler.operators.movement import phases_to_pixels
from secateur.format.graph import Batch, Convolution, Dim, Expand, Pad, Reshape, Slice, Value

_HALF_PIXELS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
# How an output's place becomes a place of the input, and how that is rounded: these take ``place // factor``
# for every whole factor. (Half pixels lie strictly between the middles of two numbers, and so either way
# of rounding ties gives the same.)
REPEATS = frozenset(
    {("asymmetric", "floor"), *product(_HALF_PIXELS, ("round_prefer_floor", "round_prefer_ceil"))}
)


def resize(call: Call, build: Builder) -> None:
    """Resize and Upsample by whole factors, to the nearest number or linearly between the nearest ones."""
    source, target = call.value(0), call.only_output()
    if source.dtype != "float32":
        raise call.refused(f"it resizes {source.dtype}", "float32")
    # Before version 11 there was one way alone.
    old = call.version < 11
    coordinates = "asymmetric" if old else call.text("coordinate_transformation_mode", "half_pixel")
    match call.text("mode", "nearest"):
        case "nearest":
            rounding = "floor" if old else call.text("nearest_mode", "round_prefer_floor")
            if (coordinates, rounding) not in REPEATS:
                raise call.refused(
                    f"coordinate_transformation_mode is {coordinates!r} with nearest_mode {rounding!r}",
                    "asymmetric with floor, and half_pixel, half_pixel_symmetric and pytorch_half_pixel with "
                    "round_prefer_floor and round_prefer_ceil",
                )
            _repeated(call, build, source, target, _factors(call, source, target))
        case "linear":
            if coordinates not in _HALF_PIXELS or call.integer("antialias", 0):
                raise call.refused(
                    f"mode is 'linear' with coordinate_transformation_mode {coordinates!r}"
                    + (" and antialias" if call.integer("antialias", 0) else ""),
                    "half_pixel, half_pixel_symmetric and pytorch_half_pixel (align_corners=False)",
                )
            factors = _factors(call, source, target)
            made = _interpolated if max(factors) > 1 else _repeated
            made(call, build, source, target, factors)
        case mode:
            raise call.refused(f"mode is {mode!r}", "nearest and linear")


def _repeated(call: Call, build: Builder, source: Value, target: Value, factors: tuple[int, ...]) -> None:
    # Along the last dimension first, where numbers are repeated one by one; whole rows are copied then. All
    # at once, Gathers, and a depthwise convolution of ones with depth-to-space took longer; and nothing is
    # computed: NaN and infinity stay.
    name, shape = source.name, source.shape
    for axis in range(len(factors) - 1, 1, -1):
        if factors[axis] == 1:
            continue
        ahead, behind = shape[: axis + 1], shape[axis + 1 :]
        parted = build.temporary(f"{call.name}.parted", (*ahead, 1, *behind))
        repeated = build.temporary(f"{call.name}.repeated", (*ahead, factors[axis], *behind))
        build.add(Reshape(build.node_name(f"{call.name}.parted"), name, parted.name))
        build.add(Expand(build.node_name(call.name), parted.name, repeated.name))
        name, shape = repeated.name, (*shape[:axis], target.shape[axis], *behind)
    build.add(Reshape(build.node_name(f"{call.name}.shape"), name, target.name))


def _interpolated(call: Call, build: Builder, source: Value, target: Value, factors: tuple[int, ...]) -> None:
    # Between each two neighbours lie as many outputs, at the same fractions of the way: a convolution of one
    # channel, in which every channel is an image, makes them; edges are repeated, and what lies beyond the
    # outermost outputs is cut off. (Groups of one channel took as long.)
    batch, *rest = source.shape
    channels, *sizes = call.fixed_dims(tuple(rest), "its images")
    if len(sizes) > 2:
        raise call.refused(f"mode is 'linear' in {len(sizes)} dimensions", "one and two dimensions")
    name, kernels = call.name, [between(factor) for factor in factors[2:]]
    more = [len(kernel[0]) - 1 for kernel in kernels]
    strides, places = factors[2:], [size + each for size, each in zip(sizes, more, strict=True)]
    shape = (batch, channels, *(size + 2 * each for size, each in zip(sizes, more, strict=True)))
    padded = build.temporary(f"{name}.padded", shape)
    build.add(Pad(build.node_name(f"{name}.pad"), source.name, padded.name, (0, 0, *more), "edge"))
    images = Batch(batch.multiple * channels) if isinstance(batch, Batch) else batch * channels
    apart = build.temporary(f"{name}.images", (images, 1, *shape[2:]))
    build.add(Reshape(build.node_name(f"{name}.images"), padded.name, apart.name))
    made = build.temporary(f"{name}.phases", (images, prod(strides), *places))
    one = (1,) * len(sizes)
    weights = build.constant(_product(kernels), f"{name}.fractions")
    layer = build.node_name(call.module or name)
    build.add(Convolution(layer, apart.name, weights, made.name, one, (0, 0) * len(sizes), one))
    whole = build.temporary(
        f"{name}.whole",
        (batch, channels, *(place * each for place, each in zip(places, strides, strict=True))),
    )
    phases_to_pixels(call, build, made, strides, whole)
    starts = (0, 0, *((each + 1) // 2 if each > 1 else 0 for each in strides))
    build.add(Slice(build.node_name(f"{name}.cut"), whole.name, target.name, starts, (1,) * len(starts)))


def between(factor: int) -> Array:
    """The shares of two neighbours in the outputs between them, the first output nearest the first one.

    Args:
        factor: How many outputs there are for each input.

    Returns:
        (factor, 2); an even number of outputs lies evenly between the two, of an odd number the first lies
        on the first neighbour. For 1, which changes nothing, one share of one number.

    Example:
        >>> between(2)
        array([[0.75, 0.25],
               [0.25, 0.75]])
    """
    if factor == 1:
        return np.ones((1, 1))
    ways = (np.arange(factor) + (0.5 if factor % 2 == 0 else 0.0)) / factor
    return np.stack([1 - ways, ways], axis=1)


def _product(kernels: list[Array]) -> Array:
    # Of the kernels of one or two dimensions: (phases, 1, taps...).
    if len(kernels) == 1:
        return kernels[0][:, None].astype(np.float32)
    rows, columns = kernels
    both = rows[:, None, :, None] * columns[:, None, :]
    return both.reshape(-1, 1, *both.shape[2:]).astype(np.float32)


def _factors(call: Call, source: Value, target: Value) -> tuple[int, ...]:
    if call.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refused("it keeps the ratio of height and width", "sizes as they are given (stretch)")
    if source.shape[:2] != target.shape[:2]:
        raise call.refused(
            "it resizes the batch or the channels",
            "images, N x C x spatial dimensions, resized in the latter",
        )
    factors = tuple(_whole(before, after) for before, after in zip(source.shape, target.shape, strict=True))
    # The size of the output is rounded down: 2.1 times 4 is 8, but not each number twice.
    scales = _scales(call, len(factors))
    if 0 in factors or (scales is not None and scales != factors):
        by = "" if scales is None else f" by {_listing(scales[2:])}"
        raise call.refused(
            f"it resizes {_listing(source.shape[2:])} to {_listing(target.shape[2:])}{by}",
            "whole factors (F.interpolate(x, scale_factor=2))",
        )
    return factors


def _whole(before: Dim, after: Dim) -> int:
    # 0 where there is no whole factor from 1 on; ONNX's inference lets a negative one through.
    if not (isinstance(before, int) and isinstance(after, int)):
        return int(before == after)
    return after // before if after > 0 and after % before == 0 else 0


def _scales(call: Call, rank: int) -> tuple[float, ...] | None:
    # One for each dimension, if they are given; an empty tensor is not.
    if call.version < 9:
        given = tuple(float(scale) for scale in call.attributes["scales"])
    else:
        array = call.optional_array(1 if call.version < 11 else 2, "scales")
        given = () if array is None else tuple(float(scale) for scale in array.reshape(-1))
    if not given:
        return None
    scales = [1.0] * rank
    for axis, scale in zip(call.integers("axes", tuple(range(rank))), given, strict=True):
        scales[call.from_front(axis, rank)] = scale
    return tuple(scales)


def _listing(sizes: tuple[Dim | float, ...]) -> str:
    return " x ".join(f"{size:g}" if isinstance(size, float) else str(size) for size in sizes)
