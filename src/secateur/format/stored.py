"""Packed weights and plain tensors as the named arrays of a file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import numpy as np

from secateur.errors import FormatError
from secateur.format.header import DTYPES, StoredTensor, describe, is_shape
from secateur.format.layouts import (
    Array,
    Bitmask,
    Dense,
    Gap8,
    Index16,
    Layout,
    LayoutKind,
    PackedWeight,
    ValueType,
    arrays,
    matrix_shape,
)
from secateur.format.metadata import WeightRecord

_VALUE_NAMES: dict[ValueType, str] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_INDEX_NAMES = {":mask": "U8", ":gaps": "U8", ":positions": "U16", ":starts": "U32"}
_PLAIN_NAMES = ("F32", "I64")
_SUFFIXES: dict[LayoutKind, tuple[str, ...]] = {
    "dense": ("",),
    "bitmask": (":values", ":mask"),
    "gap8": (":values", ":gaps", ":starts"),
    "index16": (":values", ":positions", ":starts"),
}


# What safetensors keeps for itself.
RESERVED = "__metadata__"


def names_of_weight(name: str) -> frozenset[str]:
    """The names that a weight's arrays may have beside its own, whatever its layout.

    Args:
        name: The weight's.

    Returns:
        Names that no other tensor of the file should have.

    Example:
        >>> sorted(names_of_weight("fc"))
        ['fc:gaps', 'fc:mask', 'fc:positions', 'fc:starts', 'fc:values']
    """
    return frozenset(name + suffix for suffixes in _SUFFIXES.values() for suffix in suffixes if suffix)


def store(weights: Mapping[str, PackedWeight], tensors: Mapping[str, Array]) -> dict[str, StoredTensor]:
    """The arrays that go into the file.

    Args:
        weights: By name.
        tensors: By name.

    Returns:
        Arrays by their names in the file.

    Raises:
        FormatError: A type that the format does not have, or two arrays of one name.
    """
    result: dict[str, StoredTensor] = {}

    def add(name: str, dtypes: tuple[str, ...], array: Array) -> None:
        fitting = [dtype for dtype in dtypes if DTYPES[dtype] == array.dtype]
        if not fitting:
            raise FormatError(f"tensor {name!r}: expected {' or '.join(dtypes)}, found {array.dtype}")
        if name in result or not name or name == RESERVED:
            raise FormatError(f"tensor {name!r}: expected a name that nothing else has")
        result[name] = StoredTensor(fitting[0], np.ascontiguousarray(array).reshape(array.shape))

    for name, weight in weights.items():
        for suffix, array in arrays(weight.layout).items():
            index = _INDEX_NAMES.get(suffix)
            add(name + suffix, (index,) if index else tuple(_VALUE_NAMES.values()), array)
    for name, tensor in tensors.items():
        add(name, _PLAIN_NAMES, tensor)
    return result


def restore(
    records: Mapping[str, WeightRecord], stored: Mapping[str, StoredTensor]
) -> tuple[dict[str, PackedWeight], dict[str, Array]]:
    """The weights and tensors that the arrays of a file are.

    Args:
        records: How each weight is stored.
        stored: All arrays of the file.

    Returns:
        Weights and tensors by name, sharing the memory of the arrays. Types and shapes are checked, indices
        not.

    Raises:
        FormatError: An array is missing or has another type or shape than its record says.
    """
    rest = dict(stored)
    weights = {name: _restored(name, record, rest) for name, record in records.items()}
    for name, tensor in rest.items():
        if tensor.dtype not in _PLAIN_NAMES:
            raise FormatError(f"tensor {name!r}: expected {' or '.join(_PLAIN_NAMES)}, found {tensor.dtype}")
    return weights, {name: tensor.array for name, tensor in sorted(rest.items())}


def _restored(name: str, record: WeightRecord, rest: dict[str, StoredTensor]) -> PackedWeight:
    _check_record(name, record)
    found = {}
    for suffix in _SUFFIXES[record.layout]:
        if name + suffix not in rest:
            raise FormatError(
                f"weight {name!r}: expected a tensor {name + suffix!r} for {record.layout}, found none"
            )
        found[suffix] = rest.pop(name + suffix)
        dtype = _INDEX_NAMES.get(suffix, _VALUE_NAMES[record.values])
        if found[suffix].dtype != dtype:
            raise FormatError(f"tensor {name + suffix!r}: expected {dtype}, found {found[suffix].dtype}")
    _check_shapes(name, record, found)
    parts = {suffix: tensor.array for suffix, tensor in found.items()}
    return PackedWeight(record.shape, record.order, _layout(record.layout, parts))


def _layout(kind: LayoutKind, parts: Mapping[str, Array]) -> Layout:
    match kind:
        case "dense":
            return Dense(parts[""])
        case "bitmask":
            return Bitmask(parts[":mask"], parts[":values"])
        case "gap8":
            return Gap8(parts[":starts"], parts[":gaps"], parts[":values"])
        case "index16":
            return Index16(parts[":starts"], parts[":positions"], parts[":values"])
    assert_never(kind)


def _check_record(name: str, record: WeightRecord) -> None:
    shape = record.shape
    if not shape or not is_shape(list(shape)):
        raise FormatError(f"weight {name!r}: expected a shape of one size at least, found {describe(shape)}")
    if record.order == "columns" and len(shape) != 2:
        raise FormatError(f"weight {name!r}: expected two dimensions for columns, found shape {list(shape)}")
    length = matrix_shape(shape, record.order)[1]
    if record.layout == "index16" and length > 2**16:
        raise FormatError(f"weight {name!r}: expected lines of 65536 at most for index16, found {length}")


def _check_shapes(name: str, record: WeightRecord, found: Mapping[str, StoredTensor]) -> None:
    lines, length = matrix_shape(record.shape, record.order)
    entries = found[_SUFFIXES[record.layout][0]].array.size
    expected: dict[str, tuple[int, ...]] = {
        "": (lines, length),
        ":values": (entries,),
        ":mask": (lines, -(-length // 8)),
        ":gaps": (entries,),
        ":positions": (entries,),
        ":starts": (lines + 1,),
    }
    for suffix, tensor in found.items():
        if tensor.array.shape != expected[suffix]:
            raise FormatError(
                f"tensor {name + suffix!r}: expected shape {list(expected[suffix])} for a weight of "
                f"{list(record.shape)} by {record.order}, found {list(tensor.array.shape)}"
            )
