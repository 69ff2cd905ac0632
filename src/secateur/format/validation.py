"""The one deep look at packed weights: after it every index is trusted, by the kernels too."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from secateur.errors import FormatError
from secateur.format.layouts import Array, Bitmask, Dense, Gap8, Index16, PackedWeight
from secateur.format.values import nonzero

_SET_BITS = np.array([value.bit_count() for value in range(256)], np.int64)


def validate_layout(name: str, weight: PackedWeight) -> None:
    """Check every index of a weight whose arrays have the right types and shapes.

    Args:
        name: Of the weight.
        weight: To be checked.

    Raises:
        FormatError: An index leads outside, is out of order, or counts something that is not there.

    Example:
        >>> from secateur.format.packing import pack
        >>> packed = pack(np.eye(4, dtype=np.float32), layout="index16")
        >>> packed.layout.positions[2] = 7
        >>> validate_layout("fc", packed)
        Traceback (most recent call last):
        secateur.errors.FormatError: tensor 'fc:positions': expected positions below 4, found 7 in line 2
    """
    match weight.layout:
        case Dense():
            return
        case Bitmask():
            _validate_bitmask(name, weight.layout, weight.length)
        case Gap8():
            _validate_starts(name, weight.layout.starts, weight.entries)
            _validate_gaps(name, weight.layout, weight.length)
        case Index16():
            _validate_starts(name, weight.layout.starts, weight.entries)
            _validate_positions(name, weight.layout, weight.length)
        case _:
            assert_never(weight.layout)


def _validate_bitmask(name: str, layout: Bitmask, length: int) -> None:
    used = length % 8
    if used and (layout.mask[:, -1] >> used).any():
        line = int(np.argmax(layout.mask[:, -1] >> used != 0))
        raise FormatError(
            f"tensor '{name}:mask': expected no bits beyond position {length}, found some in line {line}"
        )
    bits = _count_bits(layout.mask.reshape(-1))
    if bits != layout.values.size:
        raise FormatError(
            f"tensor '{name}:values': expected {bits} values for the bits of the mask, found "
            f"{layout.values.size}"
        )
    _refuse_zero(name, layout.values)


def _validate_starts(name: str, starts: Array, entries: int) -> None:
    where = f"tensor '{name}:starts'"
    if starts[0] != 0:
        raise FormatError(f"{where}: expected 0 at first, found {starts[0]}")
    falls = starts[1:] < starts[:-1]
    if falls.any():
        line = int(np.argmax(falls))
        raise FormatError(
            f"{where}: expected no start below the one before it, found {starts[line + 1]} after "
            f"{starts[line]} in line {line}"
        )
    if starts[-1] != entries:
        raise FormatError(f"{where}: expected {entries} entries in all, found {starts[-1]}")


def _validate_gaps(name: str, layout: Gap8, length: int) -> None:
    starts = layout.starts.astype(np.int64)
    # Positions moved by a line: the sum of its gaps and one for each entry.
    reach = _sums(layout.gaps, starts) + np.diff(starts)
    if (reach > length).any():
        line = int(np.argmax(reach > length))
        raise FormatError(
            f"tensor '{name}:gaps': expected positions below {length}, found {reach[line] - 1} in line {line}"
        )
    zeros = np.flatnonzero(~nonzero(layout.values))
    if not zeros.size:
        return
    wrong = zeros[(layout.gaps[zeros] != 255) | _has_sign(layout.values[zeros])]
    if wrong.size:
        raise FormatError(
            f"tensor '{name}:values': expected zeros only in fillers (gap 255, value +0), found one in entry "
            f"{wrong[0]} of gap {layout.gaps[wrong[0]]}"
        )
    last = starts[1:][np.diff(starts) > 0] - 1
    trailing = np.intersect1d(zeros, last, assume_unique=True)
    if trailing.size:
        raise FormatError(
            f"tensor '{name}:gaps': expected no filler at the end of a line, found entry {trailing[0]}"
        )


def _validate_positions(name: str, layout: Index16, length: int) -> None:
    where = f"tensor '{name}:positions'"
    starts, positions = layout.starts.astype(np.int64), layout.positions
    beyond = positions >= length if length < 2**16 else np.zeros(0, np.bool_)
    if beyond.any():
        entry = int(np.argmax(beyond))
        line = int(np.searchsorted(starts, entry, side="right")) - 1
        raise FormatError(
            f"{where}: expected positions below {length}, found {positions[entry]} in line {line}"
        )
    stays = positions[1:] <= positions[:-1]
    inner = starts[1:-1]
    stays[inner[(inner > 0) & (inner < len(positions))] - 1] = False
    if stays.any():
        entry = int(np.argmax(stays))
        line = int(np.searchsorted(starts, entry, side="right")) - 1
        raise FormatError(
            f"{where}: expected positions in ascending order, found {positions[entry + 1]} after "
            f"{positions[entry]} in line {line}"
        )
    _refuse_zero(name, layout.values)


def _count_bits(mask: Array) -> int:
    # Histograms of the bytes: many times faster than unpacking them. They count in a copy of eight times the
    # size, so one of everything at once would leave the caches.
    step = 1 << 14
    parts = (mask[start : start + step] for start in range(0, mask.size, step))
    return sum(int(np.bincount(part, minlength=256) @ _SET_BITS) for part in parts)


def _sums(gaps: Array, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of the gaps of each line."""
    sums = np.zeros(len(starts) - 1, np.int64)
    filled = np.diff(starts) > 0
    if filled.any():
        sums[filled] = np.add.reduceat(gaps, starts[:-1][filled], dtype=np.int64)
    return sums


def _refuse_zero(name: str, values: Array) -> None:
    living = nonzero(values)
    if not living.all():
        entry = int(np.argmin(living))
        raise FormatError(f"tensor '{name}:values': expected no stored zeros, found one in entry {entry}")


def _has_sign(values: Array) -> NDArray[np.bool_]:
    if values.dtype == np.uint16:
        return values >= 0x8000
    return np.signbit(values)
