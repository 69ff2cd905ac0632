"""A recipe's forecast: layers, bytes, steps, memory and hours, without any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from secateur.analysis.costs import layer_costs
from secateur.format.layouts import LayoutKind
from secateur.format.packing import count, layout_bytes, smallest
from secateur.pruning.criteria import StdThreshold, compute_masks
from secateur.pruning.default import weights_to_prune
from secateur.pruning.layers import aliases, layer_name, prunable_weights
from secateur.pruning.masks import Masks
from secateur.recipes.fitting import check_outputs
from secateur.recipes.footprint import Memory, phase_memory, step_seconds
from secateur.recipes.plan import Plan
from secateur.recipes.reachable import reachable
from secateur.training.phase import Phase
from secateur.training.seeding import generator, seeded

_VALUE_BYTES = 4


@final
@dataclass(frozen=True)
class LayerForecast:
    """What is expected of one layer.

    Attributes:
        name: The layer.
        weights: How many it has.
        kept: How many will live; None where a search decides.
        layout: In which form the compact file will hold them; None likewise.
        bytes: In that form; None likewise.
        macs: Multiply-accumulates of one image, dense; None where they are not counted (recurrent layers).
    """

    name: str
    weights: int
    kept: int | None
    layout: LayoutKind | None
    bytes: int | None
    macs: int | None

    @property
    def macs_kept(self) -> int | None:
        """Multiply-accumulates by living weights; zeros among the inputs are not taken off."""
        if self.macs is None or self.kept is None:
            return None
        return round(self.macs * self.kept / self.weights)


@final
@dataclass(frozen=True)
class PhaseForecast:
    """What one phase of training takes in one process.

    Attributes:
        stage: ``dense``, ``round``, or a turn in it.
        phase: Its number within the stage, from 1.
        times: In how many rounds it is gone through.
        only: What trains; None is everything.
        epochs: Each time.
        batch: Images of a step on all processes together.
        steps: Each time.
        memory: Of one process.
        step_seconds: Measured; None if not.
    """

    stage: str
    phase: int
    times: int
    only: tuple[str, ...] | None
    epochs: int
    batch: int
    steps: int
    memory: Memory
    step_seconds: float | None

    @property
    def hours(self) -> float | None:
        """All the times together."""
        seconds = self.step_seconds
        return None if seconds is None else self.times * self.steps * seconds / 3600


@final
@dataclass(frozen=True)
class Forecast:
    """What is expected of a run.

    Attributes:
        layers: In the network's order.
        others: Parameters that are in no layer under this count: biases, normalisation.
        phases: In the order of the run.
        images: That train.
        processes: That share each step.
        device: Where steps were, or would be, measured.
    """

    layers: tuple[LayerForecast, ...]
    others: int
    phases: tuple[PhaseForecast, ...]
    images: int
    processes: int
    device: str

    @property
    def weights(self) -> int:
        """Of all layers."""
        return sum(layer.weights for layer in self.layers)

    @property
    def kept(self) -> int | None:
        """Of all layers."""
        return _sum([layer.kept for layer in self.layers])

    @property
    def dense_bytes(self) -> int:
        """Of all parameters as float32."""
        return _VALUE_BYTES * (self.weights + self.others)

    @property
    def packed_bytes(self) -> int | None:
        """Of the compact file, but for its description of the graph (a few kilobytes)."""
        packed = _sum([layer.bytes for layer in self.layers])
        return None if packed is None else packed + _VALUE_BYTES * self.others

    @property
    def macs(self) -> int:
        """Of one image, dense."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def macs_kept(self) -> int | None:
        """Of one image, by living weights."""
        return _sum([layer.macs_kept for layer in self.layers if layer.macs is not None])

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return sum(phase.times * phase.steps for phase in self.phases)

    @property
    def memory(self) -> Memory:
        """Of one process, in the phase that needs most."""
        return max((phase.memory for phase in self.phases), key=lambda memory: memory.total)

    @property
    def hours(self) -> float | None:
        """Of the whole run: its training steps."""
        hours = [phase.hours for phase in self.phases]
        return None if any(each is None for each in hours) else sum(each or 0.0 for each in hours)

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        totals = (
            "weights",
            "kept",
            "others",
            "dense_bytes",
            "packed_bytes",
            "macs",
            "macs_kept",
            "steps",
            "hours",
        )
        return {
            "images": self.images,
            "processes": self.processes,
            "device": self.device,
            "layers": [asdict(layer) | {"macs_kept": layer.macs_kept} for layer in self.layers],
            "phases": [
                asdict(phase) | {"hours": phase.hours, "memory": _memory(phase.memory)}
                for phase in self.phases
            ],
            "memory": _memory(self.memory),
            "total": {name: getattr(self, name) for name in totals},
        }


