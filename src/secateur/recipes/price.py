"""Prices: what a pruned network costs, in the unit that a search is asked to save."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never, final

import numpy as np
import torch
from torch import Tensor, nn

from secateur.analysis.sensitivity import LayerSensitivity
from secateur.format.packing import count, layout_bytes, smallest
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.scores import Score
from secateur.pruning.selection import keep_highest
from secateur.recipes.target import MaxBytes, MaxError, MaxErrorIncrease, MaxMilliseconds, MaxWeights

Timer = Callable[[nn.Module, Tensor, int], float]
_VALUE_BYTES = 4
_BURST = 50  # runs between two looks at the clock's median
_BURSTS = 9


@final
@dataclass(frozen=True)
class Weights:
    """Living weights of the whole network."""

    unit = "weights"

    def of(self, model: nn.Module, masks: Masks) -> float:
        """The price of a network."""
        total = sum(weight.numel() for weight in select_weights(model).values())
        return total - (masks.total - masks.kept)

    def of_layer(self, mask: Tensor) -> float:
        """The part of it that one layer's mask decides."""
        return int(mask.count_nonzero())


@final
@dataclass(frozen=True)
class PackedBytes:
    """Bytes of the packed weights, each in its smallest layout by rows, and of all other parameters."""

    unit = "bytes"

    def of(self, model: nn.Module, masks: Masks) -> float:
        """The price of a network."""
        weights = select_weights(model)
        others = sum(p.numel() for p in model.parameters()) - sum(w.numel() for w in weights.values())
        whole = sum(weight.numel() for name, weight in weights.items() if name not in masks)
        return _VALUE_BYTES * (others + whole) + sum(self.of_layer(mask) for mask in masks.values())

    def of_layer(self, mask: Tensor) -> float:
        """The part of it that one layer's mask decides."""
        counts = count(mask.cpu().numpy().reshape(len(mask), -1).astype(np.float32))
        return layout_bytes(counts, smallest(counts)) or 0


@final
@dataclass(frozen=True, eq=False)
class Milliseconds:
    """Measured time of the compiled program.

    Args:
        example: A batch of the size that is asked about.
        threads: Threads of a run.
        timer: Compiles a network and gives the milliseconds of a run.
    """

    example: Tensor
    threads: int
    timer: Timer
    unit = "milliseconds"

    def of(self, model: nn.Module, masks: Masks) -> float:
        """The price of a network, whose pruned weights are set to zero for it."""
        weights = dict(model.named_parameters(remove_duplicate=False))
        before = {name: weights[name].detach().clone() for name in masks}
        masks.apply_(model)
        try:
            return self.timer(model, self.example, self.threads)
        finally:
            with torch.no_grad():
                for name, values in before.items():
                    weights[name].copy_(values)


Price = Weights | PackedBytes | Milliseconds


def price_of(
    target: MaxErrorIncrease | MaxError | MaxWeights | MaxBytes | MaxMilliseconds,
    spent_on: str,
    example: Callable[[int], Tensor],
    timer: Timer,
) -> Price:
    """What a target asks to save.

    Args:
        target: The target.
        spent_on: What an error budget is spent on: ``weights`` or ``bytes``.
        example: Gives the timer a batch of so many images, such as a task's `example`.
        timer: Compiles a network and times it.

    Returns:
        The price.
    """
    match target:
        case MaxErrorIncrease() | MaxError():
            return PackedBytes() if spent_on == "bytes" else Weights()
        case MaxWeights():
            return Weights()
        case MaxBytes():
            return PackedBytes()
        case MaxMilliseconds():
            return Milliseconds(example(target.batch), target.threads, timer)
        case _:
            assert_never(target)


def layer_prices(
    price: Price,
    model: nn.Module,
    alive: Masks,
    layers: Sequence[LayerSensitivity],
    score: Score,
) -> Mapping[str, Mapping[int, float]]:
    """What every point of a scan would cost, the other layers left as they are.

    A whole program is timed twice a layer only: as it is and with the layer at its lowest point. The time in
    between is taken to fall in proportion to the weights.

    Args:
        price: In which unit.
        model: The network.
        alive: Which of its weights live.
        layers: The points.
        score: What is kept first.

    Returns:
        Parameter name -> weights kept -> price of the layer, up to a constant of each layer.
    """
    weights = select_weights(model)
    found: dict[str, Mapping[int, float]] = {}
    now = price.of(model, alive) if isinstance(price, Milliseconds) else 0.0
    for layer in layers:
        name, counts = layer.parameter, [point.kept for point in layer.points]
        scores = score(name, weights[name])
        match price:
            case Weights():
                found[name] = {kept: float(kept) for kept in counts}
            case PackedBytes():
                found[name] = {
                    kept: price.of_layer(keep_highest(scores, kept, alive[name])) for kept in counts
                }
            case Milliseconds():
                lowest = keep_highest(scores, min(counts), alive[name])
                least = price.of(model, Masks({**alive, name: lowest}))
                found[name] = _proportional(counts, alive.kept_of(name), now, min(least, now))
            case _:
                assert_never(price)
    return found


def program_milliseconds(model: nn.Module, example: Tensor, threads: int) -> float:
    """Compile a network and time it: the median over bursts of runs in the core, without Python between.

    Args:
        model: The network; its zeros are what is left out.
        example: A batch.
        threads: Threads of a run.

    Returns:
        Milliseconds a run.

    Raises:
        MissingExtraError: The compiler's packages are not installed.
        UnsupportedModelError: The network holds an operation that the compiler does not know.
    """
    from secateur.compiler.compiling import compile  # noqa: PLC0415  # needs onnx, and only a time budget does

    program = compile(model, example, batch=len(example), threads=threads)
    run = program.timer([example.numpy()], threads)
    run(_BURST)  # warms up
    bursts = [statistics.median(run(_BURST)) for _ in range(_BURSTS)]
    return statistics.median(bursts) / 1e6


def _proportional(counts: Sequence[int], living: int, now: float, least: float) -> dict[int, float]:
    lowest = min(counts)
    span = max(living - lowest, 1)
    return {kept: least + (now - least) * (kept - lowest) / span for kept in counts}
