"""The saved state of a pruner, and what is refused as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from secateur.errors import CheckpointError, MaskError
from secateur.pruning.layers import layer_name
from secateur.pruning.masks import Masks


def checked_state(state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[Masks, int]:
    """The masks and the step count of a saved pruner, refused where they are not of these weights.

    Args:
        state: What ``Pruner.state_dict`` gave.
        weights: The weights under pruning, by parameter name.

    Returns:
        The masks and the steps.

    Raises:
        CheckpointError: It is not a pruner's state, it is of another network, or it leaves a layer empty.

    Example:
        >>> import torch
        >>> weights = {"fc.weight": torch.ones(2)}
        >>> checked_state({"masks": {"fc.weight": torch.tensor([True, False])}, "steps": 7}, weights)[1]
        7
    """
    given: object = state
    if not isinstance(given, Mapping):
        raise CheckpointError(f"not a pruner's state: expected a mapping, found {type(given).__name__}")
    if not isinstance(state.get("masks"), Mapping) or not isinstance(state.get("steps"), int):
        raise CheckpointError(
            "not a pruner's state: expected the keys 'masks' and 'steps', found "
            f"{', '.join(map(repr, state)) or 'none'}"
        )
    if set(state["masks"]) != set(weights):
        difference = ", ".join(sorted(set(state["masks"]) ^ set(weights)))
        raise CheckpointError(
            "this pruner's state is of another network or another choice of layers: only one of the two "
            f"prunes {difference}"
        )
    try:
        masks = Masks(state["masks"])
        masks.check_fits(weights)
    except MaskError as error:
        raise CheckpointError(f"this pruner's state is of another network: {error}") from error
    empty = [layer_name(name) for name in masks if not masks.kept_of(name)]
    if empty:
        raise CheckpointError(f"this pruner's state leaves no weight at all in {', '.join(empty)}")
    return masks, state["steps"]
