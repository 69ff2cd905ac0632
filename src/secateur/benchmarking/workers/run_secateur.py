"""Secateur: ONNX is compiled into its own file; running needs numpy and the compiled core alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

# The façade imports lazily; importing an engine is no part of loading a file.
MODULES = ("secateur", "secateur.runtime.load")


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    """Compile, with kernels chosen by measuring on this machine."""
    if source.endswith(".secateur"):
        return source
    path = Path(folder) / "program.secateur"
    import_module("secateur").compile(source, batch=batch, threads=threads).save(path)
    return str(path)


def configurations(threads: int) -> list[str]:
    """The threads asked for, as nobody chooses fewer: a step too small to be shared runs on one by itself."""
    return [f"threads={threads}"]


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Open the file, ready for the batch size. What is timed is a user's call: it allocates its results."""
    threads = int(configuration.partition("=")[2])
    program = import_module("secateur").load(path, batch=inputs[0].shape[0], threads=threads)

    def infer() -> Any:
        return program(*inputs)

    return infer, lambda result: list(result) if isinstance(result, tuple) else [result]
