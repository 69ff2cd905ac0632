"""Small ONNX models, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from secateur.compiler.lower import lower
from secateur.compiler.network import Array, Network
from secateur.compiler.onnxfile import read_model
from secateur.compiler.passes import optimise
from secateur.compiler.reference import run

OPSET = 20
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}

Dims = Sequence[int | str | None]


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, outputs, name=f"{outputs[0]}_node", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Dims],
    outputs: Sequence[str],
    constants: Mapping[str, Any] | None = None,
    opset: int = OPSET,
    types: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info(name, _TYPES[(types or {}).get(name, "float32")], list(shape))
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def onnx_runtime(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def assert_close(found: Array, expected: Array) -> None:
    """Within 64 roundings of the largest number: the interpreter is exact, ONNX Runtime sums in float32."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * np.finfo(np.float32).eps * scale)


def check(proto: onnx.ModelProto, inputs: Mapping[str, Array], *, exact: bool = False) -> Network:
    """Compile, and compare what the plain and the optimised network give with ONNX Runtime."""
    expected = onnx_runtime(proto, inputs)
    plain = lower(read_model(proto))
    optimised = optimise(plain)
    for network in (plain, optimised):
        found = run(network, inputs)
        assert list(found) == [entry.name for entry in proto.graph.output]
        for name, array in expected.items():
            if exact:
                np.testing.assert_array_equal(found[name], array, strict=True)
            else:
                assert_close(found[name], array)
    return optimised


def whole(shape: Sequence[int], seed: int = 0, low: int = -4, high: int = 5) -> Array:
    """Small integers: sums of their products are exact in float32, in whatever order."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def normal(shape: Sequence[int], seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
