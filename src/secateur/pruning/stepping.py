"""Stepping: how pruned weights stay at zero over an optimizer step, for one pass over the gradients."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence, Sized
from itertools import chain, islice
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from secateur.pruning.enforcement import Factors
from secateur.pruning.gradients import GradientMasks, overlap

# A write through ``.data`` or NumPy is hidden from everybody, so enforcement in full comes round again:
# this often it costs a step of LeNet-300-100 less than a tenth of a per cent.
FULL_EVERY = 64

_OURS_ALONE = 2  # hooks: one before the step and one after it


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
    - a gradient cannot be written to: it is sparse, expanded, part of a graph, or another parameter's as
      well, as those of two weights are that are added up;
    - a fused step, which goes through memory as it lies, with strides that differ;
    - a weight or a state is of inference mode, which counts no writes;
    - every `FULL_EVERY`-th step, for what version counters do not see.

    Args:
        optimizer: The optimizer itself, without a wrapper.
        model: The network, some of whose parameters may be another optimizer's.
    """

    def __init__(self, optimizer: Optimizer, model: nn.Module) -> None:
        self._optimizer = optimizer
        self._of_model = list(model.parameters())
        self._seen: _Seen | None = None
        self._factors: Factors = []
        self._masks = GradientMasks([])
        # Of SGD there is no setting that could change the answer: it is not asked again in every step.
        self._is_sgd = type(optimizer) is torch.optim.SGD
        # There is no public way to ask who else has hooks.
        self._hooks: tuple[Sized, ...] = (
            optimizer._optimizer_step_pre_hooks,
            optimizer._optimizer_step_post_hooks,
            torch_optimizer._global_optimizer_pre_hooks,
            torch_optimizer._global_optimizer_post_hooks,
        )

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
            enforced.
        """
        seen = self._seen
        return (
            seen is not None
            and step % FULL_EVERY != 0
            and len(args) == 1
            and not kwargs
            and sum(map(len, self._hooks)) == _OURS_ALONE
            and (self._is_sgd or leaves_zeros_alone(self._optimizer, factors))
            and seen.is_unchanged(self._optimizer)
            and self._masks_of(factors).apply_(seen.others, contiguous=seen.are_contiguous)
        )

    def _masks_of(self, factors: Factors) -> GradientMasks:
        # Made once for every cut.
        if factors is not self._factors:
            self._factors, self._masks = factors, GradientMasks(factors)
        return self._masks

    def settle(self, factors: Factors, *, held: bool) -> None:
        """After the step: take note that pruned weights and their states are zero now.

        Args:
            factors: From `secateur.pruning.enforcement.make_factors`.
            held: Whether it was a step of masked gradients.
        """
        if held and self._seen is not None:
            # Nothing but the optimizer's own arithmetic ran: the tensors are those of before, written to.
            # (Were they not, the next step would be enforced in full.)
            self._seen.writes = sum(map(_version_of, self._seen.tensors))
        else:
            seen = _Seen(self._optimizer, factors, self._of_model)
            self._seen = seen if seen.is_counted else None


@final
class _Seen:
    """What weights and states were when they were last known to be zero at pruned places.

    It is looked at in every step, between one second of arithmetic and the next, when Python's own code is no
    longer in any cache: a line here costs several times what it costs in a loop of its own. So the tensors
    are gone through by `map`, and no weight is looked up in the optimizer's state (hashing one is a call of
    Python code).

    Args:
        optimizer: The optimizer itself, without a wrapper.
        factors: From `secateur.pruning.enforcement.make_factors`.
        of_model: The parameters of the network.
    """

    def __init__(self, optimizer: Optimizer, factors: Factors, of_model: Sequence[Tensor]) -> None:
        weights = [weight for weight, _ in factors]
        parameters = list(chain.from_iterable(map(_params_of, optimizer.param_groups)))
        self._parameter_count = len(parameters)
        others = {id(parameter): parameter for parameter in chain(parameters, of_model)}
        for weight in weights:
            others.pop(id(weight), None)
        # Gradients that overlap in part do so in every step, and are looked at here. In full they may from
        # one step to the next: what autograd gives to two parameters has as many numbers as either.
        sizes = set(map(Tensor.numel, weights))
        self.others = [other for other in others.values() if other.numel() in sizes]
        self._state = optimizer.state
        # Views, which show what is in the dictionaries at any time, beside what is in them now.
        self._entries = self._state.values()
        self._entries_now = list(self._entries)
        self._entry_ids = list(map(id, self._entries_now))
        # Asking with [] would create an empty state.
        self._values = [self._state[weight].values() for weight in weights if weight in self._state]
        self._values_now = list(chain.from_iterable(self._values))
        self._value_ids = list(map(id, self._values_now))
        self.tensors = [*weights, *(value for value in self._values_now if isinstance(value, Tensor))]
        # Fused steps go through memory as it lies, whatever the strides of a weight, a state and a gradient.
        self.are_contiguous = any(group.get("fused") for group in optimizer.param_groups)
        # Those of inference mode count no writes; of the others each counts upwards only.
        self.is_counted = not (
            any(map(Tensor.is_inference, self.tensors))
            or (self.are_contiguous and not all(map(Tensor.is_contiguous, self.tensors)))
            or overlap(weights, others.values())
        )
        self.writes = sum(map(_version_of, self.tensors)) if self.is_counted else 0
        self._addresses = list(map(Tensor.data_ptr, self.tensors))
        # Kept, lest other memory be found at the same address.
        self._memory = [tensor.detach() for tensor in self.tensors]

    def is_unchanged(self, optimizer: Optimizer) -> bool:
        """Whether nobody has written to or replaced a weight or a state since."""
        return (
            optimizer.state is self._state
            and sum(map(_version_of, self.tensors)) == self.writes
            and sum(map(len, map(_params_of, optimizer.param_groups))) == self._parameter_count
            and list(map(Tensor.data_ptr, self.tensors)) == self._addresses
            and list(map(id, chain.from_iterable(self._values))) == self._value_ids
            and (list(map(id, self._entries)) == self._entry_ids or self._are_empty_ones_added())
        )

    def _are_empty_ones_added(self) -> bool:
        # By who asked a state that was not there.
        return (
            len(self._entries) > len(self._entries_now)
            and all(map(operator.is_, self._entries, self._entries_now))
            and not any(islice(self._entries, len(self._entries_now), None))
        )


_version_of: Callable[[Tensor], int] = operator.attrgetter("_version")
_params_of: Callable[[dict[str, Any]], list[Tensor]] = operator.itemgetter("params")


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
        # Whole numbers have no gradient, and no step changes them.
        types = [weight.dtype for weight, _ in factors if weight.is_floating_point() or weight.is_complex()]
        least = max((torch.finfo(dtype).tiny for dtype in types), default=0.0)
        return all(float(group["eps"]) >= least for group in optimizer.param_groups)
    return False
