"""Masks: which weights live. They stay beside the model and never inside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn

from secateur.errors import MaskError


@final
class Masks(Mapping[str, Tensor]):
    """An immutable mapping from parameter names to boolean tensors, True where the weight lives.

    Args:
        masks: Boolean tensors of the shapes of their weights, by parameter name (``"fc1.weight"``).

    Raises:
        MaskError: A name is not a string, or a mask is not a boolean tensor.

    Example:
        >>> masks = Masks({"fc1.weight": torch.tensor([[True, False], [True, True]])})
        >>> masks.kept, masks.total, masks.density
        (3, 4, 0.75)
    """

    __slots__ = ("_masks",)

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        _check(masks)
        self._masks = {name: mask.detach().clone() for name, mask in masks.items()}

    @classmethod
    def unwritten(cls, masks: Mapping[str, Tensor]) -> Masks:
        """Masks of tensors that nobody writes to, without a copy: such as those that lie in a mapped file.

        Args:
            masks: Boolean tensors by parameter name; they must stay as they are.

        Returns:
            The masks.

        Raises:
            MaskError: As for the constructor.

        Example:
            >>> alive = torch.tensor([True, False])
            >>> Masks.unwritten({"fc.weight": alive})["fc.weight"].data_ptr() == alive.data_ptr()
            True
        """
        _check(masks)
        found = cls({})
        found._masks = {name: mask.detach() for name, mask in masks.items()}
        return found

    @classmethod
    def full(cls, weights: Mapping[str, Tensor]) -> Masks:
        """Masks under which every weight lives."""
        return cls({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()})

    @classmethod
    def of_zeros(cls, weights: Mapping[str, Tensor]) -> Masks:
        """Masks under which a weight lives where it is not zero: of a network that was pruned before.

        Args:
            weights: Tensors by name, such as `secateur.pruning.layers.select_weights` gives.

        Returns:
            The masks; a `Pruner` keeps to them after `Pruner.restrict`.

        Example:
            >>> Masks.of_zeros({"fc.weight": torch.tensor([0.5, 0.0])})["fc.weight"].tolist()
            [True, False]
        """
        return cls({name: weight.detach() != 0 for name, weight in weights.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return self.keys() == other.keys() and all(
            torch.equal(mask, other[name]) for name, mask in self.items()
        )

    __hash__ = None  # type: ignore[assignment]  # equality is by content and the content is large

    def __repr__(self) -> str:
        return f"Masks({len(self)} weights, {self.kept:,} of {self.total:,} kept, density {self.density:.4f})"

    def __and__(self, other: Masks) -> Masks:
        """The weights that live in both; it can only remove.

        Raises:
            MaskError: The two do not speak of the same weights, or the shapes differ.
        """
        self._check_comparable(other)
        return Masks({name: mask & other[name] for name, mask in self.items()})

    def kept_of(self, name: str) -> int:
        """The number of living weights of one parameter."""
        return int(torch.count_nonzero(self._masks[name]))

    @property
    def kept(self) -> int:
        """The number of living weights."""
        return sum(self.kept_of(name) for name in self)

    @property
    def total(self) -> int:
        """The number of weights, living or not."""
        return sum(mask.numel() for mask in self.values())

    @property
    def density(self) -> float:
        """The fraction of weights kept, in 0..1."""
        return self.kept / self.total if self.total else 1.0

    @property
    def compression(self) -> float:
        """Weights before / weights after."""
        return self.total / self.kept if self.kept else float("inf")

    def is_subset_of(self, other: Masks) -> bool:
        """Whether no weight lives here that does not live there.

        Raises:
            MaskError: The two do not speak of the same weights, or the shapes differ.
        """
        self._check_comparable(other)
        return all(not bool(torch.any(mask & ~other[name])) for name, mask in self.items())

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    def check_fits(self, weights: Mapping[str, Tensor]) -> None:
        """Refuse weights that these masks are not for.

        Raises:
            MaskError: A mask has no weight, or the shapes differ.
        """
        for name, mask in self.items():
            if name not in weights:
                raise MaskError(
                    f"there is a mask for {name!r} but no such weight in the network; "
                    f"its weights are {', '.join(sorted(weights))}"
                )
            _check_shape(name, mask, weights[name])

    @torch.no_grad()
    def apply_(self, weights: Mapping[str, Tensor] | nn.Module) -> None:
        """Set the pruned weights to zero, in place.

        Args:
            weights: The tensors by name, or the module that holds them.

        Raises:
            MaskError: A mask has no weight, or the shapes differ.
        """
        tensors = (
            dict(weights.named_parameters(remove_duplicate=False))
            if isinstance(weights, nn.Module)
            else weights
        )
        self.check_fits(tensors)
        for name, mask in self.items():
            tensors[name].masked_fill_(~mask.to(tensors[name].device), 0)

    def state_dict(self) -> dict[str, Tensor]:
        """The masks as a plain dictionary of new tensors, to be saved."""
        return {name: mask.clone() for name, mask in self.items()}

    def _check_comparable(self, other: Masks) -> None:
        if self.keys() != other.keys():
            difference = sorted(set(self) ^ set(other))
            raise MaskError(
                f"these masks are for different weights: only one of them knows {', '.join(difference)}"
            )
        for name, mask in self.items():
            _check_shape(name, mask, other[name])


def _check_shape(name: str, mask: Tensor, other: Tensor) -> None:
    if mask.shape != other.shape:
        raise MaskError(
            f"mask of {name!r}: its shape {tuple(mask.shape)} is not the weight's shape "
            f"{tuple(other.shape)}; the mask belongs to another network"
        )


def _check(masks: Mapping[str, Tensor]) -> None:
    given: object = masks
    if not isinstance(given, Mapping):
        raise MaskError(f"expected boolean tensors by parameter name, found {type(given).__name__}")
    for name, mask in masks.items():
        if not isinstance(name, str):
            raise MaskError(f"a mask's name must be a parameter name, found {name!r}")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise MaskError(
                f"mask of {name!r}: expected a boolean tensor (True where the weight lives), found "
                f"{found}; compare it with zero first: `tensor != 0`"
            )
