"""Statistics of batch normalisation, estimated anew after the weights have changed at a stroke.

A running mean follows training slowly. After a cut it still describes the network before, and the network is
judged worse than it is: most of what a one-shot cut seems to cost can be wrong statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.pruning.modes import evaluating
from secateur.training.task import Task

# Means over 2,048 images err by a 45th of a deviation, and less where a map has many pixels.
_BATCH = 128
_BATCHES = 16


@torch.no_grad()
def reestimate_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running means and variances of batch normalisation by averages over some batches.

    Every batch counts the same: ``mean = (1/n) sum_i mean(batch i)``, and so for the variances. Layers behind
    one another see what those before make of the batch's own statistics, as in training. Dropout is off, and
    weights, modes and momenta stay as they are.

    Args:
        model: The network, changed in place.
        batches: Images as in training, at least one batch, of two images or more; not looked at where the
            network has no such layers.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> reestimate_statistics(norm, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])])
        >>> norm.running_mean.item(), norm.running_var.item(), norm.training
        (4.0, 2.0, True)
    """
    layers = list(_with_statistics(model))
    if not layers:
        return
    device = next(model.parameters()).device
    with evaluating(model):
        momenta = [layer.momentum for layer in layers]
        try:
            for layer in layers:
                layer.reset_running_stats()
                layer.training, layer.momentum = True, None  # torch's way to say: the plain average
            for images in batches:
                model(images.to(device))
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


def has_statistics(model: nn.Module) -> bool:
    """Whether a network has batch normalisation with running statistics.

    Example:
        >>> has_statistics(nn.BatchNorm2d(3)), has_statistics(nn.BatchNorm2d(3, track_running_stats=False))
        (True, False)
    """
    return any(True for _ in _with_statistics(model))


def training_batches(task: Task, seed: int, *place: str | int) -> Iterator[Tensor]:
    """Some batches of training images, the same ones for the same seed and place on every process.

    Whole batches, also where several processes share the training: so all of them come to the same
    statistics without asking each other.

    Args:
        task: What is trained on.
        seed: The run's seed.
        place: Where in the run; it decides which images they are.

    Yields:
        Images, float32 [b, channels, height, width].
    """
    count = max(1, min(_BATCHES, task.train_count // _BATCH))
    for batch in islice(task.batches(_BATCH, seed, *place, "statistics"), count):
        yield batch.images


def _with_statistics(model: nn.Module) -> Iterator[_BatchNorm]:
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
            yield layer
