"""A worker of a fake engine: ``FAKE_ENGINE`` says, step by step, how it misbehaves."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MODULES = ("numpy",)
loads: list[str] = []
FAULTS = set(os.environ.get("FAKE_ENGINE", "").split())
if "absent" in FAULTS:
    MODULES = ("there_is_no_such_engine",)
if "broken" in FAULTS:
    raise RuntimeError("its shared library is not there")


def prepare(source: str, folder: str, batch: int, threads: int) -> str:
    print("a banner on stdout that is no answer")
    os.write(1, b"and one from below Python\n")
    path = Path(folder) / "fake.bin"
    path.write_bytes(b"x" * (10 * batch + threads))
    if "refuses" in FAULTS:
        raise ValueError(f"cannot read {Path(source).name}")
    return str(path)


def configurations(threads: int) -> list[str]:
    return ["only"] if "dies" in FAULTS else [f"threads={threads} slow", "threads=1 quick"]


def load(path: str, inputs: list[Any], configuration: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    assert Path(path).is_file()
    calls = 0
    pause = 0.004 if configuration.endswith("slow") else 0.001
    if "disturbed" in FAULTS and configuration not in loads:
        pause = 0.004 if configuration.endswith("slow") else 0.02
    loads.append(configuration)
    if "late" in FAULTS:
        pause *= 3

    def infer() -> Any:
        nonlocal calls
        calls += 1
        time.sleep(pause)
        if "dies" in FAULTS and calls > 8:
            sys.stderr.write("out of luck\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        return [np.maximum(array, 0) for array in inputs]

    def outputs(results: Any) -> Any:
        if "wrong" in FAULTS:
            return [result * np.float32(1.01) for result in results]
        if "nan" in FAULTS:
            return [result * np.float32("nan") for result in results]
        if "flat" in FAULTS:
            return [result.ravel() for result in results]
        return results

    return infer, outputs
