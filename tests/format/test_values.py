from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import UnsupportedModelError
from secateur.format.layouts import ValueType
from secateur.format.values import nonzero, round_values, to_float32
from tests.format.samples import ODD, bits

FLOAT32 = st.integers(0, 2**32 - 1).map(lambda pattern: np.array([pattern], np.uint32).view(np.float32)[0])


@given(FLOAT32)
def test_bfloat16_rounds_as_pytorch_does(number: np.float32) -> None:
    expected = torch.from_numpy(np.array([number])).to(torch.bfloat16).view(torch.uint16).numpy()
    try:
        found = round_values(np.array([number]), "bfloat16").values
    except UnsupportedModelError:
        assert np.isfinite(number)
        assert expected[0] & 0x7FFF == 0x7F80
        return
    if np.isnan(number):
        assert np.isnan(to_float32(found)[0])
        assert np.signbit(to_float32(found)[0]) == np.signbit(number)
    else:
        assert found[0] == expected[0]


@given(FLOAT32)
def test_float16_rounds_as_numpy_does(number: np.float32) -> None:
    with np.errstate(over="ignore"):
        expected = np.array([number]).astype(np.float16)
    try:
        found = round_values(np.array([number]), "float16").values
    except UnsupportedModelError:
        assert np.isfinite(number)
        assert np.isinf(expected[0])
        return
    assert bits(found)[0] == bits(expected)[0]


@pytest.mark.parametrize("value_type", ["float16", "bfloat16"])
@given(pattern=st.integers(0, 2**16 - 1))
def test_what_is_of_the_type_already_stays(value_type: ValueType, pattern: int) -> None:
    numbers = np.array([pattern], np.uint16)
    numbers = numbers.view(np.float16) if value_type == "float16" else numbers
    rounded = round_values(to_float32(numbers), value_type)
    assert rounded.vanished == 0
    if not np.isnan(to_float32(numbers)[0]):
        assert (bits(rounded.values) == bits(numbers)).all()


def test_float32_is_not_copied() -> None:
    numbers = np.array(ODD, np.float32)
    assert round_values(numbers, "float32").values is numbers


def test_non_zeros_that_vanish_are_counted() -> None:
    numbers = np.array([[1e-9, 0.0, -1e-9], [1.0, -0.0, 6e-8]], np.float32)
    rounded = round_values(numbers, "float16")
    assert rounded.vanished == 2
    assert rounded.values.shape == (2, 3)
    assert round_values(numbers, "bfloat16").vanished == 0


def test_a_number_that_would_become_infinite_is_refused() -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=r"fc6\.weight: 65520\.0 is too large for float16 \(at most 65504\); "
        "store this network as bfloat16 or float32",
    ):
        round_values(np.array([1.0, 65520.0], np.float32), "float16", "fc6.weight")
    with pytest.raises(UnsupportedModelError, match="store this network as float32"):
        round_values(np.array([3.4e38], np.float32), "bfloat16")


def test_infinity_and_nan_stay() -> None:
    numbers = np.array([np.inf, -np.inf, np.nan], np.float32)
    for value_type in ("float16", "bfloat16"):
        np.testing.assert_array_equal(to_float32(round_values(numbers, value_type).values), numbers)


def test_large_arrays_are_rounded_throughout() -> None:
    numbers = np.random.default_rng(0).standard_normal((3, 700_001), np.float32)
    np.testing.assert_array_equal(round_values(numbers, "float16").values, numbers.astype(np.float16))


def test_zero_of_either_sign_is_zero_and_nan_is_not() -> None:
    numbers = np.array([0.0, -0.0, np.nan, np.inf, 1e-45], np.float32)
    assert nonzero(numbers).tolist() == [False, False, True, True, True]
    assert nonzero(np.array([0, 0x8000, 0x7FC0, 1], np.uint16)).tolist() == [False, False, True, True]


def test_other_types_have_no_value_type() -> None:
    with pytest.raises(TypeError, match="not float64"):
        to_float32(np.zeros(3))
