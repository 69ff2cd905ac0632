"""What a training step takes: bytes, derived from shapes alone, and seconds, measured on random images."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.analysis.costs import layer_costs, meta_copy
from secateur.pruning.enforcement import factor_of
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.pruner import Pruner
from secateur.training.freezing import hold_statistics, train_only
from secateur.training.gradients import Gradients, gradients_of
from secateur.training.phase import Adam, AdamW, Phase, Sgd, make_optimizer
from secateur.training.processes import Processes
from secateur.training.task import Batch

# Beyond this many multiply-accumulates forward, a step is measured at two smaller batches instead: about half
# a second of a laptop.
_MACS = 8e9
_STEPS = 2  # that are timed, after one that is not


@final
@dataclass(frozen=True)
class Memory:
    """Bytes that one process needs in a phase of training; the libraries' own come on top.

    Attributes:
        weights: Parameters and buffers.
        gradients: Of what trains.
        optimizer: Its states.
        masks: Masks, with the factors that enforce them.
        activations: What the forward pass keeps for the backward pass, and the images.
        copy: Weights and states of the last epoch, which an interruption would write; in the processor's
            memory, and of the process alone that writes.
    """

    weights: int
    gradients: int
    optimizer: int
    masks: int
    activations: int
    copy: int

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.gradients + self.optimizer + self.masks + self.activations + self.copy


def phase_memory(
    model: nn.Module, image_shape: tuple[int, ...], phase: Phase, images: int, *, masks: Masks | None
) -> Memory:
    """What a phase keeps in memory, from the shapes of a copy on PyTorch's meta device.

    ``weights + gradients + states a weight x trainable weights + masks + images x what one image leaves``,
    and weights and states once more. An activation of a frozen layer counts only where something behind it
    needs it. Activations are counted as float32, which is the most that mixed precision keeps.

    Args:
        model: The network.
        image_shape: Channels, height, width.
        phase: What trains, and with which optimizer.
        images: Of a step, in this process.
        masks: What is pruned; None for dense training.

    Returns:
        Bytes.

    Raises:
        LayerSelectionError: `only` of the phase matches no parameter.

    Example:
        >>> sgd = Phase.model_validate(
        ...     {"epochs": 1, "batch_size": 8, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
        ... )
        >>> phase_memory(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2), sgd, 8, masks=None)
        Memory(weights=40, gradients=40, optimizer=40, masks=0, activations=128, copy=80)
    """
    shadow = meta_copy(model).train()
    with train_only(shadow, phase.only):
        trained = _bytes(p for p in shadow.parameters() if p.requires_grad)
        kept = _kept_for_backward(shadow, image_shape) if trained else 0
    image = 4 * math.prod(image_shape)
    weights, states = _bytes([*shadow.parameters(), *shadow.buffers()]), _states(phase) * trained
    return Memory(
        weights=weights,
        gradients=trained,
        optimizer=states,
        masks=0 if masks is None else _mask_bytes(shadow, masks),
        activations=images * image + -(-images // phase.accumulate) * kept,
        copy=weights + states,
    )


def step_seconds(
    model: nn.Module,
    image_shape: tuple[int, ...],
    classes: int,
    phase: Phase,
    images: int,
    *,
    masks: Masks | None,
    device: torch.device,
) -> float:
    """The time of one optimizer step: measured, if need be at two smaller batches and drawn out from there.

    Args:
        model: The network, on the device; its weights move.
        image_shape: Channels, height, width.
        classes: Number of classes.
        phase: What trains, and with which optimizer.
        images: Of a step, in this process.
        masks: What is pruned; None for dense training.
        device: Where it computes.

    Returns:
        Seconds: the median of a few steps, without loading images.
    """
    macs = sum(cost.macs for cost in layer_costs(model, image_shape))
    large = max(2, int(_MACS / macs))
    if images <= large:
        return _timed(model, image_shape, classes, phase, images, masks, device)
    small = max(1, large // 4)
    few, many = (_timed(model, image_shape, classes, phase, count, masks, device) for count in (small, large))
    # On a busy machine the smaller batch may come out slower; then all the time is taken to be the images'.
    an_image = (many - few) / (large - small) if many > few else many / large
    return many + an_image * (images - large)


def _timed(
    model: nn.Module,
    image_shape: tuple[int, ...],
    classes: int,
    phase: Phase,
    images: int,
    masks: Masks | None,
    device: torch.device,
) -> float:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, *image_shape, generator=draw).to(device)
    labels = torch.randint(classes, (images,), generator=draw).to(device)
    model.train()
    with train_only(model, phase.only):
        if phase.only is not None:
            hold_statistics(model, phase.only)
        connections = {id(weight) for weight in select_weights(model).values()}
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = make_optimizer(
            phase.optimizer,
            phase.l2,
            [p for p in trained if id(p) in connections],
            [p for p in trained if id(p) not in connections],
        )
        pruner = None if masks is None else _pruner(model, masks)
        if pruner is not None and any(p.requires_grad for p in _pruned(model, pruner)):
            pruner.attach(optimizer)
        gradients = gradients_of(model, phase, Processes(device=device), lambda: pixels[:1], _loss)
        batch = Batch(pixels, labels, torch.arange(images), torch.zeros(images, dtype=torch.int64), images)
        seconds = [_step(gradients, optimizer, batch, device) for _ in range(1 + _STEPS)]
        if pruner is not None:
            pruner.detach()
        optimizer.zero_grad()
    return statistics.median(seconds[1:])


def _step(
    gradients: Gradients, optimizer: torch.optim.Optimizer, batch: Batch, device: torch.device
) -> float:
    began = time.perf_counter()
    optimizer.zero_grad()
    loss = gradients.add(batch)
    gradients.step(optimizer, tuple)
    loss.item()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - began


def _loss(outputs: Tensor, batch: Batch) -> Tensor:
    return functional.cross_entropy(outputs, batch.labels)


def _pruner(model: nn.Module, masks: Masks) -> Pruner:
    pruner = Pruner(model, layers=list(masks))
    pruner.restrict(masks)
    return pruner


def _pruned(model: nn.Module, pruner: Pruner) -> list[nn.Parameter]:
    weights = select_weights(model)
    return [weights[name] for name in pruner.masks if name in weights]


def _states(phase: Phase) -> int:
    match phase.optimizer:
        case Sgd():
            return 1 if phase.optimizer.momentum else 0
        case Adam() | AdamW():
            return 2
        case _:
            assert_never(phase.optimizer)


def _mask_bytes(shadow: nn.Module, masks: Masks) -> int:
    every = select_weights(shadow)
    weights = {name: every[name] for name in masks if name in every}
    # A large weight's factor is its mask itself, and shares its memory.
    factors = [factor_of(weights[name], mask) for name, mask in Masks.full(weights).items()]
    small = [factor for factor in factors if factor.dtype != torch.bool]
    return sum(mask.numel() for mask in masks.values()) + _bytes(small)


def _kept_for_backward(shadow: nn.Module, image_shape: tuple[int, ...]) -> int:
    own = {tensor.untyped_storage()._cdata for tensor in (*shadow.parameters(), *shadow.buffers())}
    images = torch.empty((2, *image_shape), device="meta")  # batch normalisation refuses a single number
    own.add(images.untyped_storage()._cdata)
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is given out twice

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        shadow(images)
    return sum(storage.nbytes() for storage in kept.values()) // 2


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
