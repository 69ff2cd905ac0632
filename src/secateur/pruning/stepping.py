"""Stepping: how pruned weights stay at zero over an optimizer step, for one pass over the gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from secateur.pruning.enforcement import Factors, multiply_piecewise_

# A write through ``.data`` or NumPy is hidden from everybody, so enforcement in full comes round again:
# this often it costs a step of LeNet-300-100 a tenth of a per cent.
FULL_EVERY = 32


@final
class StepGuard:
    """Holds pruned weights at zero over the steps of one optimizer, and knows when it cannot.

    Setting weights and states to zero after the step reads and writes each of them. Where a zero weight with
    zero state and zero gradient stays zero by the optimizer's own arithmetic, masking the gradients before
    the step is enough: one tensor a weight instead of two (SGD with momentum) or three (Adam). It is done
    only when nobody else can have written to weights or states, and the step is enforced in full otherwise:

    - another optimizer than `leaves_zeros_alone` knows, or a step with a closure, which computes gradients
      anew;
    - a weight or a state was written to or replaced since the last step (version counters, identities and
      addresses tell): loading a state, swapping in averages, sharpness-aware steps;
    - somebody else has hooks on the same step, before or after ours;
    - a gradient cannot be written to: it is sparse, expanded, or part of a graph;
    - every `FULL_EVERY`-th step, for what version counters do not see.

    Args:
        optimizer: The optimizer itself, without a wrapper.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._signature: list[int] | None = None
        # The tensors that it is of, and their memory, lest another be found at the same address.
        self._tensors: list[Tensor] = []
        self._memory: list[Tensor] = []

    def mask_gradients(
        self, factors: Factors, step: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bool:
        """Before the step: set the gradients of pruned weights to zero, if that is enough for this step.

        Args:
            factors: From `secateur.pruning.enforcement.make_factors`.
            step: How many steps came before.
            args: Of the step, the optimizer itself first.
            kwargs: Of the step.

        Returns:
            True if pruned weights and their states will be zero after the step; False if they must be
            enforced, and nothing was done.
        """
        return (
            self._signature is not None
            and step % FULL_EVERY != 0
            and not (len(args) > 1 or kwargs)
            and self._is_alone()
            and leaves_zeros_alone(self._optimizer, factors)
            and self._signature == _signature(self._found(factors))
            and multiply_gradients_(factors)
        )

    def settle(self, factors: Factors, *, held: bool) -> None:
        """After the step: take note that pruned weights and their states are zero now.

        Args:
            factors: From `secateur.pruning.enforcement.make_factors`.
            held: Whether it was a step of masked gradients.
        """
        if held and self._signature is not None:
            # Nothing but the optimizer's own arithmetic ran: the tensors are those of before, written to.
            # (Were they not, the next step would be enforced in full.)
            self._signature[: len(self._tensors)] = _versions(self._tensors)
        else:
            self._tensors = self._found(factors)
            self._memory = [tensor.detach() for tensor in self._tensors]
            self._signature = _signature(self._tensors)

    def _found(self, factors: Factors) -> list[Tensor]:
        state = self._optimizer.state
        tensors: list[Tensor] = [weight for weight, _ in factors]
        for weight, _ in factors:
            if weight in state:  # asking with [] would create an empty state
                tensors += [value for value in state[weight].values() if isinstance(value, Tensor)]
        return tensors

    def _is_alone(self) -> bool:
        # There is no public way to ask who else has hooks.
        own = self._optimizer
        return (
            len(own._optimizer_step_pre_hooks) == len(own._optimizer_step_post_hooks) == 1
            and not torch_optimizer._global_optimizer_pre_hooks
            and not torch_optimizer._global_optimizer_post_hooks
        )


def leaves_zeros_alone(optimizer: Optimizer, factors: Factors) -> bool:
    """Whether a zero weight with zero gradient and zero state stays exactly zero under this optimizer.

    So it does under SGD, Adam and AdamW: every term of their updates has the weight, the gradient or a moment
    as a factor, and Adam's quotient is ``0 / eps``, as long as eps is not lost in the weight's type (1e-8 is
    zero in float16). Of subclasses, and of other optimizers, nothing is known.

    Args:
        optimizer: The optimizer itself, without a wrapper.
        factors: The weights, each with its factor.

    Returns:
        True where masking the gradients is enough to keep pruned weights pruned.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> leaves_zeros_alone(torch.optim.SGD([weight], lr=0.1, momentum=0.9), [(weight, torch.ones(1))])
        True
        >>> leaves_zeros_alone(torch.optim.Adam([weight], eps=0.0), [(weight, torch.ones(1))])
        False
    """
    kind = type(optimizer)
    if kind is torch.optim.SGD:
        return True
    if kind is torch.optim.Adam or kind is torch.optim.AdamW:
        least = max((torch.finfo(weight.dtype).tiny for weight, _ in factors), default=0.0)
        return all(float(group["eps"]) >= least for group in optimizer.param_groups)
    return False


@torch.no_grad()
def multiply_gradients_(factors: Factors) -> bool:
    """Set the gradients of pruned weights to zero, ``g <- g m``.

    Args:
        factors: From `secateur.pruning.enforcement.make_factors`.

    Returns:
        True; or False, and nothing was done, where a gradient cannot be written to in place.
    """
    gradients = [(weight.grad, factor) for weight, factor in factors if weight.grad is not None]
    if not all(_is_writable(gradient) for gradient, _ in gradients):
        return False
    for gradient, factor in gradients:
        if factor.dtype == torch.bool and gradient.device.type == "cpu":
            multiply_piecewise_([gradient], factor)
        else:
            gradient.mul_(factor)  # one by one: torch._foreach_mul_ was no faster for a handful of weights
    return True


def _is_writable(gradient: Tensor) -> bool:
    # The memory of an expanded gradient belongs to many weights at once, a gradient with a graph to that.
    return (
        gradient.layout == torch.strided
        and not gradient.requires_grad
        and not gradient.is_inference()
        and (gradient.is_contiguous() or gradient.is_contiguous(memory_format=torch.channels_last))
    )


def _signature(tensors: list[Tensor]) -> list[int]:
    return [*_versions(tensors), *map(id, tensors), *[tensor.data_ptr() for tensor in tensors]]


def _versions(tensors: list[Tensor]) -> list[int]:
    return [tensor._version for tensor in tensors]
