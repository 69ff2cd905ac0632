"""Rounding to the value types that a file can hold, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never, final

import numpy as np
from numpy.typing import NDArray

from secateur.errors import UnsupportedModelError
from secateur.format.layouts import VALUE_DTYPES, Array, ValueType, value_type_of

# Temporaries stay in the megabytes however large the weight is.
_BLOCK = 1 << 20


@final
@dataclass(frozen=True, eq=False)
class Rounded:
    """Numbers in a value type.

    Attributes:
        values: float32, float16, or uint16 (the bits of bfloat16); the shape is kept.
        vanished: How many numbers that were not zero are now.
    """

    values: Array
    vanished: int


def round_values(numbers: NDArray[np.float32], value_type: ValueType, where: str = "weight") -> Rounded:
    """Round float32 numbers to the nearest of a value type; of two equally near ones to the even one.

    Args:
        numbers: Any shape. NaN stays NaN and infinity stays infinity.
        value_type: What to round to.
        where: What the numbers are, for the error message.

    Returns:
        The rounded numbers.

    Raises:
        UnsupportedModelError: A finite number is too large for the value type.

    Example:
        >>> rounded = round_values(np.array([1.0, 1e-9, 0.0], np.float32), "float16")
        >>> rounded.values, rounded.vanished
        (array([1., 0., 0.], dtype=float16), 1)
    """
    source = np.ascontiguousarray(numbers, dtype=np.float32)
    if value_type == "float32":
        return Rounded(source, 0)
    result = np.empty(source.shape, VALUE_DTYPES[value_type])
    vanished = 0
    for block, out in _blocks(source, result):
        with np.errstate(over="ignore", under="ignore"):
            out[:] = block.astype(np.float16) if value_type == "float16" else _bfloat16_bits(block)
        infinite = _is_infinite(out) & np.isfinite(block)
        if infinite.any():
            raise UnsupportedModelError(
                f"{where}: {block[infinite][0]!s} is too large for {value_type} (at most "
                f"{_LARGEST[value_type]}); store this network as "
                f"{'bfloat16 or float32' if value_type == 'float16' else 'float32'}"
            )
        vanished += int(np.count_nonzero(block) - np.count_nonzero(nonzero(out)))
    return Rounded(result, vanished)


def to_float32(values: Array) -> NDArray[np.float32]:
    """The numbers of a value type as float32, exactly.

    Args:
        values: float32, float16, or uint16 (the bits of bfloat16).

    Returns:
        float32 of the same shape; the same array if it is float32 already.

    Example:
        >>> to_float32(np.array([0x3F80, 0xC000], np.uint16))
        array([ 1., -2.], dtype=float32)
    """
    value_type = value_type_of(values)
    match value_type:
        case "float32":
            return values
        case "float16":
            return values.astype(np.float32)
        case "bfloat16":
            return (values.astype(np.uint32) << 16).view(np.float32)
    assert_never(value_type)


def nonzero(values: Array) -> NDArray[np.bool_]:
    """Where numbers are not zero: -0 is zero, NaN is not.

    Args:
        values: float32, float16, or uint16 (the bits of bfloat16).

    Returns:
        Booleans of the same shape.
    """
    if values.dtype.itemsize == 2:
        # NumPy compares float16 one by one, but integers by the vector: twenty times faster (Zen 3).
        values = values.view(np.uint16) & np.uint16(0x7FFF)
    return np.not_equal(values, 0)


_LARGEST: dict[ValueType, str] = {"float32": "3.4028e38", "float16": "65504", "bfloat16": "3.3895e38"}


def _blocks(source: NDArray[np.float32], result: Array) -> Iterator[tuple[NDArray[np.float32], Array]]:
    flat, out = source.reshape(-1), result.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        yield flat[start : start + _BLOCK], out[start : start + _BLOCK]


def _bfloat16_bits(numbers: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = numbers.view(np.uint32)
    # Half of the last kept place, one less where that place is even: ties go to the even neighbour.
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    # The addition could carry a NaN's bits into infinity or past it: keep its head and set its quiet bit.
    return np.where(np.isnan(numbers), (bits >> 16).astype(np.uint16) | np.uint16(0x40), rounded)


def _is_infinite(values: Array) -> NDArray[np.bool_]:
    sizes = values & np.uint16(0x7FFF) if values.dtype == np.uint16 else np.abs(values)
    largest: NDArray[np.bool_] = sizes == (0x7F80 if values.dtype == np.uint16 else np.inf)
    return largest
