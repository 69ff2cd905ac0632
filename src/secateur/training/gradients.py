"""The gradients of a step: in pieces, in mixed precision, over all processes; those of the whole step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from secateur.errors import ConfigurationError
from secateur.training.phase import Phase, Precision
from secateur.training.processes import Processes
from secateur.training.task import Batch

Loss = Callable[[Tensor, Batch], Tensor]
_TYPES: Mapping[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@final
@dataclass(frozen=True, eq=False)
class Gradients:
    """Computes gradients, which are those of the mean loss over a step's images on all processes.

    However many processes there are, and however many pieces each cuts its share into, every image weighs the
    same. What differs is what a layer sees of the others: batch normalisation in training normalises by the
    piece at hand.

    Args:
        exchanged: The network, wrapped by `Processes.wrap`.
        called: The same, compiled where the phase says so.
        loss: The mean loss of outputs and the batch that they are of.
        processes: Who shares the step.
        precision: What the forward pass computes in; the loss and the weights stay in float32.
        pieces: How many a process's share of a step is computed in, one after another.
        scaler: Keeps the gradients of float16 from vanishing; it does nothing for other types.
    """

    exchanged: nn.Module
    called: Callable[[Tensor], Tensor]
    loss: Loss
    processes: Processes
    precision: Precision
    pieces: int
    scaler: torch.amp.GradScaler

    def add(self, batch: Batch) -> Tensor:
        """Add a step's gradients to the parameters'; they are scaled until `step`.

        Args:
            batch: This process's share of the step, on its device.

        Returns:
            The mean loss over the share.
        """
        images = len(batch.labels)
        # The exchange averages over processes, whose shares may be of unequal size.
        weight = self.processes.part.counted(batch.whole) * self.processes.count / batch.whole
        total: Tensor | None = None
        pieces = list(_split(batch, self.pieces))
        for number, piece in enumerate(pieces):
            share = len(piece.labels) / images
            with ExitStack() as stack:
                if number + 1 < len(pieces) and isinstance(self.exchanged, DistributedDataParallel):
                    stack.enter_context(self.exchanged.no_sync())
                loss = self.loss(self._outputs(piece.images), piece)
                torch.autograd.backward(self.scaler.scale(_times(loss, weight * share)))
            part = _times(loss.detach(), share)
            total = part if total is None else total + part
        assert total is not None  # noqa: S101  # a batch has images; narrows for mypy
        return total

    def step(self, optimizer: torch.optim.Optimizer, change: Callable[[], object]) -> None:
        """Move the weights.

        Args:
            optimizer: What moves them; where a gradient in float16 overflowed, it does not.
            change: Called before, when the gradients are no longer scaled: adds penalties, clips.
        """
        self.scaler.unscale_(optimizer)
        change()
        self.scaler.step(optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep: the scale, where there is one."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        if state:  # a scaler that does nothing has an empty one, and takes none
            self.scaler.load_state_dict(dict(state))

    def _outputs(self, images: Tensor) -> Tensor:
        if self.precision == "float32":
            return self.called(images)
        with torch.autocast(images.device.type, dtype=_TYPES[self.precision]):
            return self.called(images).float()


def check_precision(phase: Phase, device: torch.device) -> None:
    """Refuse a phase whose precision its device does not compute in.

    Args:
        phase: The phase.
        device: What trains.

    Raises:
        ConfigurationError: It does not.
    """
    if phase.precision == "fp16" and device.type == "cpu":
        raise ConfigurationError(
            "precision: fp16 is for GPUs, and this process computes on a CPU; bf16 works on both"
        )


def gradients_of(
    model: nn.Module, phase: Phase, processes: Processes, example: Callable[[], Tensor], loss: Loss
) -> Gradients:
    """How a phase computes its gradients.

    Args:
        model: The network, on its device, with everything frozen that shall be.
        phase: Says precision, pieces, and whether to compile.
        processes: Who shares each step.
        example: Gives one input, where it is needed.
        loss: The mean loss.

    Returns:
        The computation. The parameters and their names stay the model's own.

    Raises:
        ConfigurationError: The device does not compute in this precision.
    """
    device = processes.device
    check_precision(phase, device)
    exchanged = processes.wrap(model, example)
    called = torch.compile(exchanged) if phase.compile else exchanged
    scaler = torch.amp.GradScaler(device.type, enabled=phase.precision == "fp16")
    return Gradients(exchanged, called, loss, processes, phase.precision, phase.accumulate, scaler)


def _split(batch: Batch, count: int) -> Iterator[Batch]:
    if count == 1:
        yield batch
        return
    parts = (batch.images, batch.labels, batch.indices, batch.variants)
    pieces = min(count, len(batch.labels))
    for images, labels, indices, variants in zip(*(part.tensor_split(pieces) for part in parts), strict=True):
        yield replace(batch, images=images, labels=labels, indices=indices, variants=variants)


def _times(loss: Tensor, factor: float) -> Tensor:
    # A whole step on one process is left as it is: not a bit of its gradients changes.
    return loss if factor == 1.0 else loss * factor
