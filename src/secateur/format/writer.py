"""Writing a compact file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.errors import FormatError
from secateur.format.header import StoredTensor, build_header
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
        stored, text = _checked(model)
    except FormatError as error:
        raise FormatError(f"cannot write {path}: {error}") from error
    header, order = build_header(stored, {KEY: text})

    def write(file: ByteSink) -> None:
        file.write(header)
        for name in order:
            # Viewed, not copied: a large network is not in memory twice.
            file.write(stored[name].array.reshape(-1).view(np.uint8).data)

    write_atomically(path, write)
    return len(header) + sum(tensor.array.nbytes for tensor in stored.values())


def _checked(model: Model) -> tuple[dict[str, StoredTensor], str]:
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
    return stored, text
