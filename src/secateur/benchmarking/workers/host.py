"""One engine in a process of its own: a JSON line on stdin is an order, a JSON line on stdout the answer."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = list[NDArray[Any]]
Loaded = tuple[Callable[[], Any], Callable[[Any], Arrays]]

_TRIAL_SECONDS = 0.15
# Configurations take turns: half a second in which a neighbour has the other core would decide between them.
_TRIALS = 3


def resident_bytes() -> int | None:
    """The memory this process holds now, or None where the system keeps no such account."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) * 1024


def read_arrays(path: str) -> Arrays:
    """The arrays of an npz file in the order they were written."""
    with np.load(path) as archive:
        return [archive[name] for name in archive.files]


def timed(infer: Callable[[], Any], seconds: float, least: int) -> list[int]:
    """Nanoseconds of inferences, one by one until the time is over, but at least so many."""
    clock = time.perf_counter_ns
    times: list[int] = []
    began = clock()
    end = began + int(seconds * 1e9)
    while len(times) < least or began < end:
        infer()
        now = clock()
        times.append(now - began)
        began = now
    return times


class Host:
    """Obeys the orders ``prepare``, ``tune``, ``load``, ``run`` and ``burst`` for one engine."""

    def __init__(self, engine: ModuleType) -> None:
        self._engine = engine
        self._loaded: Loaded | None = None
        # Engines that share an array's memory do not all keep the array alive.
        self._inputs: Arrays = []

    def prepare(self, source: str, folder: str, batch: int, threads: int) -> dict[str, Any]:
        """Make the engine's own file out of the source."""
        return {"path": self._engine.prepare(source, folder, batch, threads)}

    def tune(self, path: str, inputs: str, threads: int) -> dict[str, Any]:
        """Find the fastest of the engine's configurations."""
        names = list(self._engine.configurations(threads))
        if len(names) == 1:
            return {"configuration": names[0]}
        arrays = read_arrays(inputs)
        times: dict[str, int] = {}
        for name in names * _TRIALS:
            infer, _ = self._engine.load(path, arrays, name)
            timed(infer, _TRIAL_SECONDS / 3, 2)
            # The fastest, not the median: what else the machine does can only slow a configuration down.
            least = min(timed(infer, _TRIAL_SECONDS, 3))
            times[name] = min(least, times.get(name, least))
            del infer
        return {"configuration": min(times, key=lambda name: times[name]), "tried": times}

    def load(self, path: str, inputs: str, configuration: str) -> dict[str, Any]:
        """Load a file and run it once; count the time and the memory of both."""
        self._inputs = read_arrays(inputs)
        before = resident_bytes()
        began = time.perf_counter()
        self._loaded = self._engine.load(path, self._inputs, configuration)
        milliseconds = (time.perf_counter() - began) * 1e3
        loaded = resident_bytes()
        self._loaded[0]()
        running = resident_bytes()
        grown = {
            key: None if before is None or now is None else now - before
            for key, now in (("loaded_bytes", loaded), ("running_bytes", running))
        }
        return {"load_ms": milliseconds, **grown}

    def run(self, outputs: str) -> dict[str, Any]:
        """Write the outputs for the inputs given at loading."""
        infer, arrays = self._ready()
        np.savez(outputs, *arrays(infer()))
        return {}

    def burst(self, seconds: float, least: int, discarded: int) -> dict[str, Any]:
        """Time a burst. Its first inferences do not count: others had the caches meanwhile."""
        infer, _ = self._ready()
        for _ in range(discarded):
            infer()
        return {"nanoseconds": timed(infer, seconds, least)}

    def _ready(self) -> Loaded:
        if self._loaded is None:
            raise RuntimeError("nothing is loaded")
        return self._loaded


def open_engine(path: str) -> ModuleType:
    """The module in an engine's file."""
    spec = importlib.util.spec_from_file_location("engine", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def greeting(engine: ModuleType) -> dict[str, Any]:
    """Import what the engine needs and say its versions, or what is absent."""
    for name in engine.MODULES:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            return {"absent": error.name}
    owners = metadata.packages_distributions()
    packages = {owner for name in engine.MODULES for owner in owners.get(name.partition(".")[0], ())}
    return {"versions": {package: metadata.version(package) for package in sorted(packages)}}


def main(engine_file: str) -> None:
    """Answer orders until stdin ends."""
    # Engines print banners on stdout, from native code too: the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    engine = open_engine(engine_file)
    hello = greeting(engine)
    answer(hello)
    if "absent" in hello:
        return
    host = Host(engine)
    orders: dict[str, Callable[..., dict[str, Any]]] = {
        "prepare": host.prepare,
        "tune": host.tune,
        "load": host.load,
        "run": host.run,
        "burst": host.burst,
    }
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer(orders[order.pop("do")](**order))
        except Exception as error:  # noqa: BLE001  # whatever an engine raises is the parent's to report
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main(sys.argv[1])
