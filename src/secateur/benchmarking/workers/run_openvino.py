"""OpenVINO: latency hint, one stream, float32 arithmetic insisted upon, input tensors set once."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = ("openvino",)


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    """Write OpenVINO's own format, in float32."""
    del batch, threads
    openvino = import_module("openvino")
    path = str(Path(folder) / "openvino.xml")
    openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
    return path


def configurations(threads: int) -> list[str]:
    """All threads, or one; the blocking call, or the asynchronous one, whose Python wrapper does less."""
    counts = dict.fromkeys((threads, 1))
    return [f"threads={count} call={call}" for count in counts for call in ("infer", "start_async")]


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Compile for the processor and set the input tensors."""
    openvino = import_module("openvino")
    settings = dict(part.split("=") for part in configuration.split())
    core = openvino.Core()
    # On machines with bfloat16 or float16 units the plugin would use them of itself.
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": int(settings["threads"]),
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(path), "CPU", properties)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT")
    if precision != openvino.Type.f32:
        raise RuntimeError(f"OpenVINO was asked for float32 and computes in {precision}")
    request = compiled.create_infer_request()
    for index, array in enumerate(inputs):
        request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))

    def infer() -> None:
        request.infer(share_outputs=True)

    def start_and_wait() -> None:
        request.start_async()
        request.wait()

    def outputs(_: Any) -> list[Any]:
        return [request.get_output_tensor(index).data.copy() for index in range(len(compiled.outputs))]

    return {"infer": infer, "start_async": start_and_wait}[settings["call"]], outputs
