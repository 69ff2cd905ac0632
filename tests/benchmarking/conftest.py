from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from secateur.benchmarking.engines import Engine
from secateur.benchmarking.works import Work
from secateur.format.graph import Activation, Batch, Elementwise, Graph, Value
from secateur.format.model import Model
from secateur.format.writer import write_model

FAKE = Path(__file__).with_name("fake_engine.py")


def fake(faults: str = "", name: str = "fake") -> Engine:
    return Engine(name, FAKE, "onnx", "pip install fake", {"FAKE_ENGINE": faults})


def write_relu(path: Path, batch: int | str = 2, dtype: int = TensorProto.FLOAT) -> Path:
    """An ONNX file that computes max(x, 0)."""
    shape = [batch, 3]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)
    return path


def write_compact_relu(path: Path) -> Path:
    """The same as a compact file for any batch size."""
    values = (Value("x", (Batch(), 3)), Value("y", (Batch(), 3)))
    graph = Graph(("x",), ("y",), values, (), (Elementwise("relu", "x", "y", Activation("relu")),))
    write_model(path, Model(graph, {}, {}))
    return path


@pytest.fixture
def relu(tmp_path: Path) -> Work:
    inputs = [np.array([[1, -2, 3], [-4, 5, -6]], np.float32)]
    return Work("relu", 2, inputs, {"onnx": write_relu(tmp_path / "relu.onnx")})
