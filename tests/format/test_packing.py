from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import UnsupportedModelError
from secateur.format.layouts import (
    Array,
    Bitmask,
    Dense,
    Gap8,
    Index16,
    LayoutKind,
    Order,
    PackedWeight,
    ValueType,
    arrays,
    matrix_shape,
)
from secateur.format.packing import (
    Counts,
    count,
    entropy_bound,
    layout_bytes,
    pack,
    smallest,
    unpack,
    unpack_values,
)
from secateur.format.validation import validate_layout
from secateur.format.values import round_values, to_float32
from tests.format.samples import LAYOUTS, ORDERS, VALUE_TYPES, bits, dtype_of, matrices, same_numbers, sparse


@pytest.mark.parametrize("value_type", VALUE_TYPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS)
@given(matrix=matrices())
def test_every_layout_gives_back_what_it_was_given(
    layout: LayoutKind, order: Order, value_type: ValueType, matrix: Array
) -> None:
    values = round_values(matrix, value_type).values
    weight = pack(values, order=order, layout=layout)
    assert (weight.kind, weight.value_type, weight.order) == (layout, value_type, order)
    assert (weight.lines, weight.length) == matrix_shape(values.shape, order)
    validate_layout("w", weight)
    assert same_numbers(unpack_values(weight), values)
    assert same_numbers(unpack(weight), to_float32(values))


@given(matrices(), st.sampled_from(VALUE_TYPES), st.sampled_from(ORDERS))
def test_counted_bytes_are_the_bytes_and_the_smallest_is_taken(
    matrix: Array, value_type: ValueType, order: Order
) -> None:
    values = round_values(matrix, value_type).values
    sizes = {layout: pack(values, order=order, layout=layout).nbytes for layout in LAYOUTS}
    chosen = pack(values, order=order)
    assert chosen.nbytes == min(sizes.values())
    # Of equal ones the first.
    assert chosen.kind == next(layout for layout in LAYOUTS if sizes[layout] == chosen.nbytes)
    counts = count(values if order == "rows" else values.T)
    assert layout_bytes(counts, chosen.kind) == chosen.nbytes
    for layout in ("dense", "bitmask", "index16"):
        assert layout_bytes(counts, layout) == sizes[layout]


@given(matrices())
def test_a_layout_has_no_choices_left(matrix: Array) -> None:
    for layout in ("bitmask", "gap8", "index16"):
        weight = pack(matrix, layout=layout)
        again = pack(unpack(weight), layout=layout)
        for one, two in zip(arrays(weight.layout).values(), arrays(again.layout).values(), strict=True):
            assert (bits(one) == bits(two)).all()


@pytest.mark.parametrize(
    ("gap", "gaps"),
    [
        (0, [0]),
        (254, [254]),
        (255, [255]),
        (256, [255, 0]),
        (257, [255, 1]),
        (511, [255, 255]),
        (512, [255, 255, 0]),
        (1000, [255, 255, 255, 232]),
    ],
)
def test_gaps_around_their_limits(gap: int, gaps: list[int]) -> None:
    line = np.zeros((2, gap + 1), np.float32)
    line[1, gap] = 7.0
    weight = pack(line, layout="gap8")
    assert isinstance(weight.layout, Gap8)
    assert weight.layout.gaps.tolist() == gaps
    assert weight.layout.values.tolist() == [0.0] * (len(gaps) - 1) + [7.0]
    assert weight.layout.starts.tolist() == [0, 0, len(gaps)]
    assert (unpack(weight) == line).all()


