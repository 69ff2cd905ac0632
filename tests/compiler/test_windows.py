"""Convolutions and pools over generated windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from secateur.format.graph import Convolution, Pool
from tests.compiler.models import check, model, node, whole


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[int], list[int], dict[str, Any]]:
    rank = draw(st.integers(1, 2))

    def each(low: int, high: int, count: int = rank) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    sizes, kernel, strides, dilations = each(4, 9), each(1, 3), each(1, 3), each(1, 2)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    kind = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if kind == "NOTSET":
        attributes["pads"] = [
            min(pad, k - 1) for pad, k in zip(each(0, 2, 2 * rank), kernel * 2, strict=True)
        ]
    else:
        attributes["auto_pad"] = kind
        if kind.startswith("SAME"):
            # ONNX Runtime has no dilation here, and pads less than nothing where windows do not touch.
            attributes["dilations"] = dilations = [1] * rank
            attributes["strides"] = [min(stride, k) for stride, k in zip(strides, kernel, strict=True)]
    assume(all((k - 1) * d + 1 <= size for k, d, size in zip(kernel, dilations, sizes, strict=True)))
    return sizes, kernel, attributes


@settings(deadline=None, max_examples=60)
@given(windows(), st.sampled_from([1, 2, 4]), st.integers(1, 3), st.booleans(), st.integers(1, 3))
def test_convolutions(
    window: tuple[list[int], list[int], dict[str, Any]], groups: int, each: int, bias: bool, batch: int
) -> None:
    sizes, kernel, attributes = window
    constants = {"w": whole((groups * each, 4 // groups, *kernel), 1)}
    if bias:
        constants["b"] = whole((groups * each,), 2)
    proto = model(
        [node("Conv", ["x", *constants], ["y"], group=groups, **attributes)],
        {"x": ("N", 4, *sizes)},
        ["y"],
        constants,
    )
    network = check(proto, {"x": whole((batch, 4, *sizes), 3)}, exact=True)
    assert [type(made) for made in network.graph.nodes] == [Convolution]


@settings(deadline=None, max_examples=60)
@given(windows(), st.booleans(), st.integers(1, 3))
def test_largest_numbers(window: tuple[list[int], list[int], dict[str, Any]], ceil: bool, batch: int) -> None:
    sizes, _, attributes = window
    rounding = {} if "auto_pad" in attributes else {"ceil_mode": int(ceil)}
    proto = model([node("MaxPool", ["x"], ["y"], **attributes, **rounding)], {"x": ("N", 3, *sizes)}, ["y"])
    network = check(proto, {"x": whole((batch, 3, *sizes), 3, -90, 90)}, exact=True)
    assert [type(made) for made in network.graph.nodes] == [Pool]


@settings(deadline=None, max_examples=60)
@given(windows(), st.booleans(), st.booleans())
def test_means(window: tuple[list[int], list[int], dict[str, Any]], ceil: bool, padding: bool) -> None:
    sizes, _, attributes = window
    attributes = {name: value for name, value in attributes.items() if name != "dilations"}
    rounding = {} if "auto_pad" in attributes else {"ceil_mode": int(ceil)}
    proto = model(
        [node("AveragePool", ["x"], ["y"], count_include_pad=int(padding), **attributes, **rounding)],
        {"x": ("N", 3, *sizes)},
        ["y"],
    )
    check(proto, {"x": whole((2, 3, *sizes), 3)})


def test_zeros_padded_before_a_convolution_become_its_own() -> None:
    proto = model(
        [node("Pad", ["x", "pads"], ["p"]), node("Conv", ["p", "w"], ["y"], pads=[0, 1, 1, 0])],
        {"x": ("N", 2, 5, 6)},
        ["y"],
        {"pads": np.array([0, 0, 1, 2, 0, 0, 3, 0], np.int64), "w": whole((3, 2, 3, 3), 1)},
    )
    network = check(proto, {"x": whole((2, 2, 5, 6), 2)}, exact=True)
    (layer,) = network.graph.nodes
    assert isinstance(layer, Convolution)
    assert layer.pads == (1, 3, 4, 0)
