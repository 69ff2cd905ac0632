"""Compact files taken apart and put together again, well or badly."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.format.header import ALIGNMENT
from secateur.format.model import Model
from secateur.format.reader import parse_model
from secateur.format.writer import write_model


@dataclass
class Parts:
    """A file in pieces that tests may change.

    Attributes:
        header: The JSON of the header, without its metadata.
        metadata: The JSON of the metadata.
        data: All tensors.
    """

    header: dict[str, Any]
    metadata: dict[str, Any]
    data: bytearray

    def joined(self) -> bytes:
        """The file again."""
        text = json.dumps({"__metadata__": {"secateur": json.dumps(self.metadata)}, **self.header})
        return with_header(text.encode(), bytes(self.data))

    def tensor(self, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The bytes of a tensor, to be changed in place."""
        begin, end = self.header[name]["data_offsets"]
        return np.frombuffer(self.data, np.uint8)[begin:end]


def taken_apart(content: bytes) -> Parts:
    """The pieces of a valid file."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    metadata = json.loads(header.pop("__metadata__")["secateur"])
    return Parts(header, metadata, bytearray(content[8 + size :]))


def with_header(text: bytes, data: bytes) -> bytes:
    """A file with a header of any text, padded as it should be."""
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text + data


def written(model: Model, folder: Path) -> bytes:
    """The bytes of a model's file."""
    write_model(folder / "model.secateur", model)
    return (folder / "model.secateur").read_bytes()


def parsed(content: bytes) -> Model:
    """What the reader makes of bytes."""
    return parse_model(np.frombuffer(content, np.uint8))
