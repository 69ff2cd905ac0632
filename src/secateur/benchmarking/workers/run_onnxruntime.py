"""ONNX Runtime: all graph optimisations, sequential execution, inputs and outputs bound once."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = ("onnxruntime",)


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    """Nothing to prepare: it reads ONNX."""
    del folder, batch, threads
    return source


def configurations(threads: int) -> list[str]:
    """All threads, or one: small networks lose more by waking a second than they gain."""
    return [f"threads={count}" for count in dict.fromkeys((threads, 1))]


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Open a session. Bound tensors save a copy and a dictionary at every inference."""
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(configuration.partition("=")[2])
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for argument, array in zip(session.get_inputs(), inputs, strict=True):
        binding.bind_ortvalue_input(argument.name, ort.OrtValue.ortvalue_from_numpy(array))
    for argument in session.get_outputs():
        binding.bind_output(argument.name, "cpu")
    return (lambda: session.run_with_iobinding(binding)), (lambda _: binding.copy_outputs_to_cpu())
