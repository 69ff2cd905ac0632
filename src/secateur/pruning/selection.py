"""Selection: exactly which connections live, given their scores and how many there shall be.

Everything here is exact: a density keeps ``round(density * n)`` weights, and among equal scores the one with
the lower index is kept. A plain threshold cannot promise either: all its ties fall on one side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.errors import ConfigurationError, UnreachableTargetError
from secateur.pruning.layers import layer_name
from secateur.pruning.masks import Masks
from secateur.pruning.scores import Score, magnitude, score_of

_CHUNK = 1 << 18  # scores whose keys stay in the cache; 4 million took three times as long
_TORCH_TYPE = {4: torch.float32, 8: torch.float64}
Elementwise = Callable[[NDArray[np.floating[Any]]], NDArray[np.floating[Any]]]
Chunk = tuple[int, NDArray[np.floating[Any]], NDArray[np.bool_] | None]  # start, scores, those that live
_NARROW = (torch.float16, torch.bfloat16, torch.float32)  # float32 holds every value of these


def kept_count(density: float, total: int) -> int:
    """The number of weights that a density keeps: ``round(density * total)``.

    Args:
        density: Fraction of weights kept, in 0..1.
        total: Number of weights.

    Returns:
        A count in 0..total.

    Raises:
        ConfigurationError: The density is not in 0..1.

    Example:
        >>> kept_count(0.08, 235_200)
        18816
    """
    if not 0 <= density <= 1:
        raise ConfigurationError(f"a density is a fraction of weights kept, in 0..1; found {density}")
    return round(density * total)


def keep_highest(scores: Tensor, count: int, alive: Tensor | None = None) -> Tensor:
    """The mask of the highest scores; among equal ones the lower index lives.

    Args:
        scores: Scores of any shape; NaN is refused.
        count: How many to keep.
        alive: Where given, only these may live.

    Returns:
        A boolean mask of the same shape with exactly ``count`` True entries.

    Raises:
        UnreachableTargetError: Fewer than ``count`` are alive.
        ConfigurationError: A score is NaN.

    Example:
        >>> keep_highest(torch.tensor([1.0, 3.0, 1.0, 1.0]), 2)
        tensor([ True,  True, False, False])
    """
    name = "the scores"
    return _keep_highest_of_all({name: scores}, None if alive is None else {name: alive}, count)[name]


def keep_highest_globally(
    weights: Mapping[str, Tensor], score: Score, count: int, alive: Masks | None = None
) -> Masks:
    """One ranking over all layers; ties go to the earlier layer, then to the lower index.

    Scores are ranked in float32, or in float64 where one of them is of that type. Beside the network there
    are never more than its scores and the masks: a layer's scores go when its mask is there. Magnitudes need
    no scores: they are taken of the weights a piece at a time.

    Args:
        weights: Weight tensors by parameter name.
        score: A score that is comparable across layers.
        count: How many weights to keep in all.
        alive: Where given, only these may live.

    Returns:
        Masks with exactly ``count`` living weights.

    Raises:
        UnreachableTargetError: Fewer than ``count`` are alive.
        ConfigurationError: A score is NaN, or not of its weight's shape.

    Example:
        >>> weights = {"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([3.0, 2.0])}
        >>> from secateur.pruning.scores import magnitude
        >>> {name: mask.tolist() for name, mask in keep_highest_globally(weights, magnitude, 2).items()}
        {'a': [False, True], 'b': [True, False]}
    """
    if score is magnitude and not any(weight.is_complex() for weight in weights.values()):
        return Masks(_keep_highest_of_all(dict(weights), alive, count, np.abs))
    # Once and kept: fresh memory costs more than all the arithmetic, so computing them again in every pass
    # took twice the time.
    scores = {name: score_of(score, name, weight) for name, weight in weights.items()}
    return Masks(_keep_highest_of_all(scores, alive, count))


def keep_above_threshold(weight: Tensor, threshold: float, alive: Tensor | None = None) -> Tensor:
    """The paper's cut: ``|w| >= threshold`` lives.

    Args:
        weight: Weights of any shape.
        threshold: At or above zero.
        alive: Where given, only these may live.

    Returns:
        A boolean mask of the weight's shape.

    Raises:
        ConfigurationError: A weight that may live, or the threshold, is NaN.

    Example:
        >>> keep_above_threshold(torch.tensor([-2.0, 0.5, 1.0]), 1.0)
        tensor([ True, False,  True])

    Source: paper, section 3 and section 4: "all connections with weights below a threshold are removed".
    """
    magnitudes = weight.detach().abs()
    nan = magnitudes.isnan() if alive is None else magnitudes.isnan() & alive
    if math.isnan(threshold) or bool(nan.any()):
        raise ConfigurationError(
            f"{int(nan.count_nonzero()):,} weights are NaN and the threshold is {threshold}; NaN cannot be "
            "compared, and would be cut silently: did training diverge?"
        )
    # The threshold is compared in the weights' type. Rounded downwards it is itself below the threshold: of
    # bfloat16, one weight in a hundred would stay for it.
    rounded = torch.tensor(threshold, dtype=magnitudes.dtype)
    mask = magnitudes > rounded if float(rounded) < threshold else magnitudes >= rounded
    return mask if alive is None else mask & alive


def surviving_deviation(weight: Tensor, alive: Tensor | None = None) -> float:
    """The standard deviation of a layer's *living* weights, about their mean.

    The paper says "the standard deviation of a layer's weights" and does not say of which ones after the
    first round. Over all of them, the zeros of pruned places would shrink the deviation in proportion to the
    square
    root of the density: at 8 % the same quality parameter would mean a threshold 3.5 times smaller than in
    round one, and later rounds would cut nothing. Over the living ones a quality parameter keeps its meaning.

    Args:
        weight: Weights of any shape.
        alive: Where given, only these are counted.

    Returns:
        The population standard deviation, computed in float64; 0 for fewer than two weights.

    Raises:
        ConfigurationError: A weight is NaN or infinite, and so the deviation would be NaN.

    Example:
        >>> surviving_deviation(torch.tensor([1.0, -1.0, 0.0, 0.0]), torch.tensor([True, True, False, False]))
        1.0

    Source: paper, section 4; Distiller fixes the deviation of the dense network instead.
    """
    living = weight.detach() if alive is None else weight.detach()[alive]
    if living.numel() < 2:
        return 0.0
    exact = torch.complex128 if living.is_complex() else torch.float64
    deviation = float(living.to(exact).std(correction=0))
    if math.isnan(deviation):
        raise ConfigurationError(
            f"{int(living.isnan().count_nonzero()):,} weights are NaN and "
            f"{int(living.isinf().count_nonzero()):,} infinite, so they have no standard deviation: "
            "did training diverge?"
        )
    return deviation


def refuse_more_than_alive(names: Sequence[str], count: int, alive: int) -> None:
    """Refuse to keep more weights than live.

    Args:
        names: The parameters that are ranked together.
        count: How many to keep.
        alive: How many live.

    Raises:
        UnreachableTargetError: ``count`` is above ``alive``.
    """
    if count > alive:
        raise UnreachableTargetError(
            f"asked to keep {count:,} weights of {', '.join(layer_name(name) for name in names)}, but only "
            f"{alive:,} are alive; pruning never revives a weight, so ask for a lower density"
        )


def _keep_highest_of_all(
    scores: dict[str, Tensor], alive: Mapping[str, Tensor] | None, count: int, of: Elementwise | None = None
) -> dict[str, Tensor]:
    """The masks by name; ``scores`` (``of`` them, if given) is emptied on the way, to free its memory."""
    if count < 0:
        raise ConfigurationError(f"the number of weights to keep must be at least 0, found {count}")
    wide = any(tensor.dtype not in _NARROW for tensor in scores.values())
    float_type = np.dtype(np.float64 if wide else np.float32)

    def chunks(name: str, scores: Tensor) -> Iterator[Chunk]:
        return _chunks(scores, None if alive is None else alive[name], float_type, of)

    threshold, ties = _threshold_and_ties(scores, chunks, count, float_type)
    masks: dict[str, Tensor] = {}
    for name in tuple(scores):
        own = scores.pop(name)
        mask = np.empty(own.numel(), dtype=np.bool_)
        ties -= _fill_mask(mask, chunks(name, own), threshold, ties)
        masks[name] = torch.from_numpy(mask).view(own.shape).to(own.device)
    return masks


def _fill_mask(mask: NDArray[np.bool_], chunks: Iterable[Chunk], threshold: float, ties: int) -> int:
    """Fill a flat mask; how many of the ``ties`` that may live were found here."""
    found = 0
    for start, values, living in chunks:
        kept = np.greater(values, threshold, out=mask[start : start + len(values)])
        equal = values == threshold if found < ties else None
        if living is not None:
            kept &= living
            if equal is not None:
                equal &= living
        if equal is not None:
            kept_ties = np.flatnonzero(equal)[: ties - found]
            kept[kept_ties] = True
            found += len(kept_ties)
    return found


def _chunks(
    scores: Tensor, alive: Tensor | None, float_type: np.dtype[Any], of: Elementwise | None
) -> Iterator[Chunk]:
    # In the order of the indices, whatever the memory format; on the CPU and in numpy, whose calls cost the
    # same while other threads are busy (torch's own threads waited for each other for three quarters of the
    # time).
    flat = scores.detach().flatten()
    living = None if alive is None else alive.flatten()
    for start in range(0, len(flat), _CHUNK):
        values = flat[start : start + _CHUNK].to("cpu", _TORCH_TYPE[float_type.itemsize]).numpy()
        part = None if living is None else living[start : start + _CHUNK].cpu().numpy()
        values = values if of is None else of(values)
        yield start, values, None if part is None or part.all() else part


def _threshold_and_ties(
    scores: Mapping[str, Tensor],
    chunks: Callable[[str, Tensor], Iterator[Chunk]],
    count: int,
    float_type: np.dtype[Any],
) -> tuple[float, int]:
    """The lowest kept score, and how many of the scores equal to it are kept.

    A radix selection: the bits of a float, suitably flipped, order as integers do, so counting the values of
    16 bits at a time, from the top, finds the exact score without a sort and without a copy of all scores. (A
    partition of one flat array takes the same time and twice the memory; torch.kthvalue carries an int64
    index a weight as well.) On the CPU whatever the device: the same masks on every machine and every rank.
    """
    if count == 0:
        return float("inf"), 0
    key_type = np.dtype(f"u{float_type.itemsize}")
    bits = 8 * float_type.itemsize
    prefix, rank = 0, count  # the rank-th highest among the scores whose top bits are `prefix`
    for shift in range(bits - 16, -1, -16):
        histogram = np.zeros(1 << 16, dtype=np.int64)
        for name, tensor in scores.items():
            for _, values, living in chunks(name, tensor):
                keys = _ordered_keys(values if living is None else values[living], key_type)
                if shift + 16 < bits:
                    keys = keys[(keys >> key_type.type(shift + 16)) == prefix]
                    if len(keys) == 0:
                        continue
                digits = (keys >> key_type.type(shift)) & key_type.type(0xFFFF)
                histogram += np.bincount(digits.astype(np.intp), minlength=1 << 16)
        at_or_above = np.cumsum(histogram[::-1])[::-1]
        if shift + 16 == bits:
            refuse_more_than_alive(tuple(scores), count, int(at_or_above[0]))
        digit = int(np.flatnonzero(at_or_above >= rank)[-1])
        rank -= int(at_or_above[digit] - histogram[digit])
        prefix = (prefix << 16) | digit
    return _score_of_key(prefix, float_type, key_type), rank


def _ordered_keys(
    scores: NDArray[np.floating[Any]], key_type: np.dtype[Any]
) -> NDArray[np.unsignedinteger[Any]]:
    values = scores + scores.dtype.type(0)  # turns -0.0, which equals 0.0, into it
    lowest = values.min(initial=np.inf)
    if np.isnan(lowest):
        raise ConfigurationError("a score is NaN, which cannot be ranked; are the weights finite?")
    keys = values.view(key_type)
    sign = key_type.type(1 << (8 * key_type.itemsize - 1))
    return keys | sign if lowest >= 0 else np.where(keys & sign, ~keys, keys | sign)


def _score_of_key(key: int, float_type: np.dtype[Any], key_type: np.dtype[Any]) -> float:
    sign = 1 << (8 * key_type.itemsize - 1)
    bits = key & ~sign if key & sign else key ^ ((sign << 1) - 1)
    return float(np.array(bits, dtype=key_type).view(float_type))
