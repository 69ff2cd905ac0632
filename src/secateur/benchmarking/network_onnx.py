"""The built-in networks as ONNX files with native LRN nodes.

``torch.onnx.export`` takes local response normalisation apart into eleven nodes that no engine puts together
again, and writes a newer operator set than DeepSparse reads. Peers shall not lose time by the exporter, so
these four plain chains of layers are written down directly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from secateur.errors import UnsupportedModelError

# The newest pair that every peer reads.
_OPSET, _IR_VERSION = 13, 8


def write_chain(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Write a network whose layers run one after the other in the order they were registered.

    Args:
        model: The network, in evaluation mode.
        input_shape: Batch, then the shape of one input.
        path: Where the file shall be.

    Raises:
        UnsupportedModelError: A layer is of a class that is not among those of the built-in networks.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "tiny.onnx"
        >>> write_chain(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2), file)
        >>> [node.op_type for node in onnx.load(file).graph.node]
        ['Flatten', 'Gemm']
    """
    nodes, constants = [], []
    value = "input"
    for name, layer in model.named_modules():
        if any(True for _ in layer.children()) or isinstance(layer, nn.Dropout):
            continue
        operator, attributes = _operator(name, layer)
        inputs = [value]
        for part, tensor in layer.named_parameters(recurse=False):
            constants.append(_constant(f"{name}.{part}", tensor))
            inputs.append(f"{name}.{part}")
        nodes.append(helper.make_node(operator, inputs, [f"{name}.out"], name=name, **attributes))
        value = f"{name}.out"
    graph = helper.make_graph(
        nodes,
        type(model).__name__,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        constants,
    )
    file = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="secateur",
    )
    onnx.save(onnx.shape_inference.infer_shapes(file, strict_mode=True, data_prop=True), path)


def _constant(name: str, tensor: Tensor) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(tensor.detach().numpy()), name)


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _padding(name: str, padding: str | int | tuple[int, ...]) -> list[int]:
    if isinstance(padding, str):
        raise UnsupportedModelError(
            f"layer {name!r}: padding is {padding!r}; the benchmark writes numbers alone"
        )
    return _pair(padding) * 2


def _operator(name: str, layer: nn.Module) -> tuple[str, dict[str, Any]]:
    match layer:
        case nn.Conv2d():
            return "Conv", {
                "kernel_shape": _pair(layer.kernel_size),
                "strides": _pair(layer.stride),
                "pads": _padding(name, layer.padding),
                "dilations": _pair(layer.dilation),
                "group": layer.groups,
            }
        case nn.Linear():
            return "Gemm", {"transB": 1}
        case nn.ReLU():
            return "Relu", {}
        case nn.Flatten():
            return "Flatten", {"axis": 1}
        case nn.MaxPool2d():
            return "MaxPool", {
                "kernel_shape": _pair(layer.kernel_size),
                "strides": _pair(layer.stride),
                "pads": _padding(name, layer.padding),
                "ceil_mode": int(layer.ceil_mode),
            }
        case nn.LocalResponseNorm():
            return "LRN", {"size": layer.size, "alpha": layer.alpha, "beta": layer.beta, "bias": layer.k}
        case _:
            raise UnsupportedModelError(
                f"layer {name!r} is a {type(layer).__name__}; the benchmark writes Conv2d, Linear, ReLU, "
                "Flatten, MaxPool2d and LocalResponseNorm itself. Export the network with torch.onnx.export "
                "and give the file to `secateur bench`"
            )
