"""Evaluation: which images a network gets wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.pruning.modes import evaluating
from secateur.training.task import Labelled


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
def predict(model: nn.Module, batches: Iterable[Labelled]) -> tuple[Tensor, Tensor]:
    """The outputs of a network for many images, in evaluation mode; its mode is put back afterwards.

    Args:
        model: The network.
        batches: Images and labels, such as a task's `validation()`; moved to the model's device one by one.

    Returns:
        Outputs, float32 [n, classes], and labels, int64 [n], both on the CPU.
    """
    device = next(model.parameters()).device
    outputs, labels = [], []
    with evaluating(model):
        for images, expected in batches:
            outputs.append(model(images.to(device)).float().cpu())
            labels.append(expected)
    return torch.cat(outputs), torch.cat(labels)


def judge(outputs: Tensor, labels: Tensor) -> Evaluation:
    """Loss and errors of a network's outputs.

    Args:
        outputs: [n, classes].
        labels: int64 [n].

    Returns:
        The mean loss and which images are wrong.
    """
    return Evaluation(float(functional.cross_entropy(outputs, labels)), outputs.argmax(dim=1) != labels)


def evaluate(model: nn.Module, batches: Iterable[Labelled]) -> Evaluation:
    """Loss and errors of a network on labelled images.

    Args:
        model: The network; its output is [n, classes].
        batches: Images and labels, such as a task's `validation()` or `test()`.

    Returns:
        The mean loss and which images are wrong.
    """
    return judge(*predict(model, batches))
