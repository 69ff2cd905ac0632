"""Evaluation: which images a network gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.pruning.modes import evaluating
from secateur.training.processes import Processes
from secateur.training.task import Labelled, Part


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


def evaluate_together(
    model: nn.Module, images: Callable[[Part], Iterable[Labelled]], processes: Processes
) -> Evaluation:
    """Loss and errors of a network, each process looking at its part of the images.

    Args:
        model: The network, the same on every process; its output is [n, classes].
        images: Gives a part's images and labels, such as a task's `validation` or `test`.
        processes: Who shares the work.

    Returns:
        The same bits on every process: the mean loss and which images are wrong, all of them and in order.
    """
    own = evaluate(model, images(processes.part))
    if processes.count == 1:
        return own
    told = processes.gather((own.loss, own.wrong))
    total = sum(loss * len(wrong) for loss, wrong in told)
    wrong = torch.cat([wrong for _, wrong in told])
    return Evaluation(total / len(wrong), wrong)
