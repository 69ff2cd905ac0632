"""From the nodes of an ONNX model to a network: what is known is computed, what is not is translated."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from secateur.compiler.builder import Builder
from secateur.compiler.folding import fold, folds
from secateur.compiler.inference import (
    FIXED_PROBES,
    SYMBOLIC_PROBES,
    Opsets,
    data_type,
    inferred,
    type_name,
)
from secateur.compiler.network import Array, Network
from secateur.compiler.onnxfile import DOMAINS
from secateur.compiler.operands import Call, Known, Operand
from secateur.compiler.operators import OPERATORS
from secateur.errors import DataError, UnsupportedModelError
from secateur.format.graph import Batch, Dim, Expand, Value

_SCOPES = "pkg.torch.onnx.name_scopes"


def lower(model: onnx.ModelProto) -> Network:
    """Translate a model that was read.

    Args:
        model: What ``read_model`` gives.

    Returns:
        A network that is not optimised yet.

    Raises:
        UnsupportedModelError: An input, a node or an output cannot be translated.
        DataError: The shape of an input makes no sense.
    """
    graph = model.graph
    initialisers = _initialisers(graph)
    inputs = tuple(_input(entry) for entry in graph.input if entry.name not in initialisers)
    _check_batch(graph)
    symbolic = any(isinstance(dim, Batch) for value in inputs for dim in value.shape)
    probes = SYMBOLIC_PROBES if symbolic else FIXED_PROBES
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opsets = Opsets({**versions, "": versions.get("", versions.get("ai.onnx", 0))}, model.ir_version)

    # An output may be a constant under its own name: what is kept of that goes by another.
    given = [entry.name for entry in (*inputs, *graph.output)]
    build = Builder(given + [name for node in graph.node for name in node.output])
    known = {name: Known((array,) * len(probes), name) for name, array in initialisers.items()}
    environment: dict[str, Operand] = {**known, **{value.name: value for value in inputs}}
    for value in inputs:
        build.value(value)
    for node in _live(graph):
        environment |= _results(node, _call(node, environment, opsets, probes), opsets, build)
    outputs = tuple(entry.name for entry in graph.output)
    for name in outputs:
        _output(name, environment[name], probes, build)
    return build.network(tuple(value.name for value in inputs), outputs)


def _initialisers(graph: onnx.GraphProto) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for tensor in graph.initializer:
        try:
            arrays[tensor.name] = numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"initialiser {tensor.name!r}: its bytes do not fit its shape {tuple(tensor.dims)}: "
                f"{error}; export "
                "the model again"
            ) from error
    for sparse in graph.sparse_initializer:
        arrays[sparse.values.name] = _dense(sparse)
    return arrays


def _dense(sparse: onnx.SparseTensorProto) -> Array:
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    shape = tuple(sparse.dims)
    dense = np.zeros(shape, values.dtype)
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    dense.reshape(-1)[flat] = values
    return dense


def _input(entry: onnx.ValueInfoProto) -> Value:
    kind = data_type(entry.type)
    if kind is None:
        raise UnsupportedModelError(
            f"input {entry.name!r} is of type {type_name(entry.type)}; supported: float32, and int64 for "
            "indices"
        )
    if not entry.type.tensor_type.HasField("shape"):
        raise UnsupportedModelError(
            f"input {entry.name!r} has no shape; supported: a fixed shape, or one of which the first "
            "dimension is "
            "open; give it one with onnx.tools.update_model_dims"
        )
    dims: list[Dim] = []
    for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
        if dim.HasField("dim_value"):
            if dim.dim_value < 1:
                raise DataError(
                    f"input {entry.name!r}: dimension {axis} is {dim.dim_value}; expected at least 1, or a "
                    "name"
                )
            dims.append(dim.dim_value)
        elif axis == 0:
            dims.append(Batch())
        else:
            raise UnsupportedModelError(
                f"input {entry.name!r}: dimension {axis} ({dim.dim_param or 'without a name'}) is open; "
                "supported: "
                "an open first dimension (the batch) alone; fix the others with "
                "onnx.tools.update_model_dims or "
                "when exporting"
            )
    return Value(entry.name, tuple(dims), kind)


def _check_batch(graph: onnx.GraphProto) -> None:
    initialisers = {tensor.name for tensor in graph.initializer}
    names = {
        entry.type.tensor_type.shape.dim[0].dim_param: entry.name
        for entry in graph.input
        if entry.name not in initialisers and entry.type.tensor_type.shape.dim
    }
    names.pop("", None)
    if len(names) > 1:
        listing = ", ".join(f"{dim!r} (input {name!r})" for dim, name in names.items())
        raise UnsupportedModelError(
            f"the first dimensions of the inputs have different names: {listing}; supported: one batch for "
            "all "
            "inputs; give them one name"
        )


def _live(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    needed = {entry.name for entry in graph.output}
    live: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if not needed & set(node.output):
            continue
        wanted = onnx.NodeProto()
        wanted.CopyFrom(node)
        # An output that nobody reads (a mask, a running mean) need not be one that can be computed.
        for index, name in enumerate(node.output):
            if name not in needed:
                wanted.output[index] = ""
        needed |= set(node.input)
        live.append(wanted)
    return live[::-1]


def _call(
    node: onnx.NodeProto, environment: Mapping[str, Operand], opsets: Opsets, probes: tuple[int, ...]
) -> Call:
    name = node.name or node.output[0]
    if node.domain not in DOMAINS:
        raise UnsupportedModelError(
            f"node {name!r}: operator {node.op_type!r} of domain {node.domain!r}; supported: operators of "
            "ONNX itself"
        )
    attributes = {entry.name: entry for entry in node.attribute}
    if any(entry.type in (entry.GRAPH, entry.GRAPHS) for entry in attributes.values()):
        raise UnsupportedModelError(
            f"node {name!r} ({node.op_type}): it holds graphs of its own; supported: networks without "
            "branches and "
            "loops; export the model with the branch decided"
        )
    return Call(
        name,
        node.op_type,
        opsets.schema(node).since_version,
        tuple(environment[name] if name else None for name in node.input),
        (),
        {name: helper.get_attribute_value(entry) for name, entry in attributes.items()},
        probes,
        _module(node),
    )


def _module(node: onnx.NodeProto) -> str | None:
    # torch.onnx.export writes the path to the operator: "['', '0', '0.query', 'linear']". Another program may
    # have other words under the same key: a name is all that is lost.
    written = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
    found = re.fullmatch(r"\[(?:'[^']*', )*'([^']+)', '[^']*'\]", written)
    return found and found[1]


def _results(node: onnx.NodeProto, call: Call, opsets: Opsets, build: Builder) -> dict[str, Operand]:
    if folds(call):
        tensors = fold(call, node, opsets)
        return {name: tensor for name, tensor in zip(node.output, tensors, strict=True) if tensor is not None}
    if call.operator not in OPERATORS:
        raise UnsupportedModelError(
            f"node {call.name!r}: operator {call.operator!r} is not supported; supported: "
            f"{', '.join(sorted(OPERATORS))}, and any operator on constants alone"
        )
    call = inferred(call, node, opsets)
    for value in call.outputs:
        if value is not None:
            build.value(value)
    OPERATORS[call.operator](call, build)
    return {value.name: value for value in call.outputs if value is not None}


def _output(name: str, operand: Operand, probes: tuple[int, ...], build: Builder) -> None:
    if isinstance(operand, Known):
        source = build.name(Call(name, "output", 0, (operand,), (), {}, probes), operand)
        operand = Value(name, build.shape(source), build.data_type(source))
        build.value(operand)
        build.add(Expand(build.node_name(name), source, name))
    if operand.dtype != "float32":
        raise UnsupportedModelError(f"output {name!r} is of type {operand.dtype}; supported: float32")
