"""Reachable targets: where a sweep has removed more than a round asks for, the round has nothing to cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never, final

from secateur.pruning.criteria import Criterion, Density, GlobalDensity, StdThreshold
from secateur.pruning.layers import layer_name, resolve_layer_values
from secateur.pruning.masks import Masks
from secateur.pruning.selection import kept_count


@final
@dataclass(frozen=True)
class Reachable:
    """A criterion that can be obeyed, and what the one it stands for asked.

    Attributes:
        criterion: Asks for no more weights than live.
        asked: How many of the weights under pruning the original keeps; None where it names no number.
        capped: Layer (``"all layers"`` for one ranking over all) -> what was asked and what lives.
    """

    criterion: Criterion
    asked: int | None
    capped: Mapping[str, Mapping[str, int]]


def reachable(criterion: Criterion, alive: Masks, names: Mapping[str, str]) -> Reachable:
    """Lower a target to what lives. Pure.

    Args:
        criterion: What to cut.
        alive: The weights that live so far.
        names: Every name a layer may be asked for by -> canonical parameter name.

    Returns:
        The criterion itself, or one that keeps all that lives where it asked for more.

    Raises:
        LayerSelectionError: A layer given a value of its own is not there, or is there twice.

    Example:
        >>> import torch
        >>> alive = Masks({"fc.weight": torch.tensor([True, False, False, False])})
        >>> reachable(GlobalDensity(0.5), alive, {}).criterion.density
        0.25
        >>> reachable(GlobalDensity(0.5), alive, {}).capped
        {'all layers': {'asked': 2, 'alive': 1}}
    """
    match criterion:
        case StdThreshold():
            return Reachable(criterion, None, {})
        case GlobalDensity():
            asked, living = kept_count(criterion.density, alive.total), alive.kept
            if asked <= living:
                return Reachable(criterion, asked, {})
            lower = GlobalDensity(living / alive.total, criterion.score)
            return Reachable(lower, asked, {"all layers": {"asked": asked, "alive": living}})
        case Density():
            return _by_layer(criterion, alive, names)
        case _:
            assert_never(criterion)


def _by_layer(criterion: Density, alive: Masks, names: Mapping[str, str]) -> Reachable:
    densities = resolve_layer_values(list(alive), criterion.layers, names)
    shared = {name: mask.shape for name, mask in alive.items() if name not in densities}
    densities = densities | criterion.allocation(shared, criterion.density)
    asked = {name: kept_count(densities[name], mask.numel()) for name, mask in alive.items()}
    capped = {name: alive.kept_of(name) for name in alive if asked[name] > alive.kept_of(name)}
    total = sum(asked.values())
    if not capped:
        return Reachable(criterion, total, {})
    # Every layer by name: capping one must not change what the allocation gives the others.
    lowered = densities | {name: living / alive[name].numel() for name, living in capped.items()}
    notes = {layer_name(name): {"asked": asked[name], "alive": living} for name, living in capped.items()}
    return Reachable(Density(criterion.density, lowered, criterion.score, criterion.allocation), total, notes)
