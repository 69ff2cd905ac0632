"""Scores: how much a connection matters. Higher is kept.

A score is a plain callable ``(parameter name, weight) -> tensor of the same shape``. Scores are comparable
within a layer; `magnitude`, `lamp` and `Random` are comparable across layers too, so that one global ranking
may use them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.errors import ConfigurationError

Score = Callable[[str, Tensor], Tensor]


def magnitude(name: str, weight: Tensor) -> Tensor:
    """The absolute value of each weight: ``|w|``.

    Args:
        name: The parameter's name (not used).
        weight: Weights of any shape.

    Returns:
        A tensor of the same shape.

    Example:
        >>> magnitude("fc1.weight", torch.tensor([-2.0, 1.0]))
        tensor([2., 1.])

    Source: paper, section 3 (Fig 2): connections with small weights are removed.
    """
    del name
    return weight.detach().abs()


def lamp(name: str, weight: Tensor) -> Tensor:
    """Layer-adaptive magnitude: each squared weight over the sum of those in its layer that are no smaller.

    ``lamp(u) = w_u^2 / sum(w_v^2 for v with w_v^2 >= w_u^2)``, so the largest weight of every layer scores 1
    and a global ranking never empties a layer before the others.

    Args:
        name: The parameter's name (not used).
        weight: Weights of any shape. Zeros score zero.

    Returns:
        Scores in 0..1, of the same shape; float32 for weights of half precision.

    Example:
        >>> lamp("fc1.weight", torch.tensor([1.0, -2.0, 0.0]))
        tensor([0.2000, 1.0000, 0.0000])

    Source: Lee, Park, Mo, Ahn, Shin, "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021.
    """
    del name
    # Halves are squared in float32: the square of 1e-4 is already zero in float16.
    squares = weight.detach().abs().to("cpu", _exact_type(weight)).flatten().square().numpy()
    order, ordered = _ascending(squares)
    # The sum runs in float64: over 10^8 float32 squares the running total would stop growing.
    tail = np.cumsum(ordered[::-1], dtype=np.float64)[::-1]
    # Ties share the sum that starts at the first of them, as the definition's ">=" says.
    starts = np.concatenate((np.ones(1, dtype=bool), ordered[1:] != ordered[:-1]))[: len(ordered)]
    first_of_tie = np.maximum.accumulate(np.where(starts, np.arange(len(ordered)), 0))
    scores = np.zeros_like(squares)
    with np.errstate(invalid="ignore"):  # infinite weights score NaN, which every ranking refuses
        scores[order] = np.divide(
            ordered, tail[first_of_tie], out=np.zeros(len(ordered)), where=ordered != 0
        ).astype(squares.dtype)
    return torch.from_numpy(scores).view(weight.shape).to(weight.device)


def _ascending(
    squares: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.integer[Any]], NDArray[np.floating[Any]]]:
    if squares.dtype == np.float64:
        order = np.argsort(squares, kind="stable")
        return order, squares[order]
    # The bits of a float at or above zero order as an integer does; with the index below them, one sort of
    # plain integers gives the order, several times faster than sorting with an index carried along.
    packed = squares.view(np.uint32).astype(np.uint64) << np.uint64(32)
    packed |= np.arange(len(squares), dtype=np.uint64)
    packed.sort()
    ordered = (packed >> np.uint64(32)).astype(np.uint32).view(np.float32)
    return (packed & np.uint64(0xFFFFFFFF)).astype(np.intp), ordered


@final
@dataclass(frozen=True)
class Random:
    """Scores drawn uniformly from 0..1: the baseline that every other score must beat.

    Args:
        seed: The same seed gives the same scores for a parameter of the same name.

    Example:
        >>> Random(seed=1)("fc1.weight", torch.zeros(2)).shape
        torch.Size([2])
    """

    seed: int = 0

    def __call__(self, name: str, weight: Tensor) -> Tensor:
        """Scores of the weight's shape, float32 for half precision; they do not depend on its values."""
        return _uniform(self.seed, name, weight).to(_exact_type(weight))


@final
@dataclass(frozen=True)
class ProbabilisticMagnitude:
    """The paper's probabilistic cut: weights survive by a draw whose odds grow with their magnitude.

    ``score = log(u) / |w|`` with ``u`` uniform in 0..1. Keeping the k highest scores draws k weights without
    replacement, each time in proportion to ``|w|`` (Efraimidis and Spirakis 2006), so the counts stay exact.

    Args:
        seed: The same seed gives the same draw for a parameter of the same name.

    Example:
        >>> score = ProbabilisticMagnitude(seed=0)("fc1.weight", torch.tensor([1e-9, 10.0]))
        >>> bool(score[1] > score[0])
        True

    Source: paper, section 3.4: tried and dropped there, because its accuracy was lower. Kept to compare.
    """

    seed: int = 0

    def __call__(self, name: str, weight: Tensor) -> Tensor:
        """Scores at or below zero, of the same shape as the weight, float32 for half precision.

        A zero weight scores -inf.
        """
        uniform = _uniform(self.seed, name, weight).clamp_(min=torch.finfo(torch.float64).tiny)
        return (uniform.log_() / weight.detach().abs().to(torch.float64)).to(_exact_type(weight))


def score_of(score: Score, name: str, weight: Tensor) -> Tensor:
    """What a score says of a weight, refused where it is not one number for every connection.

    Args:
        score: The score, perhaps of somebody's own.
        name: The parameter's name.
        weight: Weights of any shape.

    Returns:
        A tensor of the same shape.

    Raises:
        ConfigurationError: It is no tensor, or of another shape.

    Example:
        >>> score_of(magnitude, "fc1.weight", torch.tensor([-2.0]))
        tensor([2.])
    """
    scores: object = score(name, weight)
    if not isinstance(scores, Tensor) or scores.shape != weight.shape:
        found = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise ConfigurationError(
            f"the score {getattr(score, '__name__', score)!s} of {name!r}: expected a tensor of the weight's "
            f"shape {tuple(weight.shape)}, a number for every connection, found {found}; a score of whole "
            "rows is spread over them by expand_as(weight)"
        )
    return scores


def _exact_type(weight: Tensor) -> torch.dtype:
    # Among 1,000 numbers of half precision between 0 and 1 there are ties, and ties go by index.
    return torch.float64 if weight.dtype in (torch.float64, torch.complex128) else torch.float32


def _uniform(seed: int, name: str, weight: Tensor) -> Tensor:
    # Seeded by name, and drawn on the CPU, so that neither the order of layers, nor the device, nor the rank
    # changes the draw.
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.rand(weight.shape, generator=generator, dtype=torch.float64).to(weight.device)
