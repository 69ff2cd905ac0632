"""DeepSparse: one stream, the given number of cores, input checks left out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = ("deepsparse",)


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    """Nothing to prepare: it reads ONNX."""
    del folder, batch, threads
    return source


def configurations(threads: int) -> list[str]:
    """All cores, or one."""
    return [f"cores={count}" for count in dict.fromkeys((threads, 1))]


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Compile the network."""
    deepsparse = import_module("deepsparse")
    engine = deepsparse.Engine(
        model=path,
        batch_size=inputs[0].shape[0],
        num_cores=int(configuration.partition("=")[2]),
        num_streams=1,
    )
    return (lambda: engine.run(inputs, val_inp=False)), list
