"""Writing a compact file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.errors import FormatError
from secateur.format.header import build_header
from secateur.format.metadata import KEY, Metadata, WeightRecord, metadata_text
from secateur.format.model import Model
from secateur.format.stored import restore, store
from secateur.format.structure import validate_structure
from secateur.format.validation import validate_layout
from secateur.storage import ByteSink, write_atomically


def write_model(path: Path, model: Model) -> int:
    """Write a model atomically; equal models give equal bytes.

    Args:
        path: Where the file shall be.
        model: Is held to the rules that `secateur.format.reader.read_model` holds files to: what is written
            can be read.

    Returns:
        Bytes of the file.

    Raises:
        FormatError: The model breaks a rule of the format.
        StorageError: The file system refused.
    """
    try:
        chunks = serialised(model)
    except FormatError as error:
        raise FormatError(f"cannot write {path}: {error}") from error

    def write(file: ByteSink) -> None:
        for chunk in chunks:
            file.write(chunk)

    write_atomically(path, write)
    return sum(memoryview(chunk).nbytes for chunk in chunks)


def serialised(model: Model) -> list[bytes | memoryview]:
    """The bytes of a model's file, one piece after another.

    Args:
        model: As of `write_model`.

    Returns:
        The header and views of the model's arrays: a large network is not in memory twice.

    Raises:
        FormatError: The model breaks a rule of the format.
    """
    stored = store(model.weights, model.tensors)
    records = {
        name: WeightRecord(tuple(weight.shape), weight.order, weight.kind, weight.value_type)
        for name, weight in model.weights.items()
    }
    text = metadata_text(Metadata(model.graph, records, model.choices), model.provenance)
    restore(records, stored)
    validate_structure(model.graph, model.weights, model.tensors)
    for name, weight in model.weights.items():
        validate_layout(name, weight)
    header, order = build_header(stored, {KEY: text})
    return [header, *(stored[name].array.reshape(-1).view(np.uint8).data for name in order)]
