"""Every step without weights against NumPy: exactly where float32 is exact, else within a derived bound."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur import _native
from tests.native.programs import (
    EPSILON,
    INPUT,
    NO_ACTIVATION,
    NONE,
    OUTPUT,
    Floats,
    integers,
    normal,
    run,
)

ISAS = _native.isas()
SECOND = (2, 1)
isas = pytest.mark.parametrize("isa", ISAS)


@isas
@pytest.mark.parametrize("kind", ["add", "subtract", "multiply", "divide", "power", "minimum", "maximum"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 5, 7), (3, 5, 7)),
        ((2, 4, 9, 9), (1, 4, 1, 1)),
        ((4, 1), (1, 37)),
        ((), (3, 19)),
        ((3, 19), ()),
        ((5, 1, 3), (4, 1)),
        ((1, 1), (1,)),
        ((0, 4), (1, 4)),
        ((70000,), (70000,)),
    ],
)
def test_binary(isa: str, kind: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = np.abs(integers(left, 1)) + 1, integers(right, 2) / 2 + 0.25
    expected = getattr(np, kind)(a, b)
    shape = expected.shape

    def build(program: _native.Program) -> None:
        program.binary(kind, INPUT, SECOND, OUTPUT, left, right, shape, NO_ACTIVATION)

    found = run(build, [a, b.astype(np.float32)], shape, isa, threads=2)
    if kind == "power":  # the C library's own, one unit in the last place at most
        np.testing.assert_allclose(found, expected, rtol=2 * EPSILON)
    else:
        np.testing.assert_array_equal(found, expected)


@isas
def test_a_binary_step_has_its_activation(isa: str) -> None:
    a, b = integers((3, 50), 1), integers((50,), 2)

    def build(program: _native.Program) -> None:
        program.binary("add", INPUT, SECOND, OUTPUT, (3, 50), (50,), (3, 50), (1, 0.0, 0.0))

    np.testing.assert_array_equal(run(build, [a, b], (3, 50), isa), np.maximum(a + b, 0))


@isas
def test_squares_and_missing_numbers(isa: str) -> None:
    a = np.array([1.5, -3.0, np.nan, np.inf, -0.0], dtype=np.float32)
    two = np.array([2.0], dtype=np.float32)

    def power(program: _native.Program) -> None:
        program.binary("power", INPUT, SECOND, OUTPUT, (5,), (1,), (5,), NO_ACTIVATION)

    def smaller(program: _native.Program) -> None:
        program.binary("minimum", SECOND, INPUT, OUTPUT, (1,), (5,), (5,), NO_ACTIVATION)

    np.testing.assert_array_equal(run(power, [a, two], (5,), isa), a * a)
    np.testing.assert_array_equal(run(smaller, [a, two], (5,), isa), np.minimum(two, a))


def windows(out: int, kernel: int, stride: int, pad: int, dilation: int) -> list[list[int]]:
    return [[o * stride - pad + k * dilation for k in range(kernel)] for o in range(out)]


def pooled(x: Floats, kind: str, p: dict[str, tuple[int, int]], out: tuple[int, int], count: bool) -> Floats:
    """By the definition, window by window."""
    height, width = x.shape[2:]
    result = np.empty((*x.shape[:2], *out), dtype=np.float32)
    rows = windows(out[0], p["kernel"][0], p["strides"][0], p["pads"][0], p["dilations"][0])
    columns = windows(out[1], p["kernel"][1], p["strides"][1], p["pads"][1], p["dilations"][1])
    for (i, ys), (j, xs) in itertools.product(enumerate(rows), enumerate(columns)):
        inside = [(y, z) for y, z in itertools.product(ys, xs) if 0 <= y < height and 0 <= z < width]
        numbers = np.stack([x[:, :, y, z] for y, z in inside])
        if kind == "max":
            result[:, :, i, j] = numbers.max(0)
            continue
        padded = [
            (y, z)
            for y, z in itertools.product(ys, xs)
            if y < height + p["pads_end"][0] and z < width + p["pads_end"][1]
        ]
        result[:, :, i, j] = numbers.sum(0) / np.float32(len(padded) if count else len(inside))
    return result


POOLS = [
    {"kernel": (2, 2), "strides": (2, 2)},
    {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1), "pads_end": (1, 1)},
    {"kernel": (3, 2), "strides": (1, 3), "pads": (1, 0), "pads_end": (0, 1)},
    {"kernel": (3, 3), "strides": (2, 2), "dilations": (2, 2), "pads": (2, 2), "pads_end": (2, 2)},
    {"kernel": (1, 5), "strides": (1, 2), "pads": (0, 2), "pads_end": (0, 2)},
    {"kernel": (1, 40), "strides": (1, 3), "pads": (0, 30), "pads_end": (0, 35)},
    {"kernel": (2, 30), "strides": (1, 4), "pads": (0, 50), "pads_end": (0, 50), "dilations": (1, 3)},
]


@isas
@pytest.mark.parametrize("kind", ["max", "average", "average, padding counted"])
@pytest.mark.parametrize("settings_", POOLS)
@pytest.mark.parametrize("size", [(13, 41), (8, 7), (5, 70)])
@pytest.mark.parametrize("ceil", [False, True])
def test_pool(
    isa: str, kind: str, settings_: dict[str, tuple[int, int]], size: tuple[int, int], ceil: bool
) -> None:
    p = {"pads": (0, 0), "pads_end": (0, 0), "dilations": (1, 1), **settings_}
    out = []
    for d in range(2):
        free = size[d] + p["pads"][d] + p["pads_end"][d] - (p["kernel"][d] - 1) * p["dilations"][d] - 1
        windows_ = (math.ceil if ceil else math.floor)(free / p["strides"][d]) + 1
        if (windows_ - 1) * p["strides"][d] >= size[d] + p["pads"][d]:
            windows_ -= 1
        out.append(windows_)
    x = integers((2, 3, *size))
    count = kind.endswith("counted")
    name = kind.split(",", maxsplit=1)[0]

    def build(program: _native.Program) -> None:
        program.pool(
            name,
            INPUT,
            OUTPUT,
            2,
            3,
            *size,
            *out,
            p["kernel"],
            p["strides"],
            p["pads"],
            p["dilations"],
            count,
            p["pads_end"],
        )

    shape = (out[0], out[1])
    expected = pooled(x, name, p, shape, count)
    np.testing.assert_array_equal(run(build, [x], expected.shape, isa), expected)


@isas
@pytest.mark.parametrize("kind", ["max", "average", "average, padding counted"])
def test_a_kernel_that_is_mostly_padding_takes_no_time(isa: str, kind: str) -> None:
    x, kernel, pad = integers((1, 2, 4, 6)), 1 << 29, 1 << 28
    count = kind.endswith("counted")

    def build(program: _native.Program) -> None:
        program.pool(
            kind.partition(",")[0],
            INPUT,
            OUTPUT,
            1,
            2,
            4,
            6,
            1,
            1,
            (kernel, kernel),
            (1, 1),
            (pad, pad),
            (1, 1),
            count,
            (pad, pad),
        )

    found = run(build, [x], (1, 2, 1, 1), isa)
    expected = x.max(axis=(2, 3), keepdims=True)
    if kind != "max":
        expected = x.sum(axis=(2, 3), keepdims=True) / np.float32(float(kernel) ** 2 if count else 24)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@isas
def test_pooling_in_many_items(isa: str) -> None:
    x = integers((2, 32, 55, 55))

    def build(program: _native.Program) -> None:
        program.pool(
            "max", INPUT, OUTPUT, 2, 32, 55, 55, 27, 27, (3, 3), (2, 2), (0, 0), (1, 1), False, (0, 0)
        )

    expected = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max(
        axis=(4, 5)
    )
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(run(build, [x], (2, 32, 27, 27), isa, threads), expected)


@isas
@pytest.mark.parametrize("shape", [(5, 10, 1), (3, 1, 1), (2, 33, 1), (2, 5, 7), (2, 3, 300), (64, 1000, 1)])
def test_softmax(isa: str, shape: tuple[int, int, int]) -> None:
    x = normal(shape) * 10
    wide = x.astype(np.float64)
    e = np.exp(wide - wide.max(axis=1, keepdims=True))
    expected = e / e.sum(axis=1, keepdims=True)

    def build(program: _native.Program) -> None:
        program.softmax(INPUT, OUTPUT, *shape)

    # The rounding of the subtraction is multiplied by its size; a sum of n numbers has n roundings.
    spread = float((wide.max(axis=1) - wide.min(axis=1)).max())
    np.testing.assert_allclose(
        run(build, [x], shape, isa, threads=2), expected, rtol=(spread + shape[1] + 8) * EPSILON, atol=1e-37
    )


@isas
@pytest.mark.parametrize(("outer", "size"), [(3, 1), (4, 7), (2, 64), (100, 300)])
@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm(isa: str, outer: int, size: int, affine: bool) -> None:
    x, scale, bias = normal((outer, size)) + 3, normal((size,), 1), normal((size,), 2)

    def build(program: _native.Program) -> None:
        program.layer_norm(
            INPUT, OUTPUT, SECOND if affine else NONE, (2, 2) if affine else NONE, outer, size, 1e-5
        )

    wide = x.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    expected = centred / deviation
    # The mean is off by a few roundings of the largest number, the variance by its square and n roundings.
    bound = (size / 4 + 16) * EPSILON * (np.abs(wide).max() / deviation + np.abs(expected))
    if affine:
        expected, bound = expected * scale + bias, bound * np.abs(scale) + EPSILON * np.abs(bias)
    found = run(build, [x, scale, bias], (outer, size), isa, threads=2)
    assert (np.abs(found - expected) <= bound + EPSILON).all()


@isas
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("beta", [0.75, 0.5])
def test_local_response_norm(isa: str, size: int, beta: float) -> None:
    x = normal((2, 7, 13 * 17)) * 3
    wide = x.astype(np.float64)
    expected = np.empty_like(wide)
    for c in range(7):
        window = wide[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1]
        expected[:, c] = wide[:, c] / (2.0 + 0.3 / size * (window**2).sum(1)) ** beta

    def build(program: _native.Program) -> None:
        program.local_response_norm(INPUT, OUTPUT, 2, 7, 13 * 17, size, 0.3, beta, 2.0)

    found = run(build, [x], x.shape, isa, threads=2)
    np.testing.assert_allclose(found, expected, rtol=(size + 8) * EPSILON)


@isas
def test_concat_and_copy(isa: str) -> None:
    a, b, c = integers((3, 2, 50)), integers((3, 1, 50), 1), integers((3, 900, 50), 2)

    def concat(program: _native.Program) -> None:
        program.concat([INPUT, SECOND, (2, 2)], [100, 50, 45000], OUTPUT, 3)

    expected = np.concatenate([a, b, c], axis=1)
    for threads in (1, 2):
        np.testing.assert_array_equal(run(concat, [a, b, c], expected.shape, isa, threads), expected)
    np.testing.assert_array_equal(run(lambda p: p.copy(INPUT, OUTPUT, c.size), [c], c.shape, isa, 2), c)


@st.composite
def slices(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int], list[int], tuple[int, ...]]:
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)))
    starts, steps, out = [], [], []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        step = draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
        most = (start // -step if step < 0 else (size - 1 - start) // step) + 1
        starts.append(start)
        steps.append(step)
        out.append(draw(st.integers(1, most)))
    return shape, starts, steps, tuple(out)


@settings(max_examples=60, deadline=None)
@given(slices(), st.sampled_from(ISAS))
def test_slice(case: tuple[tuple[int, ...], list[int], list[int], tuple[int, ...]], isa: str) -> None:
    shape, starts, steps, out = case
    x = integers(shape)
    places = [[s + t * i for i in range(n)] for s, t, n in zip(starts, steps, out, strict=True)]
    found = run(lambda p: p.slice(INPUT, OUTPUT, shape, starts, steps, out), [x], out, isa)
    np.testing.assert_array_equal(found, x[np.ix_(*places)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 21), min_size=1, max_size=5), st.randoms(), st.sampled_from([1, 2]))
def test_transpose(shape: list[int], random: object, threads: int) -> None:
    while math.prod(shape) > 100_000:
        shape = shape[1:]
    permutation = list(range(len(shape)))
    random.shuffle(permutation)  # type: ignore[attr-defined]
    x = integers(shape)
    expected = x.transpose(permutation)
    found = run(
        lambda p: p.transpose(INPUT, OUTPUT, shape, permutation), [x], expected.shape, ISAS[-1], threads
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("before", "after"),
    [((3,), (2, 3)), ((1, 5), (4, 5)), ((4, 1), (3, 4, 70)), ((2, 1, 3, 1), (2, 5, 3, 9))],
)
def test_expand(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    x = integers(before)
    found = run(lambda p: p.expand(INPUT, OUTPUT, before, after), [x], after, ISAS[-1])
    np.testing.assert_array_equal(found, np.broadcast_to(x, after))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=4),
    st.sampled_from(["constant", "reflect", "edge"]),
)
def test_pad(dimensions: list[tuple[int, int, int]], mode: str) -> None:
    shape = [size for size, _, _ in dimensions]
    widths = [(before, after) for _, before, after in dimensions]
    x = integers(shape)
    extra = {"constant_values": 3.5} if mode == "constant" else {}
    expected = np.pad(x, widths, mode=mode, **extra)  # type: ignore[call-overload]
    before = [b for b, _ in widths]
    found = run(
        lambda p: p.pad(INPUT, OUTPUT, shape, before, expected.shape, mode, 3.5),
        [x],
        expected.shape,
        ISAS[-1],
    )
    np.testing.assert_array_equal(found, expected)


@isas
@pytest.mark.parametrize("kind", ["mean", "sum", "max"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((3, 4, 5), (0,)),
        ((3, 4, 5), (1,)),
        ((3, 4, 5), (2,)),
        ((3, 4, 5), (0, 2)),
        ((2, 3, 4, 5, 6), (1, 3)),
        ((2, 3, 4, 5, 6), (0, 2, 4)),
        ((7, 64, 49), (2,)),
        ((40, 3000), (0,)),
        ((3, 4), (0, 1)),
        ((3, 1, 2), (1,)),
        ((300, 700), (1,)),
    ],
)
def test_reduce(isa: str, kind: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = integers(shape)
    expected = getattr(np, kind)(x.astype(np.float64), axis=axes).astype(np.float32)
    found = run(lambda p: p.reduce(kind, INPUT, OUTPUT, shape, axes), [x], (expected.size,), isa, threads=2)
    np.testing.assert_array_equal(found, expected.ravel())


@isas
def test_a_missing_number_is_the_largest(isa: str) -> None:
    x = integers((3, 50))
    x[0, 49], x[1, 3] = np.nan, np.nan
    rows = run(lambda p: p.reduce("max", INPUT, OUTPUT, (3, 50), (1,)), [x], (3,), isa)
    columns = run(lambda p: p.reduce("max", INPUT, OUTPUT, (3, 50), (0,)), [x], (50,), isa)
    np.testing.assert_array_equal(rows, x.max(1))
    np.testing.assert_array_equal(columns, x.max(0))


@pytest.mark.parametrize(("outer", "size", "inner"), [(1, 7, 1), (3, 5, 1), (2, 6, 9), (1, 500, 200)])
def test_gather(outer: int, size: int, inner: int) -> None:
    x = integers((outer, size, inner))
    indices = np.random.default_rng(1).integers(-size, size, 400)

    def build(program: _native.Program) -> None:
        index = program.constant(indices)
        program.gather(INPUT, (4, index), OUTPUT, outer, size, inner, 400)

    expected = np.take(x, indices, axis=1)
    np.testing.assert_array_equal(run(build, [x], expected.shape, ISAS[-1], 2), expected)


def test_an_index_out_of_range_gives_no_number() -> None:
    indices = np.array([0, 3, -4, 2**62], dtype=np.int64)
    x = np.ones((3, 2), dtype=np.float32)

    def build(program: _native.Program) -> None:
        index = program.constant(indices)
        program.gather(INPUT, (4, index), OUTPUT, 1, 3, 2, 4)

    found = run(build, [x], (4, 2), ISAS[-1])
    np.testing.assert_array_equal(np.isnan(found).all(1), [False, True, True, True])


@isas
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 1), (1, 1)),
        ((5, 3), (3, 17)),
        ((13, 600), (600, 33)),
        ((2, 3, 7, 8), (2, 3, 8, 9)),
        ((4, 5, 6), (6, 7)),
        ((5, 6), (4, 6, 7)),
        ((2, 1, 100, 20), (3, 20, 40)),
        ((200, 64), (64, 200)),
    ],
)
def test_matmul(isa: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = integers(left, 1), integers(right, 2)
    expected = a @ b
    found = run(
        lambda p: p.matmul(INPUT, SECOND, OUTPUT, left, right, expected.shape), [a, b], expected.shape, isa, 2
    )
    np.testing.assert_array_equal(found, expected)
