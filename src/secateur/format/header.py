"""The safetensors container: names, types and places of arrays in a file, and nothing of what they mean."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from secateur.errors import FormatError
from secateur.format.layouts import Array

DTYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "U32": np.dtype("<u4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
}
# A cache line and the widest vector: data starts here, and a map starts at a page.
ALIGNMENT = 64
# What safetensors itself refuses to go beyond.
MAX_HEADER = 100_000_000
# Products of these stay far inside 64 bits.
MAX_ELEMENTS = 2**48
# More than any network has; the kernels count with as many.
MAX_DIMENSIONS = 12


@final
@dataclass(frozen=True, eq=False)
class StoredTensor:
    """An array and its type in the file.

    Attributes:
        dtype: A key of `DTYPES`.
        array: Of that type, row-major.
    """

    dtype: str
    array: Array


def build_header(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """The bytes before the data, and the order of the data.

    Args:
        tensors: By name.
        metadata: Texts.

    Returns:
        The header, its length a multiple of `ALIGNMENT`; names in the order in which their arrays follow:
        larger items first, so that each is aligned without gaps, then by name.
    """
    order = sorted(tensors, key=lambda name: (-DTYPES[tensors[name].dtype].itemsize, name))
    fields: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name in order:
        stored = tensors[name]
        end = offset + stored.array.nbytes
        fields[name] = {
            "dtype": stored.dtype,
            "shape": list(stored.array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = to_json(fields).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text, order


def parse_header(content: Array) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Views of all arrays of a file.

    Args:
        content: The bytes of the file.

    Returns:
        Arrays by name, sharing the memory of the content; the texts of the metadata.

    Raises:
        FormatError: A header that is not safetensors', or not as strict as `build_header`'s.
    """
    if content.size < 8:
        raise FormatError(
            f"expected a header of 8 bytes at least, found {content.size} bytes; the file is cut"
        )
    (size,) = struct.unpack("<Q", content[:8].tobytes())
    if size > MAX_HEADER:
        raise FormatError(f"expected a header of at most {MAX_HEADER} bytes, found {size}; {NOT_OURS}")
    if size > content.size - 8:
        raise FormatError(f"expected a header of {size} bytes, found {content.size - 8}; the file is cut")
    if (8 + size) % ALIGNMENT:
        raise FormatError(
            f"expected data at a multiple of {ALIGNMENT} bytes, found it at {8 + size}; "
            "another program has written this file anew: export it again"
        )
    fields = from_json(content[8 : 8 + size].tobytes(), "the header")
    if not isinstance(fields, dict):
        raise FormatError(f"the header: expected an object, found {describe(fields)}; {NOT_OURS}")
    metadata = fields.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FormatError(
            f"__metadata__: expected an object of texts, found {describe(metadata)}; {NOT_OURS}"
        )
    data = content[8 + size :]
    entries = [_entry(name, value) for name, value in fields.items()]
    _check_cover(entries, data.size)
    return {entry.name: entry.view(data) for entry in entries}, metadata


NOT_OURS = "the file is damaged or no compact file of Secateur"


@final
@dataclass(frozen=True)
class _Entry:
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    def view(self, data: Array) -> StoredTensor:
        array = data[self.begin : self.end].view(DTYPES[self.dtype]).reshape(self.shape)
        return StoredTensor(self.dtype, array)


def _entry(name: str, value: object) -> _Entry:
    where = f"tensor {name!r}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(
            f"{where}: expected dtype, shape and data_offsets, found {describe(value)}; {NOT_OURS}"
        )
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FormatError(f"{where}: expected one of the dtypes {', '.join(DTYPES)}, found {describe(dtype)}")
    if not is_shape(shape):
        raise FormatError(f"{where}: expected a shape of sizes, found {describe(shape)}")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FormatError(f"{where}: expected data_offsets [begin, end], found {describe(offsets)}")
    (begin, end), item = offsets, DTYPES[dtype].itemsize
    if end - begin != math.prod(shape) * item:
        raise FormatError(
            f"{where}: expected {math.prod(shape) * item} bytes for {dtype} {shape}, found {end - begin} by "
            "its data_offsets"
        )
    if begin % item:
        raise FormatError(f"{where}: expected data at a multiple of {item} bytes, found it at {begin}")
    return _Entry(name, dtype, tuple(shape), begin, end)


def _check_cover(entries: Sequence[_Entry], size: int) -> None:
    """Every byte belongs to exactly one tensor: no two meanings of a byte, no place to hide anything."""
    at = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != at:
            what = "overlaps the one before it" if entry.begin < at else "leaves a hole before it"
            raise FormatError(
                f"tensor {entry.name!r}: expected data at {at}, found it at {entry.begin}: it {what}; "
                f"{NOT_OURS}"
            )
        at = entry.end
    if at != size:
        state = "the file is cut" if at > size else f"{size - at} bytes belong to nothing; {NOT_OURS}"
        raise FormatError(f"expected {at} bytes of data, found {size}: {state}")


def to_json(value: object) -> str:
    """One text for one value: keys sorted, no spaces.

    Args:
        value: JSON values.

    Returns:
        The text.

    Raises:
        ValueError: A number is NaN or infinite, or a text is not Unicode.
        TypeError: Something that JSON does not have.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_json(text: bytes, where: str) -> Any:
    """Parse JSON strictly.

    Args:
        text: UTF-8.
        where: What it is, for messages.

    Returns:
        The value.

    Raises:
        FormatError: Not UTF-8, not JSON, a key twice in an object, a number that is not finite or does not
            fit, nesting without end, half of a surrogate pair.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_int=_fitting,
            parse_constant=_no_constant,
        )
        if b"\\u" in text:
            # Only an escape can hold half a pair, which can neither be printed nor written again.
            to_json(value).encode("utf-8")
    except RecursionError as error:
        raise FormatError(f"{where}: nested too deeply; {NOT_OURS}") from error
    except ValueError as error:
        raise FormatError(f"{where}: expected JSON in UTF-8, found: {error}; {NOT_OURS}") from error
    return value


def is_shape(value: Any) -> bool:
    """Whether a JSON value is a list of sizes whose product stays far from overflowing."""
    return (
        _are_sizes(value)
        and len(value) <= MAX_DIMENSIONS
        and math.prod(size for size in value if size) <= MAX_ELEMENTS
    )


def _are_sizes(value: Any) -> bool:
    # type(), for True is an int to isinstance.
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def describe(value: object) -> str:
    """A JSON value in a message, cut to what a person reads."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r} twice")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]}, which is not finite")
    return number


def _fitting(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"the number {text[:40]}, which does not fit 64 bits")
    return int(text)


def _no_constant(text: str) -> float:
    raise ValueError(f"the number {text}, which is not finite")
