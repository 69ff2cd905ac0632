"""Criteria: what a prune is asked to do. A closed union of small frozen values; one function obeys them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never, final

from torch import Tensor

from secateur.errors import ConfigurationError, UnreachableTargetError
from secateur.pruning.allocation import Allocation, uniform
from secateur.pruning.layers import layer_name, resolve_layer_values
from secateur.pruning.masks import Masks
from secateur.pruning.scores import Score, magnitude, score_of
from secateur.pruning.selection import (
    keep_above_threshold,
    keep_highest,
    keep_highest_globally,
    kept_count,
    refuse_more_than_alive,
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
        ConfigurationError: A quality is no number, negative or not finite.

    Source: paper, section 4. The deviation is taken over the layer's living weights:
    `secateur.pruning.selection.surviving_deviation` says why.
    """

    quality: float
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for quality in (self.quality, *_values(self.layers)):
            if not (_is_number(quality) and 0 <= quality < float("inf")):
                raise ConfigurationError(
                    f"a quality parameter is a number at or above zero; found {quality!r}"
                )


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
        ConfigurationError: A density is no number, not in 0..1 or is 0.
    """

    density: float
    layers: Mapping[str, float] = field(default_factory=dict)
    score: Score = magnitude
    allocation: Allocation = uniform

    def __post_init__(self) -> None:
        for density in (self.density, *_values(self.layers)):
            _check_density(density)
        _check_function("score", self.score, "magnitude or lamp")
        _check_function("allocation", self.allocation, "uniform or erdos_renyi_kernel")


@final
@dataclass(frozen=True)
class GlobalDensity:
    """One ranking over all layers: of all weights, the ``round(density x n)`` highest scores live.

    Args:
        density: Fraction of all weights kept, above 0 and at most 1.
        score: A score that is comparable across layers (`magnitude`, `lamp`, `Random`).

    Raises:
        ConfigurationError: The density is no number, not in 0..1 or is 0.
    """

    density: float
    score: Score = magnitude

    def __post_init__(self) -> None:
        _check_density(self.density)
        _check_function("score", self.score, "magnitude or lamp")


Criterion = StdThreshold | Density | GlobalDensity


def _check_function(key: str, given: object, such: str) -> None:
    if not callable(given):
        raise ConfigurationError(
            f"{key}: expected a function such as secateur's {such}, found {given!r}; only recipes "
            "name it by a word"
        )


def check_criterion(criterion: object) -> Criterion:
    """The criterion itself, refused where it is something else.

    Args:
        criterion: What shall be a criterion.

    Returns:
        The same.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(criterion, StdThreshold | Density | GlobalDensity):
        return criterion
    advice = ""
    if _is_number(criterion):
        advice = f"; did you mean sc.Density({criterion})?"
    elif isinstance(criterion, type):
        advice = f"; did you mean sc.{criterion.__name__}(0.1)?"
    raise ConfigurationError(f"expected StdThreshold, Density or GlobalDensity, found {criterion!r}{advice}")


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
        ConfigurationError: It is no criterion, a number that it ranks is NaN, or a score is not of its
            weight's shape.

    Example:
        >>> import torch
        >>> weights = {"fc1.weight": torch.tensor([[0.1, -3.0], [2.0, 0.2]])}
        >>> compute_masks(weights, Density(0.5))["fc1.weight"].tolist()
        [[False, True], [True, False]]
    """
    check_criterion(criterion)
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


def check_reachable(
    weights: Mapping[str, Tensor], criterion: Criterion, alive: Masks, names: Mapping[str, str]
) -> None:
    """Refuse a criterion that asks for more weights than are alive, without ranking any.

    Args:
        weights: Weight tensors by canonical parameter name.
        criterion: What shall be cut.
        alive: The weights that live so far.
        names: Every name a layer may be asked for by -> canonical name.

    Raises:
        UnreachableTargetError: More weights are asked for than are alive, in a layer or in all.
        LayerSelectionError: A layer given a value of its own is not there, or is there twice.
    """
    match criterion:
        case StdThreshold():
            return
        case Density():
            for name, count in _counts(weights, criterion, names).items():
                _refuse_beyond_the_living(name, count, weights[name].numel(), alive.kept_of(name))
        case GlobalDensity():
            refuse_more_than_alive(tuple(weights), kept_count(criterion.density, alive.total), alive.kept)
        case _:
            assert_never(criterion)


def check_leaves_something(
    weights: Mapping[str, Tensor], criterion: Criterion, names: Mapping[str, str]
) -> None:
    """Refuse a criterion that leaves a layer empty whatever its weights are.

    Args:
        weights: Weight tensors by canonical parameter name; only their shapes are looked at.
        criterion: What shall be cut.
        names: Every name a layer may be asked for by -> canonical name.

    Raises:
        UnreachableTargetError: A layer's density comes to no weight, or fewer weights are kept than there
            are layers.
        LayerSelectionError: A layer given a value of its own is not there, or is there twice.
    """
    match criterion:
        case StdThreshold():  # how many weights are above it, the weights say
            return
        case Density():
            counts = _counts(weights, criterion, names)
            _refuse_layers([name for name, count in counts.items() if not count], criterion)
        case GlobalDensity():
            total = sum(weight.numel() for weight in weights.values())
            kept = kept_count(criterion.density, total)
            if kept < len(weights):
                raise UnreachableTargetError(
                    f"{_said(criterion)} would leave {kept:,} of {total:,} weights, and {len(weights)} "
                    f"layers need one each at least: ask for a density of at least {len(weights) / total:.3g}"
                )
        case _:
            assert_never(criterion)


def is_reached(
    weights: Mapping[str, Tensor], criterion: Criterion, alive: Masks, names: Mapping[str, str]
) -> bool:
    """Whether the network is already as small as a criterion asks; of a threshold, whether anything is cut.

    Args:
        weights: Weight tensors by canonical parameter name.
        criterion: What shall be cut.
        alive: The weights that live so far.
        names: Every name a layer may be asked for by -> canonical name.

    Returns:
        True where no layer (or, globally, not the whole) has more living weights than the criterion keeps.

    Raises:
        LayerSelectionError: A layer given a value of its own is not there, or is there twice.
    """
    match criterion:
        case StdThreshold():  # its count is not known beforehand, and trained weights are cut again and again
            return alive.kept < alive.total
        case Density():
            counts = _counts(weights, criterion, names)
            return all(alive.kept_of(name) <= count for name, count in counts.items())
        case GlobalDensity():
            return alive.kept <= kept_count(criterion.density, alive.total)
        case _:
            assert_never(criterion)


def _std_threshold(
    weights: Mapping[str, Tensor], criterion: StdThreshold, alive: Masks | None, names: Mapping[str, str]
) -> Masks:
    qualities = resolve_layer_values(list(weights), criterion.layers, names)
    masks: dict[str, Tensor] = {}
    for name, weight in weights.items():
        living = None if alive is None else alive[name]
        try:
            threshold = qualities.get(name, criterion.quality) * surviving_deviation(weight, living)
            masks[name] = keep_above_threshold(weight, threshold, living)
        except ConfigurationError as error:
            raise ConfigurationError(f"layer {layer_name(name)!r}: {error}") from error
    return Masks(masks)


def _density(
    weights: Mapping[str, Tensor], criterion: Density, alive: Masks | None, names: Mapping[str, str]
) -> Masks:
    return Masks(
        {
            name: _keep_in_layer(
                name,
                score_of(criterion.score, name, weights[name]),
                count,
                None if alive is None else alive[name],
            )
            for name, count in _counts(weights, criterion, names).items()
        }
    )


def _counts(weights: Mapping[str, Tensor], criterion: Density, names: Mapping[str, str]) -> dict[str, int]:
    own = resolve_layer_values(list(weights), criterion.layers, names)
    shared = {name: weight.shape for name, weight in weights.items() if name not in own}
    densities = own | criterion.allocation(shared, criterion.density)
    return {name: kept_count(densities[name], weight.numel()) for name, weight in weights.items()}


def _keep_in_layer(name: str, scores: Tensor, count: int, alive: Tensor | None) -> Tensor:
    living = scores.numel() if alive is None else int(alive.count_nonzero())
    _refuse_beyond_the_living(name, count, scores.numel(), living)
    return keep_highest(scores, count, alive)


def _refuse_beyond_the_living(name: str, count: int, total: int, living: int) -> None:
    if count > living:
        raise UnreachableTargetError(
            f"layer {layer_name(name)!r}: asked to keep {count:,} of {total:,} weights but only "
            f"{living:,} are alive; pruning never revives a weight, so ask for a density of at most "
            f"{living / total:.6g}"
        )


def _refuse_empty(masks: Masks, criterion: Criterion) -> None:
    _refuse_layers([name for name, mask in masks.items() if not bool(mask.any())], criterion)


def _refuse_layers(empty: Sequence[str], criterion: Criterion) -> None:
    if empty:
        layers = ", ".join(layer_name(name) for name in empty)
        raise UnreachableTargetError(
            f"{_said(criterion)} would leave no weight at all in {layers}, and nothing would pass "
            "through; "
            "ask for less there (a value of its own in `layers`, a score such as `lamp`, or `exclude`)"
        )


def _said(criterion: Criterion) -> str:
    value = criterion.quality if isinstance(criterion, StdThreshold) else criterion.density
    return f"{type(criterion).__name__}({float(value):g})"


def _check_density(density: float) -> None:
    if not (_is_number(density) and 0 < density <= 1):
        raise ConfigurationError(
            f"a density is a fraction of weights kept, above 0 and at most 1; found {density!r}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _values(layers: object) -> tuple[float, ...]:
    if not isinstance(layers, Mapping):
        raise ConfigurationError(
            f"`layers` of a criterion gives layers their own values, as in {{'fc1': 0.5}}; found {layers!r}"
        )
    return tuple(layers.values())
