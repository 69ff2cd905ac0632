"""Sensitivity: what pruning one layer costs, all others left whole, without retraining (Fig 6)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.analysis.prefix import Rest, Route
from secateur.errors import ConfigurationError, DataError, UnsupportedModelError
from secateur.pruning.layers import Selection, layer_name, select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.modes import evaluating
from secateur.pruning.scores import Score, magnitude
from secateur.pruning.selection import keep_highest, kept_count

DENSITIES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
BATCH = 1000
_MEMORY = 1 << 30  # bytes of activations that are kept at most


@final
@dataclass(frozen=True)
class Point:
    """One layer at one density.

    Attributes:
        kept: How many of the layer's weights live.
        density: kept / weights of the layer, in 0..1.
        loss: Mean cross-entropy, in nats.
        error: The share of wrong images, in per cent.
    """

    kept: int
    density: float
    loss: float
    error: float


@final
@dataclass(frozen=True)
class LayerSensitivity:
    """What pruning one layer costs.

    Attributes:
        layer: Its name.
        parameter: Its weight's name.
        weights: How many weights it has.
        points: From the highest density to the lowest.
        reused: Whether the results of the layers before it were computed once and used for every point.
        note: Why not, if not.
        seconds: How long it took.
    """

    layer: str
    parameter: str
    weights: int
    points: tuple[Point, ...]
    reused: bool
    note: str
    seconds: float


@final
@dataclass(frozen=True)
class Sensitivity:
    """What pruning each layer costs, one at a time.

    Attributes:
        images: On how many images.
        loss: Of the network as it was given, in nats.
        error: The same in per cent.
        layers: In the network's order.
        evaluation_seconds: How long one evaluation of the whole network took.
    """

    images: int
    loss: float
    error: float
    layers: tuple[LayerSensitivity, ...]
    evaluation_seconds: float

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


@final
@dataclass(frozen=True)
class ScanObserver:
    """Who is told how a scan goes on.

    Args:
        on_start: Told once: images, loss, error and the seconds of one evaluation of the whole network.
        on_point: Told after each point: the layer's name.
        on_layer: Told after each layer.
    """

    on_start: Callable[[int, float, float, float], None] | None = None
    on_point: Callable[[str], None] | None = None
    on_layer: Callable[[LayerSensitivity], None] | None = None


def sensitivity(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    densities: Sequence[float] = DENSITIES,
    layers: Selection | None = None,
    exclude: Selection | None = None,
    score: Score = magnitude,
    batch: int = BATCH,
    memory: int = _MEMORY,
    finished: Sequence[LayerSensitivity] = (),
    observer: ScanObserver | None = None,
) -> Sensitivity:
    """Prune one layer at a time to several densities and see what the network makes of labelled images.

    What the layers before the pruned one compute does not depend on how far it is pruned: it is computed once
    and used for every density. A network whose operations torch.fx cannot trace is evaluated whole each time,
    and its layers say so. Both ways give the same bits.

    Args:
        model: The network; it is left as it was.
        images: [n, ...], on which is decided: never test images.
        labels: int64 [n].
        densities: Fractions of a layer's weights that are kept, above 0 and at most 1, in any order.
        layers: Which layers, as in `secateur.pruning.layers.select_weights`.
        exclude: Which of them not.
        score: What is kept first.
        batch: Images that are evaluated together.
        memory: Bytes of results of earlier layers that may be held. Where they do not suffice for all images,
            the images are taken in groups.
        finished: Layers of an interrupted scan; they are taken over.
        observer: Who is told how it goes on.

    Returns:
        The costs, layer by layer.

    Raises:
        ConfigurationError: A density, the batch or the memory is out of its range.
        DataError: There are no images, or not a label each.
        LayerSelectionError: A pattern matches nothing.
        UnsupportedModelError: The network does not give a tensor of one row an image.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> found = sensitivity(model, torch.randn(8, 6), torch.zeros(8, dtype=torch.int64), densities=[0.5])
        >>> [(layer.layer, layer.points[0].kept) for layer in found.layers]
        [('0', 15), ('2', 5)]

    Source: paper, section 5 and Fig 6.
    """
    _check(densities, images, labels, batch, memory)
    weights = select_weights(model, layers, exclude)
    counts = {
        name: [max(1, kept_count(density, weight.numel())) for density in densities]
        for name, weight in weights.items()
    }
    return scan_counts(
        model,
        images,
        labels,
        counts,
        score=score,
        batch=batch,
        memory=memory,
        finished=finished,
        observer=observer,
    )


@torch.no_grad()
def scan_counts(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    counts: Mapping[str, Sequence[int]],
    *,
    alive: Masks | None = None,
    score: Score = magnitude,
    batch: int = BATCH,
    memory: int = _MEMORY,
    finished: Sequence[LayerSensitivity] = (),
    observer: ScanObserver | None = None,
) -> Sensitivity:
    """The same for exact numbers of weights kept, in a network that may be pruned already.

    Args:
        model: The network; it is left as it was.
        images: [n, ...].
        labels: int64 [n].
        counts: Canonical parameter name -> numbers of weights to keep, at most as many as live.
        alive: The weights that live; all, if not given.
        score: What is kept first.
        batch: Images that are evaluated together.
        memory: Bytes of results of earlier layers that may be held.
        finished: Layers that are known already.
        observer: Who is told how it goes on.

    Returns:
        The costs, layer by layer.

    Raises:
        UnreachableTargetError: More weights are asked for than live.
        UnsupportedModelError: The network does not give a tensor of one row an image.
    """
    observer = observer or ScanObserver()
    known = {layer.parameter: layer for layer in finished}
    weights = {name: weight for name, weight in select_weights(model).items() if name in counts}
    device = next(iter(weights.values())).device
    parts = [part.to(device) for part in torch.split(images, batch)]
    with evaluating(model):
        began = time.perf_counter()
        whole = [_row_each(model(part), part, model) for part in parts]
        seconds = time.perf_counter() - began
        loss, error = _judge(whole, labels)
        if observer.on_start is not None:
            observer.on_start(len(images), loss, error, seconds)
        route = Route(model, parts, (whole[0], whole[-1]), memory)
        found = []
        for name in route.in_order([*weights]):
            if name not in known:
                living = None if alive is None else alive[name]
                steps = sorted(set(counts[name]), reverse=True)
                layer = _scan_layer(route, name, weights[name], steps, score, living, labels, observer)
                known[name] = layer
                if observer.on_layer is not None:
                    observer.on_layer(layer)
            found.append(known[name])
    order = list(weights)
    return Sensitivity(
        len(images), loss, error, tuple(sorted(found, key=lambda each: order.index(each.parameter))), seconds
    )


def _scan_layer(
    route: Route,
    name: str,
    weight: nn.Parameter,
    counts: Sequence[int],
    score: Score,
    alive: Tensor | None,
    labels: Tensor,
    observer: ScanObserver,
) -> LayerSensitivity:
    began = time.perf_counter()
    note = ""
    try:
        points = _points(route.from_layer(name), name, weight, counts, score, alive, labels, observer)
    except UnsupportedModelError as error:
        note = f"evaluated whole each time: {error}"
        points = _points(route.from_start(), name, weight, counts, score, alive, labels, observer)
    return LayerSensitivity(
        layer_name(name), name, weight.numel(), points, not note, note, time.perf_counter() - began
    )


def _points(
    groups: Iterator[list[Rest]],
    name: str,
    weight: nn.Parameter,
    counts: Sequence[int],
    score: Score,
    alive: Tensor | None,
    labels: Tensor,
    observer: ScanObserver,
) -> tuple[Point, ...]:
    outputs: dict[int, list[Tensor]] = {count: [] for count in counts}
    before = weight.detach().clone()
    scores = score(name, weight)
    for number, group in enumerate(groups):
        try:
            for count in counts:
                # Fewer and fewer live, so nothing has to be put back in between. (To look for the next ones
                # among the survivors alone was tried, and gathering them cost more than it saved.)
                weight.masked_fill_(~keep_highest(scores, count, alive), 0)
                outputs[count] += [run().float().cpu() for run in group]
                if number == 0 and observer.on_point is not None:
                    observer.on_point(layer_name(name))
        finally:
            weight.copy_(before)
    return tuple(Point(count, count / weight.numel(), *_judge(outputs[count], labels)) for count in counts)


def _judge(outputs: Sequence[Tensor], labels: Tensor) -> tuple[float, float]:
    together = torch.cat([output.float().cpu() for output in outputs])
    wrong = int((together.argmax(dim=1) != labels).count_nonzero())
    return float(functional.cross_entropy(together, labels)), 100.0 * wrong / len(labels)


def _row_each(output: Any, images: Tensor, model: nn.Module) -> Tensor:
    if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != len(images):
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UnsupportedModelError(
            f"{type(model).__name__} on {len(images)} images: expected outputs of shape [{len(images)}, "
            f"classes], found {found}; scan a network that gives a number a class for every image"
        )
    return output


def _check(densities: Sequence[float], images: Tensor, labels: Tensor, batch: int, memory: int) -> None:
    if not densities or not all(math.isfinite(density) and 0 < density <= 1 for density in densities):
        raise ConfigurationError(
            f"densities: expected at least one fraction of weights kept, each above 0 and at most 1; found "
            f"{list(densities)}"
        )
    if batch < 1 or memory < 1:
        raise ConfigurationError(f"batch and memory must be at least 1, found {batch} and {memory}")
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(
            f"a scan needs images and a label for each, found {len(images)} images and {len(labels)} labels"
        )
