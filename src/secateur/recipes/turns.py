"""Turns: within a round some layers are cut and retrained before the others (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from secateur.errors import LayerSelectionError
from secateur.pruning.criteria import Criterion, compute_masks
from secateur.pruning.layers import layer_name, resolve_layer_values
from secateur.pruning.pruner import Pruner
from secateur.recipes.plan import Turn


def layers_of(
    turns: Sequence[Turn], turn: int | None, names: Sequence[str], model_names: Mapping[str, str]
) -> list[str]:
    """The layers that a turn cuts; or those that are in no turn.

    Args:
        turns: A plan's turns.
        turn: Which of them, from 0; None means the rest of the layers.
        names: Canonical parameter names under pruning.
        model_names: Every name a layer may be asked for by -> canonical name.

    Returns:
        Canonical names, in the order of ``names``.

    Raises:
        LayerSelectionError: A pattern matches nothing that is being pruned.

    Example:
        >>> phase = {"epochs": 1, "batch_size": 8, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
        >>> turns = [Turn(layers=["fc*"], retrain=[phase])]
        >>> names = {"conv1": "conv1.weight", "fc1": "fc1.weight"}
        >>> [layers_of(turns, turn, list(names.values()), names) for turn in (0, None)]
        [['fc1.weight'], ['conv1.weight']]
    """
    found = [set(resolve_layer_values(names, dict.fromkeys(one.layers, 0), model_names)) for one in turns]
    if turn is not None:
        return [name for name in names if name in found[turn]]
    return [name for name in names if not any(name in layers for layers in found)]


def check_turns(turns: Sequence[Turn], names: Sequence[str], model_names: Mapping[str, str]) -> None:
    """Refuse turns that do not fit a network.

    Args:
        turns: A plan's turns.
        names: Canonical parameter names under pruning.
        model_names: Every name a layer may be asked for by -> canonical name.

    Raises:
        LayerSelectionError: A pattern matches nothing that is being pruned, or a layer has two turns.
    """
    claimed: dict[str, int] = {}
    for number in range(len(turns)):
        for name in layers_of(turns, number, names, model_names):
            if name in claimed:
                raise LayerSelectionError(
                    f"turns: layer {layer_name(name)!r} has turn {claimed[name] + 1} and turn {number + 1}; "
                    "in a round each layer is cut once: give it one turn"
                )
            claimed[name] = number


def cut_in_turn(
    pruner: Pruner,
    weights: Mapping[str, Tensor],
    criterion: Criterion,
    names: Mapping[str, str],
    turns: Sequence[Turn],
    turn: int | None,
) -> None:
    """Cut the layers whose turn it is as a criterion asks; leave the others as they are.

    Args:
        pruner: Holds the masks.
        weights: The weights under pruning by canonical name.
        criterion: What a whole round asks for.
        names: Every name a layer may be asked for by -> canonical name.
        turns: The plan's turns; without any, everything is cut.
        turn: Which of them; None cuts the layers that are in no turn.

    Raises:
        UnreachableTargetError: A layer would end empty.
    """
    if not turns:
        pruner.prune(criterion)
        return
    masks = compute_masks(weights, criterion, pruner.masks, names)
    pruner.restrict({name: masks[name] for name in layers_of(turns, turn, list(weights), names)})
