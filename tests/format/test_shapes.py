from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from secateur.errors import FormatError
from secateur.format.graph import (
    Activation,
    Binary,
    Concat,
    Convolution,
    Elementwise,
    Expand,
    Gather,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    LogSoftmax,
    MatMul,
    Node,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from secateur.format.shapes import check_shapes

Shapes = dict[str, tuple[int, ...]]
CONV = Convolution("n", "x", "w", "y", (2, 1), (1, 0, 1, 0), (1, 2), groups=2, bias="b", residual="r")
CONV_SHAPES: Shapes = {
    "x": (5, 4, 8, 9),
    "w": (6, 2, 3, 3),
    "b": (6,),
    "r": (5, 6, 4, 5),
    "y": (5, 6, 4, 5),
}
POOL = Pool("n", "max", "x", "y", (3, 2), (2, 2), (1, 0, 0, 1), (1, 1))

# Nodes with shapes that fit.
FITTING: tuple[tuple[Node, Shapes], ...] = (
    (CONV, CONV_SHAPES),
    (Convolution("n", "x", "w", "y", (1,), (0, 0), (1,)), {"x": (1, 2, 7), "w": (3, 2, 3), "y": (1, 3, 5)}),
    (
        Linear("n", "x", "w", "y", bias="b", residual="r"),
        {"x": (2, 7, 5), "w": (3, 5), "b": (3,), "r": (2, 7, 3), "y": (2, 7, 3)},
    ),
    (Linear("n", "x", "w", "y"), {"x": (5,), "w": (3, 5), "y": (3,)}),
    (MatMul("n", "x", "z", "y"), {"x": (4, 1, 2, 3), "z": (6, 3, 5), "y": (4, 6, 2, 5)}),
    (POOL, {"x": (2, 3, 7, 7), "y": (2, 3, 4, 4)}),
    (Elementwise("n", "x", "y", Activation("relu")), {"x": (2, 3), "y": (2, 3)}),
    (Binary("n", "add", "x", "z", "y"), {"x": (2, 1, 4), "z": (3, 1), "y": (2, 3, 4)}),
    (Binary("n", "add", "x", "z", "y"), {"x": (), "z": (3, 1), "y": (3, 1)}),
    (LogSoftmax("n", "x", "y", 1), {"x": (2, 3), "y": (2, 3)}),
    (Softmax("n", "x", "y", 1), {"x": (2, 3), "y": (2, 3)}),
    (LayerNorm("n", "x", "y", 1, 1e-5, "s", "b"), {"x": (2, 3, 4), "s": (3, 4), "b": (12,), "y": (2, 3, 4)}),
    (LocalResponseNorm("n", "x", "y", 5, 1e-4, 0.75, 1.0), {"x": (2, 3, 4), "y": (2, 3, 4)}),
    (Concat("n", ("x", "z", "x"), "y", 1), {"x": (2, 3), "z": (2, 1), "y": (2, 7)}),
    (Slice("n", "x", "y", (1, 8), (2, -3)), {"x": (6, 9), "y": (3, 3)}),
    (Pad("n", "x", "y", (0, 2), "reflect"), {"x": (1, 3), "y": (1, 9)}),
    (Reshape("n", "x", "y"), {"x": (2, 6), "y": (3, 4)}),
    (Transpose("n", "x", "y", (2, 0, 1)), {"x": (2, 3, 4), "y": (4, 2, 3)}),
    (Reduce("n", "mean", "x", "y", (0, 2)), {"x": (2, 3, 4), "y": (3,)}),
    (Reduce("n", "mean", "x", "y", (0, 2)), {"x": (2, 3, 4), "y": (1, 3, 1)}),
    (Gather("n", "x", "i", "y", 1), {"x": (2, 3, 4), "i": (5, 6), "y": (2, 5, 6, 4)}),
    (Expand("n", "x", "y"), {"x": (3, 1), "y": (2, 3, 4)}),
)


def test_every_kind_of_node_is_in_the_table() -> None:
    assert {type(node) for node, _ in FITTING} == set(get_args(Node))


@pytest.mark.parametrize(("node", "shapes"), FITTING, ids=lambda item: type(item).__name__)
def test_what_fits_passes_and_no_other_output_does(node: Node, shapes: Shapes) -> None:
    check_shapes(node, shapes.__getitem__)
    output = shapes["y"]
    others = [(*output[:axis], size + 1, *output[axis + 1 :]) for axis, size in enumerate(output)]
    # The output of these decides itself along some axes.
    free = isinstance(node, Pool | Slice | Pad | Expand)
    for other in [*others, (*output, 2)]:
        if free and len(other) == len(output):
            continue
        with pytest.raises(FormatError, match=r"node 'n' \(\w+\): expected .*, found"):
            check_shapes(node, (shapes | {"y": other}).__getitem__)


def changed(node: Node, **changes: object) -> Node:
    return replace(node, **changes)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("node", "shapes", "message"),
    [
        (CONV, {"x": (5, 4, 8)}, "source and weight of rank 3 or 4, found [5, 4, 8]"),
        (CONV, {"x": (5, 3, 8, 9)}, "expected 4 input channels, found 3"),
        (CONV, {"b": (5,)}, "expected a bias of shape [6], found [5]"),
        (CONV, {"r": (5, 6, 4, 4)}, "expected a residual of shape [5, 6, 4, 5], found [5, 6, 4, 4]"),
        (CONV, {"y": (5, 6, 4, 4)}, "expected output 'y' of shape [5, 6, 4, 5], found [5, 6, 4, 4]"),
        (changed(CONV, strides=(0, 1)), {}, "expected 2 strides from 1 on, found [0, 1]"),
        (changed(CONV, strides=(1,)), {}, "expected 2 strides from 1 on, found [1]"),
        (changed(CONV, strides=()), {}, "expected 2 strides from 1 on, found []"),
        (changed(CONV, pads=(0, 0)), {}, "expected 4 pads from 0 on, found [0, 0]"),
        (changed(CONV, pads=(0, 0, 0, -1)), {}, "expected 4 pads from 0 on, found [0, 0, 0, -1]"),
        (changed(CONV, dilations=(0, 1)), {}, "expected 2 dilations from 1 on"),
        (changed(CONV, groups=0), {}, "expected groups that divide 6 outputs, found 0"),
        (changed(CONV, groups=4), {}, "expected groups that divide 6 outputs, found 4"),
        (Linear("n", "x", "w", "y"), {"x": (2, 5), "w": (3, 5, 1)}, "expected a weight of two dimensions"),
        (Linear("n", "x", "w", "y"), {"x": (2, 4), "w": (3, 5)}, "expected 5 inputs, found [2, 4]"),
        (Linear("n", "x", "w", "y"), {"x": (), "w": (3, 5)}, "expected 5 inputs, found []"),
        (MatMul("n", "x", "z", "y"), {"x": (3,), "z": (3, 2)}, "expected two dimensions at least"),
        (MatMul("n", "x", "z", "y"), {"x": (2, 3), "z": (2, 3)}, "expected 3 rows on the right"),
        (MatMul("n", "x", "z", "y"), {"x": (2, 2, 3), "z": (3, 3, 2)}, "that broadcasts with [2]"),
        (POOL, {"x": (2, 3)}, "expected a source of rank 3 or 4"),
        (
            POOL,
            {"x": (2, 3, 7, 7), "y": (2, 3, 5, 4)},
            "expected windows that reach into 7 places, found [1, 7]",
        ),
        (
            changed(POOL, pads=(3, 0, 0, 0)),
            {"x": (2, 3, 7, 7), "y": (2, 3, 4, 4)},
            "expected windows that reach into 7 places, found [-1, 3]",
        ),
        (POOL, {"x": (2, 3, 7, 7), "y": (2, 4, 4, 4)}, "expected output 'y' of shape [2, 3, 4, 4]"),
        (changed(POOL, kernel=(0, 2)), {"x": (2, 3, 7, 7), "y": (2, 3, 4, 4)}, "2 kernel sizes from 1 on"),
        (
            Binary("n", "add", "x", "z", "y"),
            {"x": (2, 3), "z": (2,)},
            "that broadcasts with [2, 3], found [2]",
        ),
        (Softmax("n", "x", "y", 2), {"x": (2, 3)}, "expected axes among 2 dimensions, each once, found [2]"),
        (
            Softmax("n", "x", "y", -1),
            {"x": (2, 3)},
            "expected axes among 2 dimensions, each once, found [-1]",
        ),
        (LayerNorm("n", "x", "y", 1, 1e-5, "s"), {"x": (2, 3), "s": (2,)}, "expected 's' of 3 elements"),
        (LocalResponseNorm("n", "x", "y", 0, 1.0, 1.0, 1.0), {"x": (2, 3)}, "channels and a size, found 0"),
        (Concat("n", (), "y", 0), {}, "expected one source at least"),
        (Concat("n", ("x", "z"), "y", 0), {"x": (2, 3), "z": (2, 4)}, "like [2, 3] but along axis 0"),
        (Concat("n", ("x", "z"), "y", 1), {"x": (2, 3), "z": (2,)}, "like [2, 3] but along axis 1"),
        (Slice("n", "x", "y", (0,), (1,)), {"x": (2, 3)}, "expected one of each for 2 dimensions"),
        (
            Slice("n", "x", "y", (3,), (1,)),
            {"x": (3,), "y": (1,)},
            "expected positions below 3, found [3, 3]",
        ),
        (
            Slice("n", "x", "y", (0,), (2,)),
            {"x": (3,), "y": (3,)},
            "expected positions below 3, found [0, 4]",
        ),
        (Slice("n", "x", "y", (1,), (-1,)), {"x": (3,), "y": (3,)}, "positions below 3, found [1, -1]"),
        (Slice("n", "x", "y", (0,), (0,)), {"x": (3,), "y": (3,)}, "expected positions below 3"),
        (Pad("n", "x", "y", (2,)), {"x": (3,), "y": (4,)}, "expected at most 1 before, found 2"),
        (Pad("n", "x", "y", (-1,)), {"x": (3,), "y": (4,)}, "expected at most 1 before, found -1"),
        (Pad("n", "x", "y", (0,)), {"x": (3,), "y": (2,)}, "expected at most -1 before, found 0"),
        (Pad("n", "x", "y", (1,), "reflect"), {"x": (1,), "y": (3,)}, "expected two elements to reflect"),
        (Reshape("n", "x", "y"), {"x": (2, 3), "y": (5,)}, "expected 6 elements, found 5"),
        (
            Transpose("n", "x", "y", (0, 0)),
            {"x": (2, 3)},
            "expected a permutation of 2 dimensions, found [0, 0]",
        ),
        (Transpose("n", "x", "y", (0,)), {"x": (2, 3)}, "expected a permutation of 2 dimensions, found [0]"),
        (Reduce("n", "sum", "x", "y", (0, 0)), {"x": (2, 3)}, "expected axes among 2 dimensions, each once"),
        (
            Reduce("n", "sum", "x", "y", (0,)),
            {"x": (2, 3), "y": (2,)},
            "output 'y' of shape [1, 3], found [2]",
        ),
        (Gather("n", "x", "i", "y", 2), {"x": (2, 3), "i": (1,)}, "expected axes among 2 dimensions"),
        (Expand("n", "x", "y"), {"x": (2, 3), "y": (3,)}, "output 'y' of shape [2, 3], found [3]"),
        (Expand("n", "x", "y"), {"x": (2,), "y": (3,)}, "a shape that broadcasts with [2], found [3]"),
    ],
)
def test_what_does_not_fit_is_refused(node: Node, shapes: Shapes, message: str) -> None:
    given_shapes = {"y": (1,), **(CONV_SHAPES if isinstance(node, Convolution) else {}), **shapes}
    with pytest.raises(FormatError) as found:
        check_shapes(node, given_shapes.__getitem__)
    assert str(found.value).startswith(f"node 'n' ({type(node).__name__}): expected ")
    assert message in str(found.value)


