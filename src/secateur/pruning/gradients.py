"""Gradients: how those of pruned weights are set to zero before a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import final

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from secateur._masking import Masks, has_threads
from secateur.pruning.enforcement import Factors, multiply_each_

# Only PyTorch's own threads are shared: others would have to be woken beside them.
_HAS_THREADS = has_threads() and bool(torch.backends.openmp.is_available())  # type: ignore[no-untyped-call]  # torch has no types here
_SIZES = (1, 2, 4, 8)  # bytes of a number that the compiled masking knows


@final
class GradientMasks:
    """Sets the gradients of pruned weights to zero, ``g <- g m``.

    On the CPU all of them in one call of compiled code, by PyTorch's threads and with masks of a byte for
    every weight: most of what pruning costs a small network's step is reading the masks, and none of
    PyTorch's own operators reads a mask narrower than its weight by vectors. Elsewhere, and for gradients
    that lie in memory otherwise than their masks, it is a multiplication by a mask of the weight's type.

    Args:
        factors: From `secateur.pruning.enforcement.make_factors`.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> weight.grad = torch.ones(3)
        >>> GradientMasks([(weight, torch.tensor([1.0, 0.0, 1.0]))]).apply_()
        True
        >>> weight.grad
        tensor([1., 0., 1.])
    """

    def __init__(self, factors: Factors) -> None:
        self._weights = [weight for weight, _ in factors]
        self._factors = [factor for _, factor in factors]
        self._kinds = list(map(_kind_of, self._weights))
        self._masks: list[Tensor] = []  # whose memory the compiled ones read
        self._shown: list[Tensor] = []  # those that others hold, too, and may move: share_memory_ does
        self._compiled: Masks | None = None
        if _HAS_THREADS and all(
            weight.is_cpu and factor.is_cpu and weight.element_size() in _SIZES for weight, factor in factors
        ):
            self._masks = [factor.bool().contiguous() for factor in self._factors]
            self._shown = [
                mask for mask, factor in zip(self._masks, self._factors, strict=True) if mask is factor
            ]
            self._compiled = Masks(
                [
                    (mask.data_ptr(), mask.numel(), weight.element_size())
                    for mask, weight in zip(self._masks, self._weights, strict=True)
                ]
            )
        self._shown_at = list(map(Tensor.data_ptr, self._shown))

    def apply_(self, others: Sequence[Tensor] = (), *, contiguous: bool = False) -> bool:
        """Mask the gradients that are there, in place.

        Args:
            others: Parameters whose gradients stay as they are.
            contiguous: Whether a gradient that lies in memory otherwise cannot be written to.

        Returns:
            True; or False where a gradient cannot be written to in place, and the step is to be enforced in
            full. Where one is of inference mode, those before it may be masked then, which changes nothing of
            the result.
        """
        gradients: list[Tensor] = []
        addresses: list[int] = []  # of each weight's, 0 where there is none
        compiled = self._compiled
        try:
            # All are looked at before any is written to: one may be seen through, or remembered by, another.
            for weight, kind in zip(self._weights, self._kinds, strict=True):
                gradient = weight.grad
                if gradient is None:
                    addresses.append(0)
                    continue
                if gradient.requires_grad:
                    return False  # part of a graph, which remembers it
                if not gradient.is_contiguous():
                    if contiguous or not _is_dense(gradient):
                        return False  # its memory belongs to many weights
                    compiled = None
                if _kind_of(gradient) != kind:
                    compiled = None  # a gradient may be of another type, and a weight be given another shape
                gradients.append(gradient)
                addresses.append(gradient.data_ptr())
            if len({*addresses, 0}) <= len(gradients) or (others and _are_among(addresses, others)):
                return False  # autograd gives two weights that are added up views of one tensor
            if compiled is not None and list(map(Tensor.data_ptr, self._shown)) == self._shown_at:
                compiled.keep(addresses, torch.get_num_threads())
                for gradient in gradients:
                    increment_version(gradient)  # as an operator does
            else:
                # None is part of a graph: `no_grad` would cost as much again as the smallest layer.
                multiply_each_(
                    ([weight.grad], factor)
                    for weight, factor in zip(self._weights, self._factors, strict=True)
                    if weight.grad is not None
                )
        except RuntimeError:
            # Of inference mode: asking each in every step would cost more than being told.
            return False
        return True


_gradient_of: Callable[[Tensor], Tensor | None] = attrgetter("grad")
_kind_of: Callable[[Tensor], object] = attrgetter("dtype", "shape")


def _are_among(addresses: Sequence[int], others: Sequence[Tensor]) -> bool:
    gradients = (other.grad for other in others)
    return any(
        gradient is not None and not gradient.is_sparse and gradient.data_ptr() in addresses
        for gradient in gradients
    )


def _is_dense(gradient: Tensor) -> bool:
    # The memory of an expanded gradient belongs to many weights at once.
    return gradient.layout == torch.strided and (
        gradient.is_contiguous() or gradient.is_contiguous(memory_format=torch.channels_last)
    )


def overlap(weights: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Whether writing to the gradient of a weight may change another gradient.

    Autograd gives what is added up one gradient, and parts of it to what was concatenated before.

    Args:
        weights: Parameters whose gradients are written to.
        others: Other parameters.

    Returns:
        True if a weight's gradient lies in the memory of another gradient, at least in part.

    Example:
        >>> first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
        >>> first.grad = second.grad = torch.ones(2)
        >>> overlap([first], [second])
        True
    """
    try:
        ranges = sorted([*_ranges_of(weights, True), *_ranges_of(others, False)])
    except RuntimeError:
        return True  # one has no memory that could be compared
    ends = {True: 0, False: 0}
    for begin, end, is_weight in ranges:
        if begin < ends[True] or (is_weight and begin < ends[False]):
            return True
        ends[is_weight] = max(ends[is_weight], end)
    return False


def _ranges_of(parameters: Iterable[Tensor], are_weights: bool) -> Iterator[tuple[int, int, bool]]:
    for gradient in map(_gradient_of, parameters):
        if gradient is not None and gradient.layout == torch.strided:
            yield gradient.data_ptr(), gradient.data_ptr() + _span(gradient), are_weights


def _span(gradient: Tensor) -> int:
    steps = zip(gradient.shape, gradient.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    return (last + 1) * gradient.element_size() if gradient.numel() else 0
