"""The way into the compiler: a model, from whichever framework, becomes an optimised network."""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from secateur.compiler.lower import lower
from secateur.compiler.network import Network
from secateur.compiler.onnxfile import read_model
from secateur.compiler.passes import optimise
from secateur.errors import InputError, MissingExtraError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

_FIXED = "export it at one batch size yourself (torch.onnx.export) and compile that file"
# Whose loggers speak while a module is exported.
_EXPORTERS = ("torch", "onnxscript", "onnx_ir")
# torch may take every batch for larger than one; none is larger than the other.
_SMALLEST, _UNREACHED = 2, 2**31 - 1


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


def network_of_module(
    module: nn.Module, example_inputs: Sequence[Any], *, dynamic_batch: bool = True
) -> Network:
    """Translate a torch module to a network, by way of ONNX.

    Args:
        module: The network; its modes, weights and gradients stay as they are.
        example_inputs: What its ``forward`` takes, as tensors or arrays, at least one; any batch size.
        dynamic_batch: Whether the first dimension of every input is the batch and may be of any size; if not,
            every size is that of the examples.

    Returns:
        The network as it is in evaluation mode.

    Raises:
        UnsupportedModelError: torch cannot export the module, or the network cannot be translated.
        InputError: An example is no tensor or array, or the examples' first dimensions differ.
        MissingExtraError: The package ``onnxscript`` is not installed.

    Example:
        >>> import torch
        >>> module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU())
        >>> network = network_of_module(module, [torch.ones(1, 8)])
        >>> [type(node).__name__ for node in network.graph.nodes]
        ['Linear']
    """
    return load_network(onnx_of_module(module, example_inputs, dynamic_batch=dynamic_batch))


def onnx_of_module(
    module: nn.Module, example_inputs: Sequence[Any], *, dynamic_batch: bool = True
) -> onnx.ModelProto:
    """A torch module as an ONNX model.

    Args:
        module: The network; its modes, weights and gradients stay as they are.
        example_inputs: What its ``forward`` takes, as tensors or arrays, at least one; any batch size.
        dynamic_batch: Whether the first dimension of every input is the batch and may be of any size.

    Returns:
        The model as it is in evaluation mode, in memory.

    Raises:
        UnsupportedModelError: torch cannot export the module.
        InputError: An example is no tensor or array, or the examples' first dimensions differ.
        MissingExtraError: The package ``onnxscript`` is not installed.
    """
    import torch  # noqa: PLC0415  # the compiler works where torch is not installed

    from secateur.pruning.modes import evaluating  # noqa: PLC0415  # needs torch

    _check_ready(module, example_inputs)
    if dynamic_batch:
        _check_one_batch(module, example_inputs)
    examples = tuple(_example(torch.as_tensor(given), widen=dynamic_batch) for given in example_inputs)
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} if example.ndim else None for example in examples) if dynamic_batch else None
    try:
        with evaluating(module), torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                dynamic_shapes=shapes and _as_parameters(module, shapes),
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"compiling a torch module needs {error.name!r}, which is not installed: "
            'pip install "secateur[compile]"'
        ) from error
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        advice = (
            f", of which the first dimension is the batch; if it works on one batch size only, {_FIXED}"
            if dynamic_batch
            else ""
        )
        raise UnsupportedModelError(
            f"torch.onnx.export cannot export {type(module).__name__}: {_first_line(error)}; expected a "
            "module without data-dependent control flow that runs on the example inputs, here of shape "
            f"{', '.join(str(tuple(example.shape)) for example in example_inputs)}{advice}"
        ) from error
    assert program is not None  # noqa: S101  # with dynamo, a program is what it returns; narrows for mypy
    model: onnx.ModelProto = program.model_proto
    if dynamic_batch:
        _check_open(module, model)
        _check_unbounded(module, program.exported_program)
    return model


