"""MNN's session in high precision (float32), over the model that its converter makes with default options."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

MODULES = ("MNN", "_tools")


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    """Convert."""
    del batch, threads
    return convert(source, str(Path(folder) / "mnn.mnn"))


def convert(source: str, path: str, *options: str) -> str:
    """Convert ONNX to MNN.

    The converter's own function, not the ``mnnconvert`` command around it: that one installs packages with
    whatever ``pip`` it finds and sends a report of the conversion to its makers.
    """
    words = ["mnnconvert", "-f", "ONNX", "--modelFile", source, "--MNNModel", path, *options]
    import_module("_tools").mnnconvert(words)
    if not Path(path).is_file():
        raise RuntimeError("the converter wrote no file")
    return path


def configurations(threads: int) -> list[str]:
    """All threads, or one."""
    return [f"threads={count}" for count in dict.fromkeys((threads, 1))]


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Open a session."""
    mnn = import_module("MNN")
    threads = int(configuration.partition("=")[2])
    interpreter = mnn.Interpreter(path)
    session = interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": threads})

    def host_tensor(array: Any) -> Any:
        return mnn.Tensor(array.shape, mnn.Halide_Type_Float, array, mnn.Tensor_DimensionType_Caffe)

    places = list(interpreter.getSessionInputAll(session).values())
    given = [host_tensor(array) for array in inputs]
    results = list(interpreter.getSessionOutputAll(session).values())

    def infer() -> None:
        # The session reuses the memory of its inputs for what comes later: they must be given every time.
        for place, tensor in zip(places, given, strict=True):
            place.copyFrom(tensor)
        interpreter.runSession(session)

    def outputs(_: Any) -> list[Any]:
        hosts = [host_tensor(np.zeros(result.getShape(), np.float32)) for result in results]
        for result, host in zip(results, hosts, strict=True):
            result.copyToHostTensor(host)
        return [
            np.array(host.getNumpyData()).reshape(result.getShape())
            for result, host in zip(results, hosts, strict=True)
        ]

    return infer, outputs
