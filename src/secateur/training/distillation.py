"""Distillation: a pruned network learns from the dense one's outputs beside the labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.pruning.modes import evaluating
from secateur.training.task import Batch, ImagesInMemory, Task

# Views of an image that a table holds at most: what is computed for a table should be looked up again.
_MOST_VARIANTS = 121


@final
@dataclass(frozen=True, eq=False)
class Table:
    """What a teacher says of every image in every view, computed once.

    Args:
        probabilities: ``softmax(outputs / T)``, [images, variants, classes].
    """

    probabilities: Tensor = field(repr=False)

    def of(self, batch: Batch, temperature: float) -> Tensor:
        """The teacher's softened outputs for a batch, [b, classes]."""
        del temperature
        return self.probabilities[batch.indices, batch.variants]


@final
@dataclass(frozen=True, eq=False)
class LiveTeacher:
    """A teacher that looks at every batch itself, where there are too many views of an image for a table.

    Args:
        model: The dense network; it is left as it was.
    """

    model: nn.Module = field(repr=False)

    @torch.no_grad()
    def of(self, batch: Batch, temperature: float) -> Tensor:
        """The teacher's softened outputs for a batch, [b, classes]."""
        device = next(self.model.parameters()).device
        with evaluating(self.model):
            return _softened(self.model, batch.images.to(device), temperature)


@final
@dataclass(frozen=True)
class Distillation:
    """Learning from the dense network's outputs beside the labels.

    The loss is ``(1 - weight) CE(labels) + weight T^2 KL(softmax(teacher / T) || softmax(student / T))``.

    Args:
        teacher: What the dense network says.
        weight: In 0..1.
        temperature: T, above 0.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """

    teacher: Table | LiveTeacher
    weight: float
    temperature: float

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mixed loss of a batch, whose labels are where the outputs are."""
        soft = functional.kl_div(
            functional.log_softmax(outputs / self.temperature, dim=1),
            self.teacher.of(batch, self.temperature).to(outputs.device),
            reduction="batchmean",
        )
        hard = functional.cross_entropy(outputs, batch.labels)
        return (1 - self.weight) * hard + self.weight * self.temperature**2 * soft


@torch.no_grad()
def teach(model: nn.Module, task: Task, temperature: float) -> Table | LiveTeacher:
    """A dense network as a teacher: its softened outputs for every view of every image, if those are few.

    Args:
        model: The dense network.
        task: What is learned.
        temperature: T, above 0.

    Returns:
        A table, or the network itself where images are streamed or have too many views.
    """
    if not isinstance(task, ImagesInMemory) or task.images.variants > _MOST_VARIANTS:
        return LiveTeacher(model)
    device = next(model.parameters()).device
    everything = torch.arange(len(task.labels))
    columns = []
    with evaluating(model):
        for variant in range(task.images.variants):
            rows = []
            for indices in torch.split(everything, 1000):
                images = task.images.take(indices, torch.full_like(indices, variant))
                rows.append(_softened(model, images.to(device), temperature).cpu())
            columns.append(torch.cat(rows))
    return Table(torch.stack(columns, dim=1))


def _softened(model: nn.Module, images: Tensor, temperature: float) -> Tensor:
    return functional.softmax(model(images).float() / temperature, 1)