def _check_ready(module: nn.Module, example_inputs: Sequence[Any]) -> None:
    without = [name for name, parameter in module.named_parameters() if parameter.is_meta]
    if without:
        raise UnsupportedModelError(
            f"{type(module).__name__} has no numbers yet: {len(without)} of its parameters are on the device "
            f"'meta', {without[0]!r} the first; load its weights (load_state_dict(..., assign=True)) first"
        )
    for place, example in enumerate(example_inputs):
        if not hasattr(example, "shape"):
            raise InputError(
                "example_inputs: expected a NumPy array or a torch tensor for each of the network's inputs, "
                "with the batch as its first dimension; found "
                f"{type(example).__name__} as number {place + 1}. A list is several inputs: make one of "
                "numbers a tensor"
            )


def _check_one_batch(module: nn.Module, example_inputs: Sequence[Any]) -> None:
    sizes = {
        name: int(example.shape[0])
        for name, example in zip(_input_names(module, len(example_inputs)), example_inputs, strict=True)
        if len(example.shape)
    }
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{name!r} has {size}" for name, size in sizes.items())
        raise InputError(
            f"example_inputs: the first dimension of every input of {type(module).__name__} must be the "
            f"batch, the same for all; input {listing}. Let a mask, a table or a factor without a batch be a "
            "buffer (register_buffer) or be made in forward, and give a state of (layers, batch, features) "
            "as (batch, layers, features), transposed in forward"
        )


def _input_names(module: nn.Module, count: int) -> list[str]:
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}[{place}]" for place in range(count - len(names))]
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    return (names + [str(place + 1) for place in range(len(names), count)])[:count]


def _check_open(module: nn.Module, model: onnx.ModelProto) -> None:
    # torch gives up an open size without a word when the module makes a Python number of it.
    for entry in model.graph.input:
        dims = entry.type.tensor_type.shape.dim
        if dims and dims[0].HasField("dim_value"):
            raise UnsupportedModelError(
                f"torch.onnx.export fixed the batch of {type(module).__name__} (input {entry.name!r}) to "
                f"{dims[0].dim_value}: either this example has no batch as its first dimension (a mask, a "
                "state of (layers, batch, features)), or forward takes the batch size as a number (len(x), "
                "int(x.shape[0]), a number in x.view(...)); expected an example with a batch, and x.shape[0] "
                f"or -1; or {_FIXED}"
            )


def _check_unbounded(module: nn.Module, program: ExportedProgram | None) -> None:
    # What forward asks of the batch size is answered once; torch notes for which sizes that answer holds.
    for node in program.graph.nodes if program is not None else ():
        shape: Any = getattr(node.meta.get("val"), "shape", None) if node.op == "placeholder" else None
        symbol = getattr(getattr(shape[0], "node", None), "expr", None) if shape else None
        found = program.range_constraints.get(symbol) if program is not None else None
        if found is None or (found.lower <= _SMALLEST and found.upper >= _UNREACHED):
            continue
        raise UnsupportedModelError(
            f"torch.onnx.export took {type(module).__name__} for batch sizes from {found.lower} to "
            f"{found.upper} alone: its forward decides by the batch size (an if on x.shape[0], or a table "
            f"with a row for each image); expected a forward that does the same for "
            f"every batch size, or {_FIXED}"
        )


def _example(tensor: Tensor, *, widen: bool) -> Tensor:
    # torch.export takes a size of 1 for a constant.
    return tensor.expand(2, *tensor.shape[1:]) if widen and tensor.ndim and len(tensor) == 1 else tensor


def _as_parameters(module: nn.Module, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    # One entry for each parameter of forward: what ``*inputs`` takes is one tuple.
    for index, parameter in enumerate(inspect.signature(module.forward).parameters.values()):
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = shapes[index:]  # there may be nothing in it, and then no entry
            return (*shapes[:index], rest) if rest else shapes
    return shapes


def _first_line(error: Exception) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    # What torch says about its own future, of packages that it misses and of its ways around what it cannot
    # do is nothing that our users can mend; and where it fails, what it logs (tracebacks) and prints (graphs)
    # is in our own error in one line. What is said on the way to a success is passed on afterwards.
    loggers = [logging.getLogger(name) for name in _EXPORTERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    said = StringIO()
    try:
        with warnings.catch_warnings(), redirect_stderr(said):
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", message=".*axis name: batch will not be used")
            warnings.filterwarnings("ignore", message="The tensor attribute.* assigned during export")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
    sys.stderr.write(said.getvalue())
