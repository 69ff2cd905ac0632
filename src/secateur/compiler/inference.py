"""What is known of a node before it runs: the shapes of its outputs.

ONNX's own shape inference is asked once for each of a few batch sizes. What comes out equal is fixed, what
comes out in proportion grows with the batch, and so no symbolic arithmetic is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import onnx
from onnx import TypeProto, helper, numpy_helper, shape_inference

from secateur.compiler.operands import Call, Known, Operand, dims_of
from secateur.format.graph import DataType, Dim, Value, resolve

# 1, 2 and 7 tell a size that is fixed from one that is the batch, and both from most of what else models
# compute with shapes (halves, limits, squares): see tests/compiler/test_inference.py. The large ones, both
# prime, see limits beyond 7; the last is the largest prime that float32 still holds exactly, and below the
# 2**31 - 1 that stands for "to the end" in many models.
SYMBOLIC_PROBES = (1, 2, 7, 1009, 16_777_213)
FIXED_PROBES = (1,)

# ONNX infers no shape for the first definition of this one, whose output is shaped like its input.
_SHAPED_LIKE_INPUT = ("GroupNormalization",)
# Until version 22 ONNX counted windows that lie beyond the input where their number is rounded up; torch
# and ONNX Runtime never did, whatever the version.
_COUNTED_ANEW = ("AveragePool", "MaxPool")
# More numbers than this are never sizes or axes, and shape inference need not read them.
_MOST_SIZES = 4096


@final
@dataclass(frozen=True)
class Opsets:
    """The operator sets that a model imports.

    Attributes:
        versions: Domain -> version.
        ir_version: Of the model.
    """

    versions: Mapping[str, int]
    ir_version: int

    def schema(self, node: onnx.NodeProto) -> onnx.defs.OpSchema:
        """The definition of a node's operator."""
        if node.op_type in _COUNTED_ANEW:
            return onnx.defs.get_schema(node.op_type, node.domain)
        return onnx.defs.get_schema(node.op_type, self.versions[node.domain], node.domain)


def inferred(call: Call, node: onnx.NodeProto, opsets: Opsets) -> Call:
    """A call with the shapes of its outputs.

    Args:
        call: The node without outputs.
        node: The same node as ONNX has it.
        opsets: Of the model.

    Returns:
        The call with its outputs.

    Raises:
        UnsupportedModelError: The inputs do not fit together, for one batch size at least, or an output is of
            a type or shape that cannot be.
    """
    found = [types_at(call, node, opsets, probe) for probe in range(len(call.probes))]
    outputs = tuple(_value(call, name, [types.get(name) for types in found]) for name in node.output)
    return replace(call, outputs=outputs)


def types_at(call: Call, node: onnx.NodeProto, opsets: Opsets, probe: int) -> Mapping[str, TypeProto]:
    """The types and shapes of a node's outputs at one batch size.

    Args:
        call: The node; its outputs are not looked at.
        node: The same node as ONNX has it.
        opsets: Of the model.
        probe: Which of the call's batch sizes.

    Returns:
        Output name -> type; what ONNX cannot infer has no shape, or open dimensions.

    Raises:
        UnsupportedModelError: The inputs do not fit together.
    """
    batch = call.probes[probe]
    types: dict[str, TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for name, operand in zip(node.input, call.inputs, strict=True):
        if operand is not None:
            types[name] = _type(operand, probe, batch)
        if isinstance(operand, Known) and operand.at[probe].size <= _MOST_SIZES:
            data[name] = numpy_helper.from_array(np.asarray(operand.at[probe], order="C"), name)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.versions.items()]
    try:
        result: Mapping[str, TypeProto] = shape_inference.infer_node_outputs(
            opsets.schema(node), node, types, data, opset_imports=imports, ir_version=opsets.ir_version
        )
    except onnx.checker.ValidationError as error:
        given = ", ".join(f"{name} {_element(kind)}" for name, kind in types.items())
        raise call.refused(
            f"its inputs ({given}) are of types that do not go together: {error}",
            "weights and inputs of one type; export the model in float32",
        ) from error
    except shape_inference.InferenceError as error:
        shapes = ", ".join(f"{name} {_shape(kind)}" for name, kind in types.items())
        advice = (
            "inputs of shapes that fit together"
            if probe == 0
            else "networks that fit every batch size, or inputs of a fixed size (this model holds a size "
            "that is the batch it was exported with: export it with a dynamic batch)"
        )
        raise call.refused(
            f"its inputs ({shapes}) do not fit at batch size {batch}: {error}", advice
        ) from error
    if call.operator in _SHAPED_LIKE_INPUT:
        return {node.output[0]: types[node.input[0]]}
    return result