small = st.integers(1, 3)


@given(
    st.integers(3, 9),
    st.integers(3, 9),
    small,
    small,
    small,
    small,
    small,
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_convolutions_and_pools_are_as_large_as_pytorchs(
    height: int,
    width: int,
    kernel: int,
    stride: int,
    dilation: int,
    channels: int,
    groups: int,
    pad_h: int,
    pad_w: int,
) -> None:
    image = torch.zeros(2, channels * groups, height, width)
    weight = torch.zeros(3 * groups, channels, kernel, kernel)
    shapes: Shapes = {"x": tuple(image.shape), "w": tuple(weight.shape)}
    if min(height + 2 * pad_h, width + 2 * pad_w) < dilation * (kernel - 1) + 1:
        return
    output = functional.conv2d(image, weight, None, stride, (pad_h, pad_w), dilation, groups)
    conv = Convolution("n", "x", "w", "y", (stride,) * 2, (pad_h, pad_w) * 2, (dilation,) * 2, groups)
    check_shapes(conv, (shapes | {"y": tuple(output.shape)}).__getitem__)
    if max(pad_h, pad_w) <= kernel // 2:
        for ceil_mode in (False, True):
            pooled = functional.max_pool2d(image, kernel, stride, (pad_h, pad_w), dilation, ceil_mode)
            pool = Pool(
                "n", "max", "x", "y", (kernel,) * 2, (stride,) * 2, (pad_h, pad_w) * 2, (dilation,) * 2
            )
            check_shapes(pool, (shapes | {"y": tuple(pooled.shape)}).__getitem__)


shape_lists = st.lists(st.integers(1, 3), max_size=4).map(tuple)


@given(shape_lists, shape_lists)
def test_broadcasting_is_numpys(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    node = Binary("n", "add", "x", "z", "y")
    try:
        output = np.broadcast_shapes(left, right)
    except ValueError:
        with pytest.raises(FormatError, match="broadcasts"):
            check_shapes(node, {"x": left, "z": right, "y": left}.__getitem__)
        return
    check_shapes(node, {"x": left, "z": right, "y": output}.__getitem__)
