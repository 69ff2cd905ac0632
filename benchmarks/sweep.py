"""Single layers over densities, beside the best dense engine: ``python -m benchmarks.sweep --json OUT``.

The layers are the networks' own. The dense engines do not care how many weights are zero: each is measured
once a layer, in the same interleaved run as Secateur at every density. Where Secateur stops being the faster
one is the layer's break-even; "never slower than dense" means that there is none.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from secateur.benchmarking.contest import Entrant, Timing, check, enter, race
from secateur.benchmarking.engines import SECATEUR, Engine, chosen_engines, parse_pythons
from secateur.benchmarking.machine import machine_record
from secateur.benchmarking.network_onnx import write_chain
from secateur.benchmarking.reference import reference_outputs
from secateur.benchmarking.result import Row
from secateur.benchmarking.statistics import median, ratios
from secateur.benchmarking.works import Work, normal_inputs
from secateur.errors import ConfigurationError
from secateur.pruning.criteria import Density
from secateur.pruning.pruner import Pruner
from secateur.storage import write_json

DENSITIES = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.60, 0.80, 1.00)
DENSE = ("onnxruntime", "openvino", "mnn")


@final
@dataclass(frozen=True)
class Layer:
    """A layer of one of the networks, with the ReLU behind it.

    Attributes:
        make: Builds it.
        input_shape: Of one input.
        batches: Batch sizes.
    """

    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    batches: tuple[int, ...] = (1,)


def _conv(inputs: int, outputs: int, size: int, kernel: int = 3, groups: int = 1) -> Layer:
    return Layer(
        lambda: nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups), (inputs, size, size)
    )


def _unpadded(inputs: int, outputs: int, size: int, kernel: int, stride: int = 1) -> Layer:
    return Layer(lambda: nn.Conv2d(inputs, outputs, kernel, stride), (inputs, size, size))


def _linear(inputs: int, outputs: int) -> Layer:
    return Layer(lambda: nn.Linear(inputs, outputs), (inputs,), (1, 16))


# Every shape of the paper's four networks. VGG-16's conv3_3, conv4_3, conv5_1 and conv5_3 have the shape of
# the layer beside them, its fc7 and fc8 those of AlexNet's fc2 and fc3.
LAYERS = {
    "vgg16.conv1_1": _conv(3, 64, 224),
    "vgg16.conv1_2": _conv(64, 64, 224),
    "vgg16.conv2_1": _conv(64, 128, 112),
    "vgg16.conv2_2": _conv(128, 128, 112),
    "vgg16.conv3_1": _conv(128, 256, 56),
    "vgg16.conv3_2": _conv(256, 256, 56),
    "vgg16.conv4_1": _conv(256, 512, 28),
    "vgg16.conv4_2": _conv(512, 512, 28),
    "vgg16.conv5_2": _conv(512, 512, 14),
    "vgg16.fc6": _linear(25088, 4096),
    "alexnet.conv1": _unpadded(3, 96, 227, 11, 4),
    "alexnet.conv2": _conv(96, 256, 27, 5, 2),
    "alexnet.conv3": _conv(256, 384, 13),
    "alexnet.conv4": _conv(384, 384, 13, 3, 2),
    "alexnet.conv5": _conv(384, 256, 13, 3, 2),
    "alexnet.fc1": _linear(9216, 4096),
    "alexnet.fc2": _linear(4096, 4096),
    "alexnet.fc3": _linear(4096, 1000),
    "lenet-5.conv1": _unpadded(1, 20, 28, 5),
    "lenet-5.conv2": _unpadded(20, 50, 12, 5),
    "lenet-5.fc1": _linear(800, 500),
    "lenet-5.fc2": _linear(500, 10),
    "lenet-300-100.fc1": _linear(784, 300),
    "lenet-300-100.fc2": _linear(300, 100),
    "lenet-300-100.fc3": _linear(100, 10),
}


def layer_work(name: str, batch: int, density: float, folder: Path) -> Work:
    """A layer with random weights cut by magnitude, as an ONNX file."""
    layer = LAYERS[name]
    torch.manual_seed(0)
    model = nn.Sequential(layer.make(), nn.ReLU()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
        pruner = Pruner(model)
        pruner.prune(Density(density))
        pruner.finalize()
        (weight,) = (each for each in model.parameters() if each.dim() > 1)
        weight.mul_(math.sqrt(2 * weight.shape[0]) / weight.norm())
    path = folder / f"{name}-b{batch}-d{density}.onnx"
    shape = (batch, *layer.input_shape)
    write_chain(model, shape, path)
    return Work(name, batch, normal_inputs([shape]), {"onnx": path})


def sweep(
    name: str,
    batch: int,
    threads: int,
    densities: Sequence[float],
    secateur: Engine,
    dense: Sequence[Engine],
    timing: Timing,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """One layer: the dense engines, and Secateur at every density, all in one race.

    Returns:
        A row an engine and density, and versions by package. ``speedup`` is the fastest dense engine's time
        over the row's own, round by round. A dense engine that disagrees has a row with its problem, and no
        time.

    Raises:
        ConfigurationError: An engine is absent or fails, or Secateur or every other disagrees: a sweep beside
            half the engines proves nothing.
    """
    plan = [(engine, 1.0) for engine in dense] + [(secateur, density) for density in densities]
    entrants: list[tuple[float, Entrant]] = []
    left_out: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secateur-sweep-")))
        for number, (engine, density) in enumerate(plan):
            place = folder / str(number)
            work = layer_work(name, batch, density, folder)
            _, reference = reference_outputs(work, folder)
            entrant = enter(work, engine, threads, place, stack)
            if isinstance(entrant, Entrant):
                entrant = check(entrant, reference, place, timing.tolerance)
            if isinstance(entrant, Entrant):
                entrants.append((density, entrant))
            elif engine in dense and entrant.agreement is not None:
                left_out.append(entrant)
            else:
                where = f"{name}, batch {batch}, density {density}"
                raise ConfigurationError(f"{where}: {engine.name}: {entrant.problem}")
        if len(left_out) == len(dense):
            raise ConfigurationError(f"{name}, batch {batch}: {left_out[0].problem}, nor does any other")
        samples = race([entrant.worker for _, entrant in entrants], timing, lambda _: None)
    turns: list[list[float]] = []
    for (_, entrant), sample in zip(entrants, samples, strict=True):
        if isinstance(sample, str):
            raise ConfigurationError(f"{name}, batch {batch}: {entrant.row.engine}: {sample}")
        turns.append([turn.median_ms for turn in sample])
    best = min(turns[: len(dense) - len(left_out)], key=lambda each: median(each).value)
    rows = [row.to_json() | {"density": 1.0} for row in left_out]
    for (density, entrant), own in zip(entrants, turns, strict=True):
        row = replace(entrant.row, latency=median(own)).to_json()
        speedup = ratios(best, own)
        row |= {"density": density, "speedup": speedup.value}
        row |= {"speedup_low": speedup.low, "speedup_high": speedup.high}
        rows.append({key: value for key, value in row.items() if not key.startswith("ratio")})
    versions = {key: value for _, entrant in entrants for key, value in entrant.worker.versions.items()}
    return rows, versions


def break_even(points: Sequence[tuple[float, float]]) -> float | None:
    """The density at which the speed-up falls to 1, between the measured ones on logarithmic scales.

    Args:
        points: Density and speed-up.

    Returns:
        The lowest such density, or None if every point is faster.

    Example:
        >>> break_even([(0.1, 4.0), (0.4, 1.0), (1.0, 0.5)])
        0.4
        >>> break_even([(0.1, 4.0), (1.0, 1.1)]) is None
        True
    """
    ordered = sorted(points)
    for number, (density, speedup) in enumerate(ordered):
        if speedup > 1:
            continue
        if number == 0:
            return density
        before, faster = ordered[number - 1]
        share = math.log(faster) / (math.log(faster) - math.log(speedup))
        return round(math.exp(math.log(before) + share * (math.log(density) - math.log(before))), 3)
    return None


def _show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    first = rows[0]
    own = [row for row in rows if row["engine"] == SECATEUR.name]
    timed = [row for row in rows if row not in own and row["median_ms"] is not None]
    dense = ", ".join(f"{row['engine']} {row['median_ms']:.3g} ms" for row in timed)
    limit = break_even([(row["density"], row["speedup"]) for row in own])
    console.print(f"{first['work']}, batch {first['batch']}: {dense}; break-even {limit or 'none'}")
    table = Table(box=box.SIMPLE_HEAD)
    for row in own:
        table.add_column(f"{row['density']:.0%}", justify="right", no_wrap=True)
    table.add_row(*(f"{row['median_ms']:.3g}" for row in own))
    table.add_row(*(f"{row['speedup']:.2f}x" for row in own))
    console.print(table)


def main(words: Sequence[str] | None = None) -> int:
    """Run the sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", default=",".join(LAYERS), help="names, separated by commas")
    parser.add_argument("--densities", type=float, nargs="+", default=list(DENSITIES))
    parser.add_argument("--peers", default=",".join(DENSE), help="dense engines to compare with")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--burst", type=float, default=0.05)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args(words)
    timing = Timing(rounds=arguments.rounds, burst_seconds=arguments.burst, tolerance=1e-3)
    secateur, *peers = chosen_engines(arguments.peers.split(","), parse_pythons(arguments.python))
    # MNN's sparse way is no dense engine.
    dense = [engine for engine in peers if engine.name != "mnn-sparse"]
    machine = machine_record(
        arguments.threads, {"densities": arguments.densities, "rounds": arguments.rounds}
    )
    console = Console()
    rows: list[dict[str, Any]] = []
    for name in arguments.layers.split(","):
        for batch in LAYERS[name].batches:
            found, versions = sweep(
                name, batch, arguments.threads, arguments.densities, secateur, dense, timing
            )
            _show(console, found)
            rows += found
            machine["versions"] |= versions
            write_json(arguments.json, {"machine": machine, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
