"""Dense weights to packed ones and back, and the counting that decides between layouts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never, final

import numpy as np
from numpy.typing import NDArray

from secateur.format.layouts import (
    Array,
    Bitmask,
    Dense,
    Gap8,
    Index16,
    Layout,
    LayoutKind,
    Order,
    PackedWeight,
    matrix_shape,
)
from secateur.format.values import nonzero, to_float32

# Lines are packed in blocks of about this many positions: temporaries stay small beside a large weight.
_BLOCK = 1 << 21
_MAX_ENTRIES = 2**32 - 1


@final
@dataclass(frozen=True)
class Counts:
    """What the size of each layout follows from.

    Attributes:
        lines: Of the matrix.
        length: Positions of a line.
        nonzeros: Values that are not zero.
        fillers: Entries that 8-bit gaps need beside them.
        value_bytes: Of one value.
    """

    lines: int
    length: int
    nonzeros: int
    fillers: int
    value_bytes: int


def pack(values: Array, *, order: Order = "rows", layout: LayoutKind | None = None) -> PackedWeight:
    """Pack a weight.

    Args:
        values: (out, ...) float32, float16, or uint16 (the bits of bfloat16); see `round_values`.
        order: What a line is: ``rows``, or, of a two-dimensional weight, ``columns``.
        layout: Which form; None for the one that takes the fewest bytes.

    Returns:
        The weight in new arrays (a dense one may share the memory of ``values``). Zeros lose their sign,
        except in the dense layout.

    Raises:
        ValueError: The layout cannot hold this weight, or columns were asked of a weight that is not
            two-dimensional.

    Example:
        >>> weight = np.zeros((4, 1000), np.float32)
        >>> weight[1, 600] = 2.5
        >>> packed = pack(weight, layout="gap8")
        >>> packed.layout.gaps, packed.layout.values, packed.layout.starts  # doctest: +ELLIPSIS
        (array([255, 255,  88], dtype=uint8), array([0. , 0. , 2.5], dtype=float32), ...)
        >>> pack(weight).kind, bool((unpack(packed) == weight).all())
        ('index16', True)
    """
    matrix = _matrix(values, order)
    kind = smallest(count(matrix)) if layout is None else layout
    return PackedWeight(values.shape, order, _packed(matrix, kind))


def unpack_values(weight: PackedWeight) -> Array:
    """The dense weight in its value type.

    Args:
        weight: Valid, as `pack` and the reader make them.

    Returns:
        An array of the weight's shape: float32, float16, or uint16 (the bits of bfloat16).
    """
    matrix = _unpacked(weight.layout, weight.lines, weight.length)
    return (matrix if weight.order == "rows" else matrix.T).reshape(weight.shape)


def unpack(weight: PackedWeight) -> NDArray[np.float32]:
    """The dense weight as float32.

    Args:
        weight: Valid, as `pack` and the reader make them.

    Returns:
        An array of the weight's shape.
    """
    return to_float32(unpack_values(weight))


def count(matrix: Array) -> Counts:
    """Count what the sizes of layouts follow from.

    Args:
        matrix: (lines, length), in a value type.

    Returns:
        The counts. Fillers are counted only if gaps could be the smallest layout.
    """
    lines, length = matrix.shape
    nonzeros = sum(int(np.count_nonzero(nonzero(block))) for block in _blocks(matrix))
    counts = Counts(lines, length, nonzeros, 0, matrix.dtype.itemsize)
    if smallest(counts) != "gap8":
        return counts
    fillers = sum(int((_zeros_before(nonzero(block))[1] >> 8).sum()) for block in _blocks(matrix))
    return Counts(lines, length, nonzeros, fillers, matrix.dtype.itemsize)


def layout_bytes(counts: Counts, kind: LayoutKind) -> int | None:
    """Bytes that a layout takes.

    Args:
        counts: Of the weight.
        kind: The layout.

    Returns:
        Bytes; None if the layout cannot hold the weight.

    Example:
        >>> layout_bytes(Counts(lines=10, length=100, nonzeros=50, fillers=0, value_bytes=4), "bitmask")
        330
    """
    entries = counts.nonzeros + counts.fillers
    match kind:
        case "dense":
            return counts.lines * counts.length * counts.value_bytes
        case "bitmask":
            return counts.lines * _mask_bytes(counts.length) + counts.nonzeros * counts.value_bytes
        case "gap8":
            fits = entries <= _MAX_ENTRIES
            return 4 * (counts.lines + 1) + entries * (1 + counts.value_bytes) if fits else None
        case "index16":
            fits = counts.length <= 2**16 and counts.nonzeros <= _MAX_ENTRIES
            return 4 * (counts.lines + 1) + counts.nonzeros * (2 + counts.value_bytes) if fits else None
    assert_never(kind)


def smallest(counts: Counts) -> LayoutKind:
    """The layout of the fewest bytes; of equal ones the first of dense, bitmask, gap8, index16.

    Args:
        counts: Of the weight.

    Returns:
        Its name.
    """
    kinds: tuple[LayoutKind, ...] = ("dense", "bitmask", "gap8", "index16")
    sizes = {kind: size for kind in kinds if (size := layout_bytes(counts, kind)) is not None}
    return min(sizes, key=sizes.__getitem__)


def entropy_bound(positions: int, nonzeros: int, value_bytes: int) -> float:
    """Bytes below which no layout of a random mask can go on average.

    ``positions H(nonzeros / positions) / 8 + nonzeros value_bytes`` with the binary entropy H in bits; values
    are taken as incompressible.

    Args:
        positions: Of the weight.
        nonzeros: Of them.
        value_bytes: Of one value.

    Returns:
        Bytes.

    Example:
        >>> entropy_bound(800, 400, 4)
        1700.0
    """
    density = nonzeros / positions if positions else 0.0
    bits = 0.0
    if 0 < density < 1:
        bits = -density * math.log2(density) - (1 - density) * math.log2(1 - density)
    return positions * bits / 8 + nonzeros * value_bytes


def _matrix(values: Array, order: Order) -> Array:
    if values.ndim == 0 or (order == "columns" and values.ndim != 2):
        raise ValueError(
            f"a weight of shape {values.shape} has no {order}: expected "
            f"{'two dimensions' if order == 'columns' else 'one dimension at least'}"
        )
    rows = values.reshape(matrix_shape(values.shape, "rows"))
    return rows if order == "rows" else rows.T


def _packed(matrix: Array, kind: LayoutKind) -> Layout:
    match kind:
        case "dense":
            return Dense(np.ascontiguousarray(matrix))
        case "bitmask":
            return _bitmask(matrix)
        case "gap8":
            return _gap8(matrix)
        case "index16":
            return _index16(matrix)
    assert_never(kind)


def _bitmask(matrix: Array) -> Bitmask:
    mask = np.zeros((matrix.shape[0], _mask_bytes(matrix.shape[1])), np.uint8)
    values, first = [_none_of(matrix)], 0
    for block in _blocks(matrix):
        living = nonzero(block)
        mask[first : first + len(block)] = np.packbits(living, axis=1, bitorder="little")
        values.append(block[living])
        first += len(block)
    return Bitmask(mask, np.concatenate(values))


def _gap8(matrix: Array) -> Gap8:
    entries = np.zeros(matrix.shape[0], np.int64)
    gaps, values, first = [np.zeros(0, np.uint8)], [_none_of(matrix)], 0
    for block in _blocks(matrix):
        living = nonzero(block)
        line, zeros = _zeros_before(living)
        fillers = zeros >> 8
        last = np.cumsum(fillers + 1) - 1
        total = int(last[-1]) + 1 if last.size else 0
        gaps.append(np.full(total, 255, np.uint8))
        values.append(np.zeros(total, matrix.dtype))
        gaps[-1][last] = zeros & 255
        values[-1][last] = block[living]
        # As float64 the weights are exact below 2^53.
        per_line = np.bincount(line, weights=fillers + 1, minlength=len(block))
        entries[first : first + len(block)] = per_line
        first += len(block)
    return Gap8(_starts(entries), np.concatenate(gaps), np.concatenate(values))


def _index16(matrix: Array) -> Index16:
    if matrix.shape[1] > 2**16:
        raise ValueError(f"16-bit positions reach lines of 65536 at most, not {matrix.shape[1]}")
    entries = np.zeros(matrix.shape[0], np.int64)
    positions, values, first = [np.zeros(0, np.uint16)], [_none_of(matrix)], 0
    for block in _blocks(matrix):
        living = nonzero(block)
        entries[first : first + len(block)] = np.count_nonzero(living, axis=1)
        first += len(block)
        positions.append((np.flatnonzero(living) % block.shape[1]).astype(np.uint16))
        values.append(block[living])
    return Index16(_starts(entries), np.concatenate(positions), np.concatenate(values))


def _unpacked(layout: Layout, lines: int, length: int) -> Array:
    if isinstance(layout, Dense):
        return layout.values.reshape(lines, length)
    dense = np.zeros((lines, length), layout.values.dtype)
    match layout:
        case Bitmask():
            bits = np.unpackbits(layout.mask, axis=1, count=length, bitorder="little")
            dense[bits.view(np.bool_)] = layout.values
        case Gap8():
            ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(layout.gaps + np.int64(1))])
            lines_before = _line_of_entry(layout.starts)
            positions = ends[1:] - ends[layout.starts[:-1].astype(np.int64)][lines_before] - 1
            dense[lines_before, positions] = layout.values
        case Index16():
            dense[_line_of_entry(layout.starts), layout.positions] = layout.values
        case _:
            assert_never(layout)
    return dense


def _blocks(matrix: Array) -> Iterator[Array]:
    lines, length = matrix.shape
    if length:
        step = max(1, _BLOCK // length)
        for line in range(0, lines, step):
            yield np.ascontiguousarray(matrix[line : line + step])


def _zeros_before(living: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The line of each non-zero and the zeros between it and the one before it in its line."""
    flat = np.flatnonzero(living)
    line = flat // living.shape[1]
    before = np.empty_like(flat)
    before[:1] = -1
    before[1:] = flat[:-1]
    # The first of a line counts from the line's start.
    return line, flat - np.maximum(before, line * living.shape[1] - 1) - 1


def _starts(entries: NDArray[np.int64]) -> NDArray[np.uint32]:
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(entries)])
    if starts[-1] > _MAX_ENTRIES:
        raise ValueError(f"32-bit starts count {_MAX_ENTRIES} entries at most, not {starts[-1]}")
    return starts.astype(np.uint32)


def _line_of_entry(starts: Array) -> NDArray[np.int64]:
    ends = starts.astype(np.int64)
    return np.repeat(np.arange(len(starts) - 1), ends[1:] - ends[:-1])


def _mask_bytes(length: int) -> int:
    return -(-length // 8)


def _none_of(matrix: Array) -> Array:
    return np.zeros(0, matrix.dtype)
