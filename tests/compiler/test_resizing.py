"""Images made larger: every way that repeats numbers, and refusals of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateur.compiler.compiling import packed
from secateur.compiler.network import Array, Network
from secateur.compiler.operators.resizing import REPEATS
from secateur.compiler.reading import load_network, onnx_of_module
from secateur.errors import UnsupportedModelError
from secateur.runtime.program import Program
from tests.compiler.models import assert_close, check, model, node, normal, onnx_runtime


def floats(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def resized(
    shape: tuple[int | str, ...],
    scales: Array | None = None,
    sizes: Array | None = None,
    opset: int = 20,
    **attributes: Any,
) -> onnx.ModelProto:
    given = {"scales": scales, "sizes": sizes}
    constants = {name: array for name, array in given.items() if array is not None}
    names = ["x", *([""] if opset > 10 else []), *(name if name in constants else "" for name in given)]
    if opset == 10:
        names = names[:2]
    made = node("Resize", names, ["y"], **attributes)
    return model([made], {"x": shape}, ["y"], constants, opset)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3),
    st.sampled_from(sorted(REPEATS)),
    st.booleans(),
    st.sampled_from([1, 2, 5]),
)
def test_whole_factors(
    spatial: list[tuple[int, int]], how: tuple[str, str], by_size: bool, batch: int
) -> None:
    sizes, factors = zip(*spatial, strict=True)
    attributes = {"coordinate_transformation_mode": how[0], "nearest_mode": how[1]}
    if by_size:
        asked = np.array([size * factor for size, factor in spatial], np.int64)
        attributes["axes"] = list(range(2, 2 + len(sizes)))
        proto = resized(("N", 3, *sizes), sizes=asked, **attributes)
    else:
        proto = resized(("N", 3, *sizes), scales=floats(1, 1, *factors), **attributes)
    x = normal((batch, 3, *sizes), 1)
    network = check(proto, {"x": x}, exact=True)
    np.testing.assert_array_equal(executed(network, x), np.kron(x, np.ones((1, 1, *factors), np.float32)))


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1, max_size=2),
    st.sampled_from(["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"]),
    st.booleans(),
    st.sampled_from([1, 2, 5, None]),
)
def test_whole_factors_between_neighbours(
    spatial: list[tuple[int, int]], coordinates: str, by_size: bool, batch: int | None
) -> None:
    sizes, factors = zip(*spatial, strict=True)
    attributes = {"coordinate_transformation_mode": coordinates, "mode": "linear"}
    shape = (2 if batch is None else "N", 3, *sizes)
    if by_size:
        asked = np.array([size * factor for size, factor in spatial], np.int64)
        proto = resized(shape, sizes=asked, axes=list(range(2, 2 + len(sizes))), **attributes)
    else:
        proto = resized(shape, scales=floats(1, 1, *factors), **attributes)
    x = normal((batch or 2, 3, *sizes), 1)
    network = check(proto, {"x": x})
    found = executed(network, x)
    assert_close(found, onnx_runtime(proto, {"x": x})["y"])
    if coordinates == "half_pixel":
        mode = "linear" if len(sizes) == 1 else "bilinear"
        expected = nn.functional.interpolate(torch.from_numpy(x), scale_factor=factors, mode=mode)
        assert_close(found, expected.numpy())


def executed(network: Network, x: Array) -> Array:
    """What the native runtime gives."""
    program = Program(packed(network.graph, network.constants, values="float32", batch=1), threads=1)
    found = program(x)
    assert isinstance(found, np.ndarray)
    return found


def test_what_is_no_number_stays_where_and_as_it_is() -> None:
    x = normal((1, 2, 3, 4), 1)
    x.flat[[0, 5, 9, 23]] = np.nan, np.inf, -np.inf, -0.0
    network = load_network(resized(("N", 2, 3, 4), scales=floats(1, 1, 2, 3)))
    expected = x.repeat(2, axis=2).repeat(3, axis=3)
    assert executed(network, x).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Upsample(scale_factor=2), (3, 4, 5)),
        (nn.Upsample(size=(8, 15)), (3, 4, 5)),
        (nn.Upsample(scale_factor=3), (3, 7)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (3, 4, 5)),
    ],
)
def test_layers_of_torch(layer: nn.Module, shape: tuple[int, ...]) -> None:
    network = load_network(onnx_of_module(layer, [torch.zeros(1, *shape)]))
    for batch in (1, 2, 5):
        x = normal((batch, *shape), batch)
        assert_close(executed(network, x), layer(torch.from_numpy(x)).numpy())


_WHOLE = "whole factors (F.interpolate(x, scale_factor=2))"
_LINEAR = "half_pixel, half_pixel_symmetric and pytorch_half_pixel (align_corners=False)"
_HOW = (
    "asymmetric with floor, and half_pixel, half_pixel_symmetric and pytorch_half_pixel with "
    "round_prefer_floor and round_prefer_ceil"
)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (
            resized(("N", 2, 3, 4), floats(1, 1, 2, 2), mode="cubic"),
            "mode is 'cubic'; supported: nearest and linear",
        ),
        (
            resized(
                ("N", 2, 3, 4),
                floats(1, 1, 2, 2),
                mode="linear",
                coordinate_transformation_mode="align_corners",
            ),
            f"mode is 'linear' with coordinate_transformation_mode 'align_corners'; supported: {_LINEAR}",
        ),
        (
            resized(("N", 2, 3, 4), floats(1, 1, 2, 2), mode="linear", antialias=1),
            "mode is 'linear' with coordinate_transformation_mode 'half_pixel' and antialias; supported: "
            + _LINEAR,
        ),
        (
            resized(("N", 2, 3, 4), floats(1, 1, 2, 2), opset=10, mode="linear"),
            f"mode is 'linear' with coordinate_transformation_mode 'asymmetric'; supported: {_LINEAR}",
        ),
        (
            resized(("N", 2, 3, 4, 2), floats(1, 1, 2, 2, 2), mode="linear"),
            "mode is 'linear' in 3 dimensions; supported: one and two dimensions",
        ),
        (
            resized(("N", 2, 4), floats(1, 1, 1.5), mode="linear"),
            f"it resizes 4 to 6 by 1.5; supported: {_WHOLE}",
        ),
        (
            resized(("N", 2, 3, 4), floats(1, 1, 2, 2), nearest_mode="floor"),
            f"coordinate_transformation_mode is 'half_pixel' with nearest_mode 'floor'; supported: {_HOW}",
        ),
        (
            resized(("N", 2, 3, 4), floats(1, 1, 2, 2), coordinate_transformation_mode="align_corners"),
            "coordinate_transformation_mode is 'align_corners' with nearest_mode 'round_prefer_floor'; "
            f"supported: {_HOW}",
        ),
        (
            resized(("N", 2, 4, 4), floats(1, 1, 2, 1.5)),
            f"it resizes 4 x 4 to 8 x 6 by 2 x 1.5; supported: {_WHOLE}",
        ),
        (
            resized(("N", 2, 4, 4), floats(1, 1, 2, 2.125)),
            f"it resizes 4 x 4 to 8 x 8 by 2 x 2.125; supported: {_WHOLE}",
        ),
        (
            resized(("N", 2, 4), floats(1, 1, 0.5)),
            f"it resizes 4 to 2 by 0.5; supported: {_WHOLE}",
        ),
        (
            resized(("N", 2, 4), floats(1, 1, -2)),
            f"it resizes 4 to -8 by -2; supported: {_WHOLE}",
        ),
        (
            resized(("N", 2, 4), sizes=np.array([10]), axes=[-1]),
            f"it resizes 4 to 10; supported: {_WHOLE}",
        ),
        (
            resized(("N", 2, 4), floats(1, 2, 2)),
            "it resizes the batch or the channels; supported: images, N x C x spatial dimensions, resized "
            "in the latter",
        ),
        (
            resized(("N", 2, 4), floats(2), axes=[0]),
            "it resizes the batch or the channels; supported: images, N x C x spatial dimensions, resized "
            "in the latter",
        ),
        (
            resized(
                ("N", 2, 4, 4),
                sizes=np.array([8, 8]),
                axes=[2, 3],
                keep_aspect_ratio_policy="not_larger",
            ),
            "it keeps the ratio of height and width; supported: sizes as they are given (stretch)",
        ),
    ],
)
def test_what_is_not_supported_is_refused(proto: onnx.ModelProto, expected: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        load_network(proto)
    assert str(caught.value) == f"node 'y_node' (Resize): {expected}"


def test_sizes_that_are_computed_are_refused() -> None:
    proto = model([node("Resize", ["x", "", "scales"], ["y"])], {"x": ("N", 2, 4), "scales": (3,)}, ["y"], {})
    with pytest.raises(UnsupportedModelError, match=r"node 'y_node' \(Resize\): .*; supported: "):
        load_network(proto)


def test_indices_are_refused() -> None:
    proto = model(
        [node("Resize", ["i", "", "scales"], ["j"]), node("Gather", ["t", "j"], ["y"])],
        {"i": ("N", 1, 3)},
        ["y"],
        {"scales": floats(1, 1, 2), "t": normal((5, 4))},
        types={"i": "int64"},
    )
    with pytest.raises(UnsupportedModelError, match="it resizes int64; supported: float32"):
        load_network(proto)
