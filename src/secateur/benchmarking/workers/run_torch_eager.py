"""PyTorch, eager: the exported program's own module."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = ("torch", "torch.export", "torch.utils.mkldnn")


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    """Nothing to prepare: it reads exported programs."""
    del folder, batch, threads
    return source


def configurations(threads: int) -> list[str]:
    """All threads, or one; images in either memory format, which oneDNN treats differently."""
    counts = dict.fromkeys((threads, 1))
    return [f"threads={count} format={form}" for count in counts for form in ("contiguous", "channels_last")]


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Load the exported program."""
    torch = import_module("torch")
    settings = dict(part.split("=") for part in configuration.split())
    torch.set_num_threads(int(settings["threads"]))
    module = import_module("torch.export").load(path).module(check_guards=False)
    tensors = [torch.from_numpy(array) for array in inputs]
    if settings["format"] == "channels_last":
        module = module.to(memory_format=torch.channels_last)
        tensors = [
            tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
            for tensor in tensors
        ]
    infer = torch.inference_mode()(lambda: module(*tensors))
    return infer, lambda result: [
        each.numpy() for each in (result if isinstance(result, tuple) else (result,))
    ]
