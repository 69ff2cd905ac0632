"""What is measured: one network at one batch size, in the files that engines read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import onnx
from numpy.typing import NDArray

from secateur.benchmarking.engines import Source
from secateur.errors import ConfigurationError
from secateur.format.graph import resolve
from secateur.format.reader import read_model

Arrays = list[NDArray[np.float32]]


@final
@dataclass(frozen=True)
class Work:
    """A network at a batch size.

    Attributes:
        name: As it stands in results.
        batch: Images a call.
        inputs: The input arrays.
        sources: File by kind; engines whose kind is missing are said to be unable to read it.
    """

    name: str
    batch: int
    inputs: Arrays
    sources: dict[Source, Path]


def normal_inputs(shapes: list[tuple[int, ...]], seed: int = 0) -> Arrays:
    """Standard normal numbers: no zeros among them that an engine could skip.

    Args:
        shapes: One an input.
        seed: Of the generator.

    Returns:
        float32 arrays.
    """
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]


def work_from_files(
    path: Path,
    batch: int | None,
    folder: Path,
    *,
    onnx_file: Path | None = None,
    torch_file: Path | None = None,
) -> Work:
    """A work from a network in one or several files.

    Args:
        path: An ONNX file or a ``.secateur`` file.
        batch: The batch size; without it, the file's own, or 1 where that is symbolic.
        folder: Where files in passing go.
        onnx_file: What a ``.secateur`` file was made from: without it the other engines have nothing to read.
        torch_file: The same network as ``torch.export`` saves it, at this batch size.

    Returns:
        The work.

    Raises:
        ConfigurationError: A file is missing or of no kind that is known, or does not fit the batch size.
    """
    if path.is_dir():
        raise ConfigurationError(
            f"{path} is a folder: expected a file; of a run, give what `secateur export {path} -o "
            "FILE.secateur` writes"
        )
    for file in (path, onnx_file, torch_file):
        if file is not None and not file.is_file():
            raise ConfigurationError(
                f"there is no file {file}; give an ONNX file, a .secateur file, or 'paper'"
            )
    sources: dict[Source, Path] = {}
    if torch_file is not None:
        sources["torch"] = torch_file
    if path.suffix == ".secateur":
        sources["secateur"] = path
        if onnx_file is None:
            return Work(path.stem, batch or 1, _inputs_of_program(path, batch or 1), sources)
    elif onnx_file is not None:
        raise ConfigurationError(f"--onnx belongs to a .secateur file, and {path} is none; leave it out")
    work = work_from_onnx(onnx_file or path, batch, folder)
    return replace(work, name=path.stem, sources={**work.sources, **sources})


def work_from_onnx(path: Path, batch: int | None, folder: Path) -> Work:
    """A work from an ONNX file. Every symbolic first dimension becomes the batch size.

    Engines are given a file whose shapes are all known: each of them does better, or only then works at all.

    Args:
        path: The file.
        batch: The batch size; without it, the file's own, or 1 where that is symbolic.
        folder: Where the file with fixed shapes goes.

    Returns:
        The work.

    Raises:
        ConfigurationError: The file is no ONNX file, has inputs that are not float32, another symbolic
            dimension than the first, or a fixed batch size other than the one asked for.
    """
    name = path.stem
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors are of many classes and share no parent
        raise ConfigurationError(f"{path} cannot be read as an ONNX file: {error}") from error
    constants = {constant.name for constant in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    symbols = {
        each.type.tensor_type.shape.dim[0].dim_param
        for each in inputs
        if each.type.tensor_type.shape.dim and each.type.tensor_type.shape.dim[0].dim_param
    }
    size = batch or 1
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = size
    shapes = [_input_shape(path, each, batch) for each in inputs]
    if symbols:
        path = folder / f"{path.stem}-b{size}.onnx"
        onnx.save(model, path)
    return Work(
        name=name,
        batch=shapes[0][0] if shapes and shapes[0] else 1,
        inputs=normal_inputs(shapes),
        sources={"onnx": path},
    )


def _inputs_of_program(path: Path, batch: int) -> Arrays:
    graph = read_model(path).graph
    values = {value.name: value for value in graph.values}
    for name in graph.inputs:
        if values[name].dtype != "float32":
            raise _not_float32(path, name, values[name].dtype)
    return normal_inputs([resolve(values[name].shape, batch) for name in graph.inputs])


def _not_float32(path: Path, name: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: input {name!r} holds {found}; only float32 inputs can be measured, since the benchmark "
        "draws them at random"
    )


def _input_shape(path: Path, value: onnx.ValueInfoProto, batch: int | None) -> tuple[int, ...]:
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise _not_float32(path, value.name, onnx.TensorProto.DataType.Name(tensor.elem_type))
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)
    if any(size < 1 for size in shape):
        raise ConfigurationError(
            f"{path}: input {value.name!r} has dimensions of unknown size beside its first; export the "
            "network with fixed shapes, or with a symbolic batch size alone"
        )
    if batch is not None and shape and shape[0] != batch:
        raise ConfigurationError(
            f"{path}: input {value.name!r} has the batch size {shape[0]} fixed in the file, and --batch asks "
            f"for {batch}; leave --batch out or export the network with a symbolic batch size"
        )
    return shape
