"""PyTorch, compiled by Inductor with frozen weights, which packs them for oneDNN."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = ("torch", "torch.export", "torch._inductor.config")


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    """Nothing to prepare: it reads exported programs."""
    del folder, batch, threads
    return source


def configurations(threads: int) -> list[str]:
    """With and without freezing: packed weights are not always the faster ones."""
    return [f"threads={threads} freezing={freezing}" for freezing in ("True", "False")]


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Load the exported program and compile it, which the first inference does."""
    torch = import_module("torch")
    settings = dict(part.split("=") for part in configuration.split())
    torch.set_num_threads(int(settings["threads"]))
    inductor: Any = import_module("torch._inductor.config")
    inductor.freezing = settings["freezing"] == "True"
    module = import_module("torch.export").load(path).module(check_guards=False)
    tensors = [torch.from_numpy(array) for array in inputs]
    # A second configuration must not get the first one's code.
    torch._dynamo.reset()
    compiled = torch.compile(module, dynamic=False)
    infer = torch.inference_mode()(lambda: compiled(*tensors))
    infer()
    return infer, lambda result: [
        each.numpy() for each in (result if isinstance(result, tuple) else (result,))
    ]
