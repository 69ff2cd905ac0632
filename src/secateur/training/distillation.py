"""Distillation: a pruned network learns from the dense one's outputs beside the labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.pruning.modes import evaluating
from secateur.training.task import Task


@final
@dataclass(frozen=True)
class Distillation:
    """Learning from the dense network's outputs beside the labels.

    The loss is ``(1 - weight) CE(labels) + weight T^2 KL(softmax(teacher / T) || softmax(student / T))``.

    Args:
        teacher: Probabilities ``softmax(outputs / T)``, [images, variants, classes].
        weight: In 0..1.
        temperature: T, above 0.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """

    teacher: Tensor = field(repr=False)
    weight: float
    temperature: float

    def loss(self, outputs: Tensor, labels: Tensor, indices: Tensor, variants: Tensor) -> Tensor:
        """The mixed loss of a batch."""
        soft = functional.kl_div(
            functional.log_softmax(outputs / self.temperature, dim=1),
            self.teacher[indices, variants].to(outputs.device),
            reduction="batchmean",
        )
        hard = functional.cross_entropy(outputs, labels)
        return (1 - self.weight) * hard + self.weight * self.temperature**2 * soft


@torch.no_grad()
def teach(model: nn.Module, task: Task, temperature: float) -> Tensor:
    """A dense network's softened outputs for every training image at every shift, computed once.

    Returns:
        Probabilities [images, variants, classes].
    """
    device = next(model.parameters()).device
    everything = torch.arange(len(task.labels))
    columns = []
    with evaluating(model):
        for variant in range(task.images.variants):
            rows = [
                functional.softmax(
                    model(task.images.take(indices, torch.full_like(indices, variant)).to(device)).float()
                    / temperature,
                    1,
                ).cpu()
                for indices in torch.split(everything, 1000)
            ]
            columns.append(torch.cat(rows))
    return torch.stack(columns, dim=1)