def _type(operand: Operand, probe: int, batch: int) -> TypeProto:
    if isinstance(operand, Known):
        array = operand.at[probe]
        return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
    return helper.make_tensor_type_proto(
        helper.np_dtype_to_tensor_dtype(np.dtype(operand.dtype)), resolve(operand.shape, batch)
    )


def _element(kind: TypeProto) -> str:
    return str(onnx.TensorProto.DataType.Name(kind.tensor_type.elem_type)).lower()


def _shape(kind: TypeProto) -> str:
    return "x".join(str(dim.dim_value) for dim in kind.tensor_type.shape.dim) or "scalar"


def data_type(kind: TypeProto) -> DataType | None:
    """The type of a value in the graph, or None where the graph has none for it."""
    if not kind.HasField("tensor_type"):
        return None
    match kind.tensor_type.elem_type:
        case onnx.TensorProto.FLOAT:
            return "float32"
        case onnx.TensorProto.INT64:
            return "int64"
        case _:
            return None


def type_name(kind: TypeProto) -> str:
    """What to call a type in a message."""
    if kind.HasField("tensor_type"):
        return str(onnx.TensorProto.DataType.Name(kind.tensor_type.elem_type)).lower()
    return str(kind.WhichOneof("value") or "unknown").removesuffix("_type")


def _value(call: Call, name: str, types: Sequence[TypeProto | None]) -> Value | None:
    if not name:
        return None
    dims: list[list[int]] = []
    kind: DataType | None = None
    for found in types:
        if found is None or not found.WhichOneof("value"):
            raise call.refused(f"the type of its output {name!r} is not known", "outputs of a known type")
        kind = data_type(found)
        if kind is None:
            raise call.refused(
                f"its output {name!r} is of type {type_name(found)}", "float32 values, and int64 for indices"
            )
        shape = found.tensor_type.shape
        if not found.tensor_type.HasField("shape") or not all(dim.HasField("dim_value") for dim in shape.dim):
            raise call.refused(
                f"the shape of its output {name!r} depends on numbers that are known at run time only",
                "shapes that follow from the inputs' shapes",
            )
        dims.append([dim.dim_value for dim in shape.dim])
    return Value(name, _dims(call, name, dims), kind or "float32")


def _dims(call: Call, name: str, shapes: Sequence[Sequence[int]]) -> tuple[Dim, ...]:
    if len({len(shape) for shape in shapes}) > 1:
        raise call.refused(f"the rank of its output {name!r} depends on the batch", "a fixed rank")
    dims: list[Dim] = []
    for sizes in zip(*shapes, strict=True):
        dim = dims_of(sizes, call.probes)
        if dim is None:
            raise call.refused(
                f"a dimension of its output {name!r} is {_listing(sizes)} at the batch sizes "
                f"{_listing(call.probes)}",
                "dimensions that are fixed or a multiple of the batch",
            )
        if dim == 0:
            raise call.refused(f"its output {name!r} is empty: {shapes[0]}", "outputs that hold numbers")
        dims.append(dim)
    return tuple(dims)


def _listing(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
