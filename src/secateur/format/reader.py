"""Reading a compact file: mapped, validated once at the door, trusted after."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

import numpy as np

from secateur.errors import FormatError
from secateur.format.header import parse_header
from secateur.format.layouts import Array, PackedWeight
from secateur.format.metadata import parse_metadata
from secateur.format.model import Model
from secateur.format.stored import restore
from secateur.format.structure import validate_structure
from secateur.format.validation import validate_layout


def read_model(path: Path, validate: Callable[[str, PackedWeight], None] = validate_layout) -> Model:
    """Map a compact file and check everything that a reader relies on.

    The arrays are read-only views into the map, so the file must stay as it is while they are used. Replacing
    it as `secateur.format.writer.write_model` does is safe: the map keeps the old one.

    Args:
        path: Of the file.
        validate: The deep check of the indices of one weight, given its name; see `validate_layout`.

    Returns:
        The model.

    Raises:
        FormatError: The file breaks a rule of the format (docs/format.md) or cannot be read.
    """
    try:
        return parse_model(_map(path), validate)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def parse_model(content: Array, validate: Callable[[str, PackedWeight], None] = validate_layout) -> Model:
    """The same of bytes in memory.

    Args:
        content: uint8, one-dimensional, starting at an address that is a multiple of 8.
        validate: As of `read_model`.

    Returns:
        The model; its arrays share the content's memory.

    Raises:
        FormatError: The bytes break a rule of the format.
    """
    stored, texts = parse_header(content)
    metadata, provenance = parse_metadata(texts)
    weights, tensors = restore(metadata.weights, stored)
    validate_structure(metadata.graph, weights, tensors)
    for name, weight in weights.items():
        validate(name, weight)
    return Model(metadata.graph, weights, tensors, metadata.choices, provenance)


def _map(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            # An empty file cannot be mapped.
            if not file.seek(0, 2):
                return np.zeros(0, np.uint8)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except OSError as error:
        raise FormatError(f"cannot read the file: {error.strerror or error}") from error
