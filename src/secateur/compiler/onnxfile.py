"""ONNX files and objects, read and checked for what every later step takes for granted."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it publishes no types
from onnx import inliner
from onnx.external_data_helper import uses_external_data

from secateur.errors import ConfigurationError, DataError, UnsupportedModelError

# Older ones broadcast by rules of their own; newer ones are not known to the operators here.
OLDEST_OPSET = 7
NEWEST_OPSET = 28
DOMAINS = ("", "ai.onnx")
_ADVICE = {
    "bytes": ": read a model's bytes with onnx.load_model_from_string",
    "dict": ": a state_dict holds numbers alone; load it into its module and give that",
    "OrderedDict": ": a state_dict holds numbers alone; load it into its module and give that",
}


def read_model(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """An ONNX model, checked, with its functions inlined and its nodes in an order in which they run.

    Args:
        source: A file, beside which its external data lies, or the model itself, which is not changed.

    Returns:
        The model; all its tensors are in memory.

    Raises:
        DataError: The file is missing or damaged, or the model is not a valid one or not whole.
        ConfigurationError: It is neither a path nor a model.
        UnsupportedModelError: It imports an operator set that is not supported.

    Example:
        >>> read_model("nowhere.onnx")
        Traceback (most recent call last):
            ...
        secateur.errors.DataError: nowhere.onnx: no such file; expected an ONNX model
    """
    where, model = _named(source)
    if not model.HasField("graph") or not model.graph.output:
        raise DataError(f"{where}: not an ONNX model: it holds no graph with outputs; export it again")
    _check_opsets(where, model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    model = _sorted(where, model)
    try:
        onnx.checker.check_model(_skeleton(model))
    except onnx.checker.ValidationError as error:
        raise DataError(f"{where}: not a valid ONNX model: {str(error).strip()}; export it again") from error
    return model


def _named(source: object) -> tuple[str, onnx.ModelProto]:
    match source:
        case onnx.ModelProto():
            away = [tensor.name for tensor in source.graph.initializer if uses_external_data(tensor)]
            if away:
                raise DataError(
                    f"the ONNX model: the numbers of {', '.join(away)} lie in another file, not loaded; "
                    "give the model's path, or load it with onnx.load(path)"
                )
            return "the ONNX model", source
        case str() | Path():
            return str(source), _loaded(Path(source))
        case _:
            raise ConfigurationError(
                f"expected a torch module, the path of an ONNX file or an onnx.ModelProto to compile, found "
                f"{type(source).__name__}" + _ADVICE.get(type(source).__name__, "")
            )


def _loaded(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        what = "a directory" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what}; expected an ONNX model")
    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise DataError(
            f"{path}: not an ONNX model, or a truncated one: its {path.stat().st_size} bytes are no protocol "
            "buffer; copy or export it again"
        ) from error
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            _check_external(path, tensor)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise DataError(f"{path}: its external data cannot be read: {error}") from error
    return model


def _check_external(path: Path, tensor: onnx.TensorProto) -> None:
    where = {entry.key: entry.value for entry in tensor.external_data}
    numbers = {key: where.get(key, "0") for key in ("offset", "length")}
    for key, text in numbers.items():
        if not text.isdecimal():
            raise DataError(
                f"{path}: external data of {tensor.name!r}: expected a number of bytes as {key}, found "
                f"{text!r}; export the model again"
            )
    data = path.parent / where.get("location", "")
    if not data.is_file():
        raise DataError(
            f"{path}: the numbers of {tensor.name!r} lie in {where.get('location')!r}, which is not beside "
            "the "
            "model; copy that file too"
        )
    start, length = int(numbers["offset"]), int(numbers["length"])
    if start + length > data.stat().st_size:
        raise DataError(
            f"{data}: truncated: {tensor.name!r} needs bytes {start} to {start + length}, but the file has "
            f"{data.stat().st_size}; copy or export it again"
        )


def _check_opsets(where: str, model: onnx.ModelProto) -> None:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for domain in DOMAINS:
        version = versions.get(domain)
        if version is not None and not OLDEST_OPSET <= version <= NEWEST_OPSET:
            raise UnsupportedModelError(
                f"{where}: it uses ONNX operator set {version}; supported are {OLDEST_OPSET} to "
                f"{NEWEST_OPSET}; "
                "convert it with onnx.version_converter or export it with another opset_version"
            )


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    # The checker takes the model as bytes: with the weights in it that costs seconds, and fails above 2
    # GB. They become inputs here; their bytes are looked at when they become arrays.
    graph = model.graph
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = graph.name or "graph"
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    for entry in light.graph.output:
        # Exporters leave out the shapes of outputs, which the checker wants and nobody needs.
        if entry.type.HasField("tensor_type"):
            entry.type.tensor_type.shape.SetInParent()
    light.graph.sparse_initializer.extend(graph.sparse_initializer)
    inputs = {entry.name for entry in graph.input}
    for tensor in graph.initializer:
        if tensor.name not in inputs:
            entry = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            light.graph.input.append(entry)
    return light


def _sorted(where: str, model: onnx.ModelProto) -> onnx.ModelProto:
    maker = {name: index for index, node in enumerate(model.graph.node) for name in node.output if name}
    needs = {
        index: [maker[name] for name in node.input if name in maker]
        for index, node in enumerate(model.graph.node)
    }
    if all(before < index for index, befores in needs.items() for before in befores):
        return model
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        names = " -> ".join(_name(model.graph.node[index]) for index in error.args[1])
        raise DataError(
            f"{where}: its nodes form a cycle: {names}; a network must not feed itself"
        ) from error
    nodes = [model.graph.node[index] for index in order]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _name(node: onnx.NodeProto) -> str:
    return repr(node.name or node.output[0])