def test_the_arrays_of_each_layout() -> None:
    values = np.array([[0, 5, 0, 0, 0, 0, 0, 0, 0, 6], [0] * 10], np.float32)
    match pack(values, layout="bitmask").layout:
        case Bitmask(mask=mask, values=living):
            assert mask.tolist() == [[0b10, 0b10], [0, 0]]
            assert living.tolist() == [5, 6]
    match pack(values, layout="index16").layout:
        case Index16(starts=starts, positions=positions, values=living):
            assert (starts.tolist(), positions.tolist(), living.tolist()) == ([0, 2, 2], [1, 9], [5, 6])
    match pack(values, layout="index16", order="columns").layout:
        case Index16(starts=starts, positions=positions):
            assert starts.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2]
            assert positions.tolist() == [0, 0]
    dtypes = {
        suffix: array.dtype
        for layout in LAYOUTS
        for suffix, array in arrays(pack(values, layout=layout).layout).items()
    }
    assert dtypes == {
        "": "f4",
        ":values": "f4",
        ":mask": "u1",
        ":gaps": "u1",
        ":positions": "u2",
        ":starts": "u4",
    }


def test_a_convolution_is_a_matrix_of_its_outputs() -> None:
    values = sparse((6, 3, 5, 5), 0.2, 0)
    weight = pack(values)
    assert (weight.lines, weight.length, weight.shape) == (6, 75, (6, 3, 5, 5))
    np.testing.assert_array_equal(unpack(weight), values)
    bias = pack(np.ones(4, np.float32))
    assert (bias.lines, bias.length) == (4, 1)


def test_blocks_are_joined_in_order() -> None:
    # More than one block of lines, in both orders, with lines whose gaps need fillers.
    values = sparse((2500, 3000), 0.002, 0)
    for order in ORDERS:
        for layout in LAYOUTS:
            weight = pack(values, layout=layout, order=order)
            validate_layout("w", weight)
            np.testing.assert_array_equal(unpack(weight), values)


def test_what_a_layout_cannot_hold_is_refused() -> None:
    wide = np.zeros((1, 65537), np.float32)
    with pytest.raises(ValueError, match="lines of 65536 at most, not 65537"):
        pack(wide, layout="index16")
    wide[0, -1] = 1.0
    assert pack(wide).kind == "gap8"
    np.testing.assert_array_equal(unpack(pack(wide)), wide)
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\) has no columns: expected two dimensions"):
        pack(np.zeros((2, 2, 2), np.float32), order="columns")
    with pytest.raises(ValueError, match="expected one dimension at least"):
        pack(np.zeros((), np.float32))


def test_longest_lines_of_16_bit_positions() -> None:
    values = np.zeros((1, 65536), np.float32)
    values[0, -1] = 1.0
    weight = pack(values)
    assert weight.kind == "index16"
    validate_layout("w", weight)
    np.testing.assert_array_equal(unpack(weight), values)


def test_gaps_and_positions_end_where_32_bits_do() -> None:
    counts = Counts(lines=2**16, length=2**16, nonzeros=2**32 - 1, fillers=1, value_bytes=4)
    assert layout_bytes(counts, "gap8") is None
    assert layout_bytes(counts, "index16") is not None
    assert smallest(counts) == "dense"


def test_rounding_then_packing_drops_what_vanished() -> None:
    values = np.array([[1e-9, 2.0, 0.0, -1e-9]], np.float32)
    weight = pack(round_values(values, "float16").values, layout="index16")
    assert weight.entries == 1
    assert unpack(weight).tolist() == [[0, 2, 0, 0]]
    with pytest.raises(UnsupportedModelError):
        round_values(values * np.float32(1e6), "float16")


@given(st.integers(0, 5000), st.data())
def test_the_entropy_bound_counts_at_most_a_bit_a_position_and_is_symmetric(
    size: int, data: st.DataObject
) -> None:
    nonzeros = data.draw(st.integers(0, size))
    bound = entropy_bound(size, nonzeros, 4)
    assert 4 * nonzeros <= bound <= 4 * nonzeros + size / 8
    assert bound == pytest.approx(
        4 * nonzeros + entropy_bound(size, size - nonzeros, 4) - 4 * (size - nonzeros)
    )


def test_packed_weights_say_what_they_are() -> None:
    weight = PackedWeight((2, 3), "rows", Dense(np.zeros((2, 3), dtype_of("float16"))))
    assert (weight.value_type, weight.entries, weight.nbytes) == ("float16", 6, 12)
