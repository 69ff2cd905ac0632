"""What a scan costs beside evaluating the whole network for every point: ``python -m benchmarks.scan_cost``.

Between the layers of the scan the whole network is evaluated, so that whatever else the machine does slows
both alike; the scan is charged for everything it does (its masks, its start, the way to the next layer), the
naive scan for its evaluations alone. Processor time is what decides: with one thread it leaves out the time
in which others had the processor. The clock's time stands beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from benchmarks.masks_cost import quickly_initialised
from benchmarks.rows import record_head
from secateur.analysis.sensitivity import DENSITIES, LayerSensitivity, ScanObserver, Sensitivity, sensitivity
from secateur.networks import PAPER_NETWORKS
from secateur.pruning.criteria import Density, compute_masks
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.storage import write_json
from secateur.training.evaluation import evaluate
from secateur.training.task import in_chunks

LIMIT = 0.6


@final
@dataclass(frozen=True)
class ScanCost:
    """What was measured.

    Attributes:
        network: Whose layers.
        points: Layers x densities.
        images: On how many images.
        scan_seconds: Processor time of the whole scan.
        evaluation_seconds: Processor time of every evaluation of the whole network in between.
        scan_clock: The same by the clock.
        evaluation_clock: The same by the clock.
        checked: Points that were computed the naive way as well, with the same bits.
    """

    network: str
    points: int
    images: int
    scan_seconds: float
    evaluation_seconds: Sequence[float]
    scan_clock: float
    evaluation_clock: Sequence[float]
    checked: int

    @property
    def ratio(self) -> float:
        """Time of the scan / time of an evaluation for every point, by the median evaluation."""
        return self.scan_seconds / (self.points * statistics.median(self.evaluation_seconds))

    @property
    def ratio_by_clock(self) -> float:
        """The same by the clock."""
        return self.scan_clock / (self.points * statistics.median(self.evaluation_clock))


def measure(name: str, images: int, batch: int, densities: Sequence[float], check: int) -> ScanCost:
    """Scan a network with random weights on random images.

    Args:
        name: A built-in network.
        images: How many.
        batch: Evaluated together.
        densities: Of every layer.
        check: How many points are computed the naive way as well.

    Returns:
        The times.
    """
    model = quickly_initialised(PAPER_NETWORKS[name].factory).eval()
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(images, *PAPER_NETWORKS[name].input_shape, generator=draw)
    labels = torch.randint(10, (images,), generator=draw)
    evaluations: list[float] = []
    by_clock: list[float] = []

    def between(_: LayerSensitivity) -> None:
        began, clock = time.process_time(), time.perf_counter()
        _evaluate(model, inputs, labels, batch)
        evaluations.append(time.process_time() - began)
        by_clock.append(time.perf_counter() - clock)

    _evaluate(model, inputs[:batch], labels[:batch], batch)  # warms up
    began, clock = time.process_time(), time.perf_counter()
    found = sensitivity(
        model, inputs, labels, densities=densities, batch=batch, observer=ScanObserver(on_layer=between)
    )
    seconds = time.process_time() - began - sum(evaluations)
    clocked = time.perf_counter() - clock - sum(by_clock)
    assert all(layer.reused for layer in found.layers)
    checked = _check(model, inputs, labels, batch, found, check)
    points = sum(len(layer.points) for layer in found.layers)
    return ScanCost(name, points, images, seconds, evaluations, clocked, by_clock, checked)


def _evaluate(model: nn.Module, images: Tensor, labels: Tensor, batch: int) -> float:
    # `evaluate` takes a thousand images at a time, so a part of them is one batch.
    losses = [
        evaluate(model, [(part, of)]).loss * len(of)
        for part, of in zip(torch.split(images, batch), torch.split(labels, batch), strict=True)
    ]
    return sum(losses) / len(labels)


def _check(
    model: nn.Module, images: Tensor, labels: Tensor, batch: int, found: Sensitivity, count: int
) -> int:
    """Compute some points the naive way: every layer's turn comes before any layer's second point."""
    wanted = [
        (layer.parameter, point)
        for place in range(max(len(layer.points) for layer in found.layers))
        for layer in reversed(found.layers)
        for point in layer.points[place : place + 1]
    ][:count]
    assert len(images) <= batch or not wanted, "points are compared on one batch"
    weights = select_weights(model)
    for name, point in wanted:
        before = weights[name].detach().clone()
        mask = compute_masks({name: weights[name]}, Density(point.density))[name]
        Masks({name: mask}).apply_({name: weights[name]})
        whole = evaluate(model, in_chunks(images, labels))
        assert (whole.loss, whole.error) == (point.loss, point.error), f"{name} at {point.density}"
        with torch.no_grad():
            weights[name].copy_(before)
    return len(wanted)


def result(cost: ScanCost, command: str, settings: Mapping[str, Any], load: float) -> dict[str, Any]:
    """What is written to the file."""
    return {
        **record_head(settings, command, torch.get_num_threads(), load),
        **asdict(cost),
        "evaluation_seconds_median": statistics.median(cost.evaluation_seconds),
        "ratio": cost.ratio,
        "ratio_by_clock": cost.ratio_by_clock,
        "limit": LIMIT,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", choices=list(PAPER_NETWORKS), default="vgg-16")
    parser.add_argument("--images", type=int, default=8, help="images (8)")
    parser.add_argument("--batch", type=int, default=8, help="images evaluated together (8)")
    parser.add_argument("--check", type=int, default=4, help="points computed the naive way as well (4)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written, if anywhere")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    load = os.getloadavg()[0]
    settings = {key: getattr(given, key) for key in ("network", "images", "batch", "check", "threads")}
    cost = measure(given.network, given.images, given.batch, DENSITIES, given.check)
    print(
        f"{cost.network}: {cost.points} points on {cost.images} images in {cost.scan_seconds:.1f} s, "
        f"{100 * cost.ratio:.1f} % of as many evaluations at "
        f"{statistics.median(cost.evaluation_seconds):.2f} s "
        f"({100 * cost.ratio_by_clock:.1f} % by the clock); {cost.checked} points checked"
    )
    if given.json is not None:
        words = " ".join(f"--{key} {value}" for key, value in settings.items())
        command = f"python -m benchmarks.scan_cost {words} --json benchmarks/results/{given.json.name}"
        write_json(given.json, result(cost, command, settings, load))


if __name__ == "__main__":
    main()
