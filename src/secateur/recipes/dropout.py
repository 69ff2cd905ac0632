"""The dropout of a run's networks: the plan's rate, and the paper's rule for retraining."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from secateur.errors import UnsupportedModelError
from secateur.pruning.dropout import DROPOUTS, apply_dropout_rule, dropout_predecessors
from secateur.pruning.layers import unwrap
from secateur.pruning.masks import Masks
from secateur.recipes.plan import Plan


def set_dropout(model: nn.Module, rate: float | None) -> None:
    """Give every `torch.nn.Dropout` a rate; None leaves them as they are."""
    if rate is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate


def ruled_dropouts(model: nn.Module, plan: Plan, shape: tuple[int, ...]) -> Mapping[str, str]:
    """The dropout modules that the rule speaks of, once `set_dropout` has set their rates.

    Args:
        model: The network.
        plan: What is done.
        shape: The shape of one image.

    Returns:
        Dropout module path -> parameter name of the weight before it; empty if the rule changes nothing.

    Raises:
        UnsupportedModelError: One dropout module stands behind two layers.
    """
    rates = [module.p for module in model.modules() if isinstance(module, DROPOUTS)]
    if not plan.dropout_rule or not any(rates):
        return {}
    try:
        return dropout_predecessors(model, shape)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{error}, or set `dropout_rule: false` in the plan") from error


def follow_dropout_rule(
    model: nn.Module, masks: Callable[[], Masks], plan: Plan, shape: tuple[int, ...]
) -> dict[str, float]:
    """Set the plan's dropout, then lower it by ``D_r = D_o sqrt(C_ir / C_io)`` where the plan says so.

    Args:
        model: A network with its original rates.
        masks: Says which weights live; asked where there is a dropout that the rule speaks of.
        plan: What is done.
        shape: The shape of one image.

    Returns:
        Dropout module path -> the rate that the rule set.

    Source: paper, section 3.2.
    """
    set_dropout(model, plan.dropout)
    before = ruled_dropouts(model, plan, shape)
    if not before:
        return {}
    return apply_dropout_rule(model, masks(), {path: _rate(model, path) for path in before}, before)


def _rate(model: nn.Module, path: str) -> float:
    module: object = unwrap(model).get_submodule(path)
    rate: float = getattr(module, "p")  # noqa: B009  # nn.Module types its attributes as tensors or modules
    return rate
