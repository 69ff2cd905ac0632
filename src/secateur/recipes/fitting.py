"""Whether a plan fits a network and a task: found out before anything is trained or written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from secateur.errors import ConfigurationError
from secateur.pruning.layers import aliases, prunable_weights, resolve_layer_values, select_weights
from secateur.recipes.plan import DensityCut, GlobalCut, Plan, QualityCut
from secateur.training.freezing import train_only
from secateur.training.phase import Phase
from secateur.training.seeding import seeded
from secateur.training.task import Task


def check_fits(plan: Plan, model: Callable[[], nn.Module], task: Task, seed: int) -> None:
    """Refuse a plan that would fail only after an hour of training.

    Args:
        plan: What shall be done.
        model: Makes the network.
        task: What it shall be trained on.
        seed: The run's seed.

    Raises:
        ConfigurationError: The seed is negative, the network does not take the task's images or give its
            classes, or the plan sets a dropout rate for a network without dropout.
        LayerSelectionError: A pattern of the plan matches nothing or claims a layer twice.
    """
    if seed < 0:
        raise ConfigurationError(f"the seed must be a whole number at or above 0, found {seed}")
    with seeded(seed, "check"):
        network = model()
        _check_outputs(network, task)
    chosen = select_weights(network, None, plan.exclude or None)
    match plan.cut:
        case QualityCut() | DensityCut():
            resolve_layer_values(list(chosen), plan.cut.layers, aliases(prunable_weights(network)))
        case GlobalCut():
            pass
    phases: Sequence[Phase] = (*plan.dense, *plan.retrain, *(plan.final or ()))
    for phase in phases:
        with train_only(network, phase.only):
            continue
    if plan.dropout is not None and not any(isinstance(module, nn.Dropout) for module in network.modules()):
        raise ConfigurationError(
            f"the plan sets dropout to {plan.dropout}, but the network has no torch.nn.Dropout to set it in; "
            "leave `dropout` away or give the network such modules"
        )


@torch.no_grad()
def _check_outputs(network: nn.Module, task: Task) -> None:
    where = f"the network {type(network).__name__} on images of shape {task.image_shape}"
    network.eval()
    try:
        outputs = network(task.validation_images[:1].to(next(network.parameters()).device))
    except RuntimeError as error:
        raise ConfigurationError(
            f"{where}: it does not run ({error}); choose a network for such images"
        ) from error
    if outputs.shape != (1, task.classes):
        raise ConfigurationError(
            f"{where}: expected an output of shape [1, {task.classes}], one number a class, "
            f"found {list(outputs.shape)}; give its last layer {task.classes} outputs"
        )
