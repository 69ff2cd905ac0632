"""Packed forms of a weight: a closed union of arrays that the kernels read in place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, assert_never, final

import numpy as np
from numpy.typing import NDArray

LayoutKind = Literal["dense", "bitmask", "gap8", "index16"]
Order = Literal["rows", "columns"]
ValueType = Literal["float32", "float16", "bfloat16"]
Array = NDArray[Any]

# NumPy has no bfloat16: its numbers are held as their bits.
VALUE_DTYPES: dict[ValueType, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
}


@final
@dataclass(frozen=True, eq=False)
class Dense:
    """Every position.

    Attributes:
        values: (lines, length), one of `VALUE_DTYPES`.
    """

    values: Array


@final
@dataclass(frozen=True, eq=False)
class Bitmask:
    """A bit for every position and the values where it is set.

    Attributes:
        mask: (lines, ceil(length / 8)) uint8; bit i of byte b is position 8 b + i; bits beyond the length
            are 0.
        values: One for each set bit, line after line.
    """

    mask: Array
    values: Array


@final
@dataclass(frozen=True, eq=False)
class Gap8:
    """Non-zeros, each with the number of zeros between it and the entry before it.

    A gap of 256 zeros or more is bridged by fillers: entries of gap 255 and value +0, each of which moves on
    by 256 positions. A line never ends with a filler.

    Attributes:
        starts: (lines + 1,) uint32; line l has the entries from starts[l] to starts[l + 1].
        gaps: (entries,) uint8.
        values: (entries,).
    """

    starts: Array
    gaps: Array
    values: Array


@final
@dataclass(frozen=True, eq=False)
class Index16:
    """Non-zeros, each with its position in its line.

    Attributes:
        starts: (lines + 1,) uint32; line l has the entries from starts[l] to starts[l + 1].
        positions: (entries,) uint16, ascending within a line.
        values: (entries,).
    """

    starts: Array
    positions: Array
    values: Array


Layout = Dense | Bitmask | Gap8 | Index16


@final
@dataclass(frozen=True, eq=False)
class PackedWeight:
    """A weight as the file holds it.

    Attributes:
        shape: Of the weight, (out, ...).
        order: What a line is: ``rows`` (one output) or, of two-dimensional weights, ``columns`` (one input).
        layout: The numbers.

    Example:
        >>> values = np.zeros((2, 3), np.float32)
        >>> weight = PackedWeight((2, 3), "rows", Dense(values))
        >>> weight.lines, weight.length, weight.kind, weight.value_type, weight.nbytes
        (2, 3, 'dense', 'float32', 24)
    """

    shape: tuple[int, ...]
    order: Order
    layout: Layout

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return matrix_shape(self.shape, self.order)[0]

    @property
    def length(self) -> int:
        """Positions of a line."""
        return matrix_shape(self.shape, self.order)[1]

    @property
    def kind(self) -> LayoutKind:
        """The name of the layout."""
        match self.layout:
            case Dense():
                return "dense"
            case Bitmask():
                return "bitmask"
            case Gap8():
                return "gap8"
            case Index16():
                return "index16"
        assert_never(self.layout)

    @property
    def value_type(self) -> ValueType:
        """The type of the values."""
        return value_type_of(self.layout.values)

    @property
    def entries(self) -> int:
        """Stored values, fillers included."""
        return int(self.layout.values.size)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays: what the weight takes in the file and in memory."""
        return sum(array.nbytes for array in arrays(self.layout).values())


def matrix_shape(shape: tuple[int, ...], order: Order) -> tuple[int, int]:
    """Lines and length of a weight.

    Args:
        shape: (out, ...), one dimension at least; two for ``columns``.
        order: What a line is.

    Returns:
        Lines, length.

    Example:
        >>> matrix_shape((8, 3, 5, 5), "rows"), matrix_shape((300, 784), "columns")
        ((8, 75), (784, 300))
    """
    out, rest = shape[0], math.prod(shape[1:])
    return (out, rest) if order == "rows" else (rest, out)


def value_type_of(values: Array) -> ValueType:
    """The value type that an array holds.

    Args:
        values: float32, float16, or uint16 (the bits of bfloat16).

    Returns:
        Its name.

    Raises:
        TypeError: Another dtype.
    """
    for name, dtype in VALUE_DTYPES.items():
        if values.dtype == dtype:
            return name
    raise TypeError(f"values are float32, float16 or uint16 (bits of bfloat16), not {values.dtype}")


def arrays(layout: Layout) -> dict[str, Array]:
    """The arrays of a layout by the suffix of their name in the file.

    Args:
        layout: Any.

    Returns:
        Arrays; the values come first.
    """
    match layout:
        case Dense():
            return {"": layout.values}
        case Bitmask():
            return {":values": layout.values, ":mask": layout.mask}
        case Gap8():
            return {":values": layout.values, ":gaps": layout.gaps, ":starts": layout.starts}
        case Index16():
            return {":values": layout.values, ":positions": layout.positions, ":starts": layout.starts}
    assert_never(layout)
