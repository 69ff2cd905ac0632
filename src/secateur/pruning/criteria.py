"""Criteria: what a prune is asked to do. A closed union of small frozen values; one function obeys them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never, final

from torch import Tensor

from secateur.errors import ConfigurationError, UnreachableTargetError
from secateur.pruning.allocation import Allocation, uniform
from secateur.pruning.layers import layer_name, resolve_layer_values
from secateur.pruning.masks import Masks
from secateur.pruning.scores import Score, magnitude
from secateur.pruning.selection import (
    keep_above_threshold,
    keep_highest,
    keep_highest_globally,
    kept_count,
    surviving_deviation,
)


@final
@dataclass(frozen=True)
class StdThreshold:
    """The paper's cut: in every layer, weights below ``quality x standard deviation`` go.

    Args:
        quality: The quality parameter s, at or above zero; 1.7 keeps about 9 % of normal weights.
        layers: Quality by layer pattern, where it differs.

    Raises:
        ConfigurationError: A quality is negative or not finite.

    Source: paper, section 4. The deviation is taken over the layer's living weights:
    `secateur.pruning.selection.surviving_deviation` says why.
    """

    quality: float
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for quality in (self.quality, *self.layers.values()):
            if not 0 <= quality < float("inf"):
                raise ConfigurationError(f"a quality parameter is a number at or above zero; found {quality}")


@final
@dataclass(frozen=True)
class Density:
    """An exact density in every layer: each keeps ``round(density x n)`` of its highest scores.

    Args:
        density: Fraction of weights kept, above 0 and at most 1, shared out by ``allocation``.
        layers: Density by layer pattern, where it differs; these layers are left out of the allocation.
        score: What is kept first.
        allocation: How the density is shared out.

    Raises:
        ConfigurationError: A density is not in 0..1 or is 0.
    """

    density: float
    layers: Mapping[str, float] = field(default_factory=dict)
    score: Score = magnitude
    allocation: Allocation = uniform

    def __post_init__(self) -> None:
        for density in (self.density, *self.layers.values()):
            _check_density(density)


@final
@dataclass(frozen=True)
class GlobalDensity:
    """One ranking over all layers: of all weights, the ``round(density x n)`` highest scores live.

    Args:
        density: Fraction of all weights kept, above 0 and at most 1.
        score: A score that is comparable across layers (`magnitude`, `lamp`, `Random`).

    Raises:
        ConfigurationError: The density is not in 0..1 or is 0.
    """

    density: float
    score: Score = magnitude

    def __post_init__(self) -> None:
        _check_density(self.density)


Criterion = StdThreshold | Density | GlobalDensity


def compute_masks(
    weights: Mapping[str, Tensor],
    criterion: Criterion,
    alive: Masks | None = None,
    names: Mapping[str, str] | None = None,
) -> Masks:
    """The masks that a criterion asks for. Pure: no weight is changed, and no pruned weight comes back.

    Args:
        weights: Weight tensors by canonical parameter name.
        criterion: What to cut.
        alive: The weights that live so far; all, if not given.
        names: Every name a layer may be asked for by -> canonical name; the parameter's and the layer's if
            not given.

    Returns:
        Masks that are a subset of ``alive``.

    Raises:
        UnreachableTargetError: A layer would end empty, or has fewer living weights than it shall keep.
        LayerSelectionError: A layer given a value of its own is not there, or is there twice.

    Example:
        >>> import torch
        >>> weights = {"fc1.weight": torch.tensor([[0.1, -3.0], [2.0, 0.2]])}
        >>> compute_masks(weights, Density(0.5))["fc1.weight"].tolist()
        [[False, True], [True, False]]
    """
    if alive is not None:
        alive.check_fits(weights)
    names = names or {alias: name for name in weights for alias in (name, layer_name(name))}
    match criterion:
        case StdThreshold():
            masks = _std_threshold(weights, criterion, alive, names)
        case Density():
            masks = _density(weights, criterion, alive, names)
        case GlobalDensity():
            total = sum(weight.numel() for weight in weights.values())
            masks = keep_highest_globally(
                weights, criterion.score, kept_count(criterion.density, total), alive
            )
        case _:
            assert_never(criterion)
    _refuse_empty(masks, criterion)
    return masks


def _std_threshold(
    weights: Mapping[str, Tensor], criterion: StdThreshold, alive: Masks | None, names: Mapping[str, str]
) -> Masks:
    qualities = resolve_layer_values(list(weights), criterion.layers, names)
    masks: dict[str, Tensor] = {}
    for name, weight in weights.items():
        living = None if alive is None else alive[name]
        threshold = qualities.get(name, criterion.quality) * surviving_deviation(weight, living)
        masks[name] = keep_above_threshold(weight, threshold, living)
    return Masks(masks)


def _density(
    weights: Mapping[str, Tensor], criterion: Density, alive: Masks | None, names: Mapping[str, str]
) -> Masks:
    own = resolve_layer_values(list(weights), criterion.layers, names)
    shared = {name: weight.shape for name, weight in weights.items() if name not in own}
    densities = own | criterion.allocation(shared, criterion.density)
    return Masks(
        {
            name: _keep_in_layer(
                name,
                criterion.score(name, weight),
                kept_count(densities[name], weight.numel()),
                None if alive is None else alive[name],
            )
            for name, weight in weights.items()
        }
    )


def _keep_in_layer(name: str, scores: Tensor, count: int, alive: Tensor | None) -> Tensor:
    living = scores.numel() if alive is None else int(alive.count_nonzero())
    if count > living:
        raise UnreachableTargetError(
            f"layer {layer_name(name)!r}: asked to keep {count:,} of {scores.numel():,} weights but only "
            f"{living:,} are alive; pruning never revives a weight, so ask for a density of at most "
            f"{living / scores.numel():.6g}"
        )
    return keep_highest(scores, count, alive)


def _refuse_empty(masks: Masks, criterion: Criterion) -> None:
    empty = [layer_name(name) for name, mask in masks.items() if not bool(mask.any())]
    if empty:
        raise UnreachableTargetError(
            f"{_said(criterion)} would leave no weight at all in {', '.join(empty)}, and nothing would pass "
            "through; "
            "ask for less there (a value of its own in `layers`, a score such as `lamp`, or `exclude`)"
        )


def _said(criterion: Criterion) -> str:
    value = criterion.quality if isinstance(criterion, StdThreshold) else criterion.density
    return f"{type(criterion).__name__}({value:g})"


def _check_density(density: float) -> None:
    if not 0 < density <= 1:
        raise ConfigurationError(
            f"a density is a fraction of weights kept, above 0 and at most 1; found {density}"
        )
