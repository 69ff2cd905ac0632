"""The checks in NumPy and in the native core are of one mind: files meet the one, kernels trust the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import FormatError
from secateur.format.layouts import Array, LayoutKind, PackedWeight, ValueType, arrays
from secateur.format.packing import pack
from secateur.format.validation import validate_layout
from secateur.format.values import round_values
from secateur.runtime.weights import bound_weight
from tests.format.samples import VALUE_TYPES, matrices


def accepts(check: object, weight: PackedWeight) -> bool:
    try:
        check("w", weight)  # type: ignore[operator]
    except FormatError:
        return False
    return True


@pytest.mark.parametrize("layout", ["bitmask", "gap8", "index16"])
@settings(max_examples=300)
@given(
    matrix=matrices().filter(lambda matrix: matrix.size > 0),
    value_type=st.sampled_from(VALUE_TYPES),
    changes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**20), st.integers(0, 8)), max_size=2),
)
def test_both_refuse_the_same(
    layout: LayoutKind,
    matrix: Array,
    value_type: ValueType,
    changes: list[tuple[int, int, int]],
) -> None:
    weight = pack(round_values(matrix, value_type).values, layout=layout)
    stored = list(arrays(weight.layout).values())
    for which, place, what in changes:
        array = stored[which % len(stored)]
        if array.size:
            items = array.reshape(-1).view(f"u{array.dtype.itemsize}")
            index, bits = place % items.size, items.dtype.itemsize * 8
            before = int(items[index])
            new = (
                0,
                1,
                255,
                before + 1,
                before - 1,
                2**bits - 1,
                2 ** (bits - 1),
                before ^ 1 << place % bits,
                3,
            )
            items[index] = new[what] % 2**bits
    assert accepts(validate_layout, weight) == accepts(bound_weight, weight)
    if not changes:
        assert accepts(validate_layout, weight)


def test_both_see_what_is_wrong_in_the_last_line() -> None:
    weight = pack(np.eye(9, dtype=np.float32), layout="index16")
    arrays(weight.layout)[":positions"][-1] = 9
    assert not accepts(validate_layout, weight)
    assert not accepts(bound_weight, weight)
