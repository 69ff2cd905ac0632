"""Packed weights become matrices that the native core has checked and its kernels can read."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, final

from numpy.typing import NDArray

from secateur.errors import FormatError
from secateur.format.layouts import (
    Bitmask,
    Dense,
    Gap8,
    Index16,
    LayoutKind,
    PackedWeight,
    ValueType,
)
from secateur.runtime.kernels import NativeMatrix

# The numbers are the native core's: see native/include/secateur/matrix.h.
_LAYOUTS: dict[LayoutKind, int] = {"dense": 0, "bitmask": 1, "gap8": 2, "index16": 3}
_TYPES: dict[ValueType, int] = {"float32": 0, "float16": 1, "bfloat16": 2}


@final
@dataclass(frozen=True)
class BoundWeight:
    """A packed weight that the native core has checked.

    Attributes:
        shape: Of the weight: (out, in / groups, kernel...) or (out, in).
        matrix: Its lines.
        columns: Whether a line is an input (else an output).
        density: Fraction of it that is not zero.
    """

    shape: tuple[int, ...]
    matrix: NativeMatrix
    columns: bool
    density: float


def bound_weight(name: str, weight: PackedWeight) -> BoundWeight:
    """Check a packed weight and hand it to the native core, which reads it where it is.

    Args:
        name: Of the weight, for the message.
        weight: Perhaps from a file of unknown origin.

    Returns:
        The weight; its arrays are kept alive.

    Raises:
        FormatError: Its numbers are not what the file format allows.
    """
    indices, starts = _indices(weight)
    try:
        matrix = NativeMatrix(
            _LAYOUTS[weight.kind],
            _TYPES[weight.value_type],
            weight.lines,
            weight.length,
            weight.layout.values,
            indices,
            starts,
        )
    except ValueError as error:
        raise FormatError(f"weight {name!r}: {error}") from error
    density = matrix.nonzeros / max(prod(weight.shape), 1)
    return BoundWeight(weight.shape, matrix, weight.order == "columns", density)


def _indices(weight: PackedWeight) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    match weight.layout:
        case Dense():
            return None, None
        case Bitmask(mask=mask):
            return mask, None
        case Gap8(starts=starts, gaps=gaps):
            return gaps, starts
        case Index16(starts=starts, positions=positions):
            return positions, starts
