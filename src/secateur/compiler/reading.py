"""The way into the compiler: a model becomes an optimised network."""

from __future__ import annotations

from pathlib import Path

import onnx

from secateur.compiler.lower import lower
from secateur.compiler.network import Network
from secateur.compiler.onnxfile import read_model
from secateur.compiler.passes import optimise


def load_network(source: str | Path | onnx.ModelProto) -> Network:
    """Translate an ONNX model to a network: constants folded, layers fused.

    Args:
        source: A file, beside which its external data lies, or the model itself, which is not changed.

    Returns:
        The network. An open first dimension of the inputs is the batch; a fixed one stays fixed.

    Raises:
        DataError: The file is missing or damaged, or the model is not valid.
        UnsupportedModelError: The model uses what cannot be translated; the message names the node.
    """
    return optimise(lower(read_model(source)))
