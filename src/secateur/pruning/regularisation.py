"""L1 and L2 regularisation, as penalties and as what they add to the gradient."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from secateur.errors import ConfigurationError


@final
@dataclass(frozen=True)
class Regularisation:
    """A penalty on weights: ``l1 sum|w| + l2/2 sum w^2``.

    Args:
        l1: Strength of the absolute penalty, at or above zero.
        l2: Strength of the quadratic penalty, at or above zero ("weight decay").

    Raises:
        ConfigurationError: A strength is negative or not finite.

    Example:
        >>> float(Regularisation(l1=1.0, l2=2.0).penalty([torch.tensor([1.0, -2.0])]))
        8.0

    Source: paper, section 3.1. Its strengths are not given there.
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name, strength in (("l1", self.l1), ("l2", self.l2)):
            if not 0 <= strength < float("inf"):
                raise ConfigurationError(f"{name} must be a finite number at or above zero, found {strength}")

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The penalty's value, differentiable.

        Args:
            weights: Tensors of any shape; at least one.

        Returns:
            A scalar tensor.
        """
        terms = [self.l1 * weight.abs().sum() + 0.5 * self.l2 * weight.square().sum() for weight in weights]
        return torch.stack(terms).sum()

    @torch.no_grad()
    def add_gradient_(self, weights: Sequence[nn.Parameter]) -> None:
        """Add the penalty's gradient, ``l1 sign(w) + l2 w``, to the gradients that are there.

        The same as adding `penalty` to the loss, at a fraction of the cost: no graph, one pass a term. At
        zero the absolute value's gradient is taken as zero, so a pruned weight is not pushed.

        Args:
            weights: Parameters; those without a gradient (frozen ones) are left alone.

        Raises:
            ConfigurationError: A gradient is sparse, and the penalty's is not.
        """
        if not (self.l1 or self.l2):
            return
        _give_each_its_own(weights)
        live: list[Tensor] = [weight for weight in weights if weight.grad is not None]
        gradients = [weight.grad for weight in live if weight.grad is not None]
        if self.l1 and live:
            torch._foreach_add_(gradients, torch._foreach_sign(live), alpha=self.l1)
        if self.l2 and live:
            torch._foreach_add_(gradients, live, alpha=self.l2)


def _give_each_its_own(weights: Sequence[nn.Parameter]) -> None:
    """Copy a gradient that is another's as well: autograd gives two weights that are added up one tensor."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    sparse = any(map(operator.attrgetter("is_sparse"), gradients))
    if not sparse and len(set(map(Tensor.data_ptr, gradients))) == len(gradients):
        return
    seen: set[int] = set()
    for weight in weights:
        gradient = weight.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            raise ConfigurationError(
                f"a weight of shape {tuple(weight.shape)} has a sparse gradient, and the gradient of a "
                "penalty on all its numbers is not sparse; make the layer with sparse=False, or leave it out"
            )
        if gradient.data_ptr() in seen:
            gradient = weight.grad = gradient.clone()
        seen.add(gradient.data_ptr())