def forecast(
    model: Callable[[], nn.Module],
    image_shape: tuple[int, ...],
    classes: int,
    plan: Plan,
    images: int,
    *,
    processes: int = 1,
    device: torch.device | None = None,
    measure: bool = True,
) -> Forecast:
    """What a plan comes to on a network, without training it.

    Densities are those of normally distributed weights whose survivors keep their values: exact for a cut of
    kind density, a starting point for thresholds and for one ranking over all layers, since trained weights
    have heavier tails. What a search will find cannot be known: its densities are None, its rounds the most
    it may take.

    Args:
        model: Makes the untrained network.
        image_shape: Channels, height, width.
        classes: Number of classes.
        plan: What shall be done.
        images: How many train.
        processes: How many share each step.
        device: Where steps are measured; the CPU if not given.
        measure: Whether they are.

    Returns:
        The forecast.

    Raises:
        ConfigurationError: The network does not run on such images, or gives another number of outputs.
        UnreachableTargetError: The cut would leave a layer empty.
        LayerSelectionError: A pattern of the plan matches nothing.

    Example:
        >>> sgd = {"epochs": 2, "batch_size": 8, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
        >>> cut = {"kind": "density", "density": 0.25}
        >>> plan = Plan.model_validate({"dense": [sgd], "cut": cut, "rounds": 3, "retrain": [sgd]})
        >>> network = lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
        >>> found = forecast(network, (1, 4, 4), 10, plan, 100, measure=False)
        >>> found.weights, found.kept, found.macs_kept, found.steps
        (160, 40, 40, 104)
    """
    device = device or torch.device("cpu")
    with seeded(0, "forecast"):
        network = model()
    check_outputs(network, torch.zeros(1, *image_shape), classes)
    masks = expected_masks(network, plan)
    layers, others = _layers(network, image_shape, masks)
    # Dense kernels take the same time whatever is pruned; with a search, everything is taken to live.
    shown = masks or Masks.full(weights_to_prune(network, None, plan.exclude or None))
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stub
    phases: list[PhaseForecast] = []
    known: dict[tuple[Any, ...], float] = {}
    for stage, number, times, phase in _phases(plan):
        batch = -(-phase.batch_size // processes)
        during = None if stage == "dense" else shown
        seconds = None
        if measure and phase.epochs:
            key = (batch, during is None, _what_takes_time(phase))
            if key not in known:
                with seeded(0, "forecast"):
                    known[key] = step_seconds(
                        network, image_shape, classes, phase, batch, masks=during, device=device
                    )
            seconds = known[key]
        phases.append(
            PhaseForecast(
                stage=stage,
                phase=number,
                times=times,
                only=phase.only,
                epochs=phase.epochs,
                batch=phase.batch_size,
                steps=phase.epochs * -(-images // phase.batch_size),
                memory=phase_memory(network, image_shape, phase, batch, masks=during),
                step_seconds=seconds if phase.epochs else 0.0,
            )
        )
    return Forecast(layers, others, tuple(phases), images, processes, str(device))


@torch.no_grad()
def expected_masks(network: nn.Module, plan: Plan) -> Masks | None:
    """The masks that a plan would end with, were weights normally distributed and survivors kept as they are.

    Args:
        network: The network; its weights are drawn anew, each layer's with the deviation that they had.
        plan: What shall be done.

    Returns:
        Masks; None where a search decides.

    Raises:
        UnreachableTargetError: The cut would leave a layer empty.
        LayerSelectionError: A pattern of the plan matches nothing.
    """
    if plan.cut is None:
        return None
    draw = generator(0, "forecast")
    weights: dict[str, Tensor] = dict(weights_to_prune(network, None, plan.exclude or None))
    for weight in weights.values():
        weight.normal_(0.0, float(weight.std()) or 1.0, generator=draw)
    names = aliases(prunable_weights(network))
    masks = Masks.full(weights)
    for number in range(1, plan.rounds + 1):
        wanted = plan.cut.at(number / plan.rounds, 0)
        # What is left of a threshold depends on every round's; a density's last cut contains those before.
        if number == plan.rounds or isinstance(wanted, StdThreshold):
            masks = compute_masks(weights, reachable(wanted, masks, names).criterion, masks, names)
    return masks


def _layers(
    network: nn.Module, image_shape: tuple[int, ...], masks: Masks | None
) -> tuple[tuple[LayerForecast, ...], int]:
    canonical = aliases(prunable_weights(network))
    macs: dict[str, int] = {}
    for cost in layer_costs(network, image_shape):
        name = canonical.get(cost.name, cost.name)
        macs[name] = macs.get(name, 0) + cost.macs
    weights = {each.name: each.parameter for each in prunable_weights(network) if each.is_connection}
    layers = []
    for name, weight in weights.items():
        layer = LayerForecast(layer_name(name), weight.numel(), None, None, None, macs.get(name))
        if masks is not None:
            layer = _packed(
                layer, masks[name] if name in masks else torch.ones_like(weight, dtype=torch.bool)
            )
        layers.append(layer)
    others = sum(p.numel() for p in network.parameters()) - sum(layer.weights for layer in layers)
    return tuple(layers), others


def _packed(layer: LayerForecast, mask: Tensor) -> LayerForecast:
    counts = count(mask.cpu().numpy().reshape(len(mask), -1).astype(np.float32))
    kind = smallest(counts)
    return replace(layer, kept=counts.nonzeros, layout=kind, bytes=layout_bytes(counts, kind))


def _phases(plan: Plan) -> Sequence[tuple[str, int, int, Phase]]:
    """Stage, number within it, how often, and the phase."""
    rounds = plan.rounds if plan.target is None else plan.search.rounds
    stages: list[tuple[str, int, tuple[Phase, ...]]] = [("dense", 1, plan.dense)]
    for number, turn in enumerate(plan.turns, 1):
        stages.append((f"turn {number}", rounds, turn.retrain))
    if plan.final is None:
        stages.append(("round", rounds, plan.retrain))
    else:
        stages += [("round", rounds - 1, plan.retrain)] if rounds > 1 else []
        stages.append(("last round", 1, plan.final))
    return [
        (stage, number, times, phase)
        for stage, times, phases in stages
        for number, phase in enumerate(phases, 1)
    ]


def _what_takes_time(phase: Phase) -> str:
    # Neither rates nor strengths change how long a step takes: such phases are measured once.
    unlike = {"epochs", "schedule", "l1", "l2", "clip"}
    return f"{phase.optimizer.kind} {phase.model_dump_json(exclude={*unlike, 'optimizer'})}"


def _sum(values: Sequence[int | None]) -> int | None:
    return None if any(value is None for value in values) else sum(value or 0 for value in values)


def _memory(memory: Memory) -> dict[str, int]:
    return asdict(memory) | {"total": memory.total}
