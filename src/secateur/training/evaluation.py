"""Evaluation: which images a network gets wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.pruning.modes import evaluating

_BATCH = 1000


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network makes of a set of images.

    Attributes:
        loss: Mean cross-entropy, in nats.
        wrong: Boolean [n], True where the class of the highest output is not the label.
    """

    loss: float
    wrong: Tensor

    @property
    def error(self) -> float:
        """The share of wrong images, in per cent."""
        return 100.0 * int(self.wrong.count_nonzero()) / len(self.wrong)


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """The outputs of a network for many images, in evaluation mode; its mode is put back afterwards.

    Args:
        model: The network.
        images: [n, ...]; moved to the model's device batch by batch.

    Returns:
        [n, classes] on the CPU.
    """
    device = next(model.parameters()).device
    with evaluating(model):
        return torch.cat([model(batch.to(device)).float().cpu() for batch in torch.split(images, _BATCH)])


def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> Evaluation:
    """Loss and errors of a network on labelled images.

    Args:
        model: The network; its output is [n, classes].
        images: [n, ...].
        labels: int64 [n].

    Returns:
        The mean loss and which images are wrong.
    """
    outputs = predict(model, images)
    return Evaluation(float(functional.cross_entropy(outputs, labels)), outputs.argmax(dim=1) != labels)
