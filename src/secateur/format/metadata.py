"""What the metadata of a compact file says, and the versions of the format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from secateur.errors import FormatError
from secateur.format.codec import decode, encode
from secateur.format.graph import Graph
from secateur.format.header import NOT_OURS, describe, from_json, to_json
from secateur.format.layouts import LayoutKind, Order, ValueType
from secateur.format.model import KernelChoice

KEY = "secateur"
VERSION = 1


@final
@dataclass(frozen=True)
class WeightRecord:
    """How a weight is stored.

    Attributes:
        shape: Of the weight.
        order: What a line is.
        layout: The form.
        values: Their type.
    """

    shape: tuple[int, ...]
    order: Order
    layout: LayoutKind
    values: ValueType


@final
@dataclass(frozen=True)
class Metadata:
    """The JSON text of a compact file, without its version and provenance.

    Attributes:
        graph: What is computed.
        weights: How each is stored.
        choices: The kernels that were fastest.
    """

    graph: Graph
    weights: Mapping[str, WeightRecord]
    choices: tuple[KernelChoice, ...] = ()

    def __post_init__(self) -> None:
        for index, choice in enumerate(self.choices):
            if min(choice.batch, choice.threads) < 1:
                raise FormatError(
                    f"choices[{index}]: expected a batch and threads from 1 on, found {choice.batch} and "
                    f"{choice.threads}"
                )


def metadata_text(metadata: Metadata, provenance: Mapping[str, Any]) -> str:
    """The text of the metadata.

    Args:
        metadata: Of the model.
        provenance: JSON values.

    Returns:
        JSON, the same for equal contents.

    Raises:
        FormatError: Something that JSON cannot hold.
    """
    try:
        text = to_json(
            {"version": VERSION, "provenance": dict(provenance), **encode(metadata, Metadata)},
        )
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"the metadata: expected JSON values, found: {error}") from error
    return text


def parse_metadata(texts: Mapping[str, str]) -> tuple[Metadata, dict[str, Any]]:
    """Read the metadata of a file.

    Args:
        texts: Of the header.

    Returns:
        The metadata; the provenance.

    Raises:
        FormatError: Not a compact file, one of another version, or a damaged one.
    """
    if texts.keys() != {KEY}:
        raise FormatError(
            f"__metadata__: expected the key {KEY!r} alone, found {describe(sorted(texts))}; {NOT_OURS}"
        )
    fields = from_json(texts[KEY].encode(), "the metadata")
    if not isinstance(fields, dict):
        raise FormatError(f"the metadata: expected an object, found {describe(fields)}; {NOT_OURS}")
    version = fields.pop("version", None)
    if type(version) is not int or version < 1:
        raise FormatError(
            f"version: expected a format version from 1 on, found {describe(version)}; {NOT_OURS}"
        )
    if version > VERSION:
        raise FormatError(
            f"version: expected format version {VERSION} at most, found {version}: a newer Secateur wrote "
            "this file; upgrade this one"
        )
    provenance = fields.pop("provenance", None)
    if not isinstance(provenance, dict):
        raise FormatError(f"provenance: expected an object, found {describe(provenance)}; {NOT_OURS}")
    return decode(fields, Metadata, "metadata"), provenance
