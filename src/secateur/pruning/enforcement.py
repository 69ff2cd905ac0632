"""Enforcement: how pruned weights, and the optimizer's memory of them, are kept at zero."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from secateur.errors import ConfigurationError
from secateur.pruning.layers import layer_name
from secateur.pruning.masks import Masks

# Multiplying by a mask of the weight's own type is five to ten times faster than by a boolean one, which
# PyTorch converts number by number. A large weight's mask stays boolean, for the memory, and is converted a
# piece at a time: a sixth of the time on VGG-16.
_LARGE = 1 << 20
_PIECE = 1 << 18

Factors = list[tuple[nn.Parameter, Tensor]]


def make_factors(weights: Mapping[str, nn.Parameter], masks: Masks) -> Factors:
    """What every weight is multiplied by after a step, in the form that is fastest for its size.

    Args:
        weights: The weights by parameter name.
        masks: Their masks, on the same devices.

    Returns:
        Each weight of which something is pruned, with its factor.
    """
    return [
        (weight, factor_of(weight, masks[name]))
        for name, weight in weights.items()
        if masks.kept_of(name) < weight.numel()
    ]


def factor_of(weight: Tensor, mask: Tensor) -> Tensor:
    """What a weight is multiplied by: its mask, in the weight's own type unless the weight is large.

    Args:
        weight: A weight.
        mask: Its mask, boolean, on the same device.

    Returns:
        Of the mask's shape; the mask itself for a large weight.

    Example:
        >>> factor_of(torch.zeros(2), torch.tensor([True, False]))
        tensor([1., 0.])
    """
    return mask if weight.numel() > _LARGE else mask.to(weight.dtype)


@torch.no_grad()
def multiply_(factors: Factors, optimizer: Optimizer | None) -> None:
    """Set finite pruned weights, and the optimizer's state at their places, to zero: the fast way.

    ``w <- w m`` and ``v <- v m``. What is infinite or NaN at a pruned place is NaN afterwards, since
    ``0 x inf`` is NaN; `zero_` clears that too.

    Args:
        factors: From `make_factors`.
        optimizer: The optimizer whose state of each weight's shape is masked with it, if there is one.
    """
    multiply_each_(([parameter, *_states_of(parameter, optimizer)], factor) for parameter, factor in factors)


def multiply_each_(tensors_with_factors: Iterable[tuple[list[Tensor], Tensor]]) -> None:
    """Multiply tensors by factors, in the way that is fastest for each.

    Args:
        tensors_with_factors: Some tensors, at least one and changed in place, with what each of them is
            multiplied by: of their shape, on their device, from `factor_of`.
    """
    small: list[Tensor] = []
    small_factors: list[Tensor] = []
    for tensors, factor in tensors_with_factors:
        rest, first = tensors, tensors[0]
        if factor.dtype == torch.bool and first.device.type == "cpu":
            _multiply_piecewise_([each for each in tensors if each.dtype == first.dtype], factor)
            rest = [each for each in tensors if each.dtype != first.dtype]
        for tensor in rest:
            if factor.dtype == tensor.dtype:
                small.append(tensor)
                small_factors.append(factor)
            else:
                tensor.mul_(factor)
    if small:
        torch._foreach_mul_(small, small_factors)


@torch.no_grad()
def zero_(weights: Mapping[str, nn.Parameter], masks: Masks, optimizer: Optimizer | None) -> None:
    """Set pruned weights, and the optimizer's state at their places, to exactly +0.0, whatever was there.

    Args:
        weights: The weights by parameter name.
        masks: Their masks.
        optimizer: The optimizer whose state of each weight's shape is masked with it, if there is one.
    """
    masks.apply_(weights)
    for name, weight in weights.items():
        for state in _states_of(weight, optimizer):
            state.masked_fill_(~masks[name].to(state.device), 0)


@torch.no_grad()
def revived(weight: Tensor, mask: Tensor) -> int:
    """How many weights are not zero although they are pruned.

    Args:
        weight: A weight.
        mask: Its mask, on the same device.

    Returns:
        A count; 0 while nothing but the pruner's own optimizer changes the weight.

    Example:
        >>> revived(torch.tensor([1.0, 2.0, 0.0]), torch.tensor([True, False, False]))
        1
    """
    return int(torch.count_nonzero(weight.masked_fill(mask, 0)))


def on_devices_of(weights: Mapping[str, Tensor], masks: Masks) -> Masks:
    """The masks beside their weights, which may have moved to another device since.

    Args:
        weights: The weights by parameter name.
        masks: A mask for each of them.

    Returns:
        The same masks where nothing has moved.
    """
    if all(mask.device == weights[name].device for name, mask in masks.items()):
        return masks
    return Masks({name: mask.to(weights[name].device) for name, mask in masks.items()})


def check_parameters_of(model: nn.Module, weights: Mapping[str, nn.Parameter]) -> None:
    """Refuse a network whose parameters were replaced: the masks would be those of weights nobody reads.

    Args:
        model: The network.
        weights: Those of its parameters that are under pruning, by name.

    Raises:
        ConfigurationError: Some are its parameters no longer.
    """
    held = {id(parameter) for parameter in model.parameters()}
    replaced = [layer_name(name) for name, weight in weights.items() if id(weight) not in held]
    if replaced:
        raise ConfigurationError(
            f"the weights of {', '.join(replaced)} were replaced by other parameters since this pruner was "
            "made (an assignment, load_state_dict(..., assign=True) or to_empty does that), and nothing "
            "prunes the new ones; make a new Pruner and a new optimizer of the model as it is now, and give "
            "the pruner this one's masks with restrict()"
        )


def refuse_without_values(weights: Mapping[str, nn.Parameter]) -> None:
    """Refuse weights whose values cannot be compared here: on the meta device, sharded, or packed.

    Args:
        weights: Parameters by name.

    Raises:
        ConfigurationError: Some have no plain values.
    """
    for name, weight in weights.items():
        if weight.device.type == "meta":
            raise ConfigurationError(
                f"layer {layer_name(name)!r} is on the meta device and has no values to compare; give it "
                "some (to_empty and initialisation, or load_state_dict(..., assign=True)) before pruning it"
            )
        values: object = weight.data
        if is_traceable_wrapper_subclass(values):
            raise ConfigurationError(
                f"layer {layer_name(name)!r} is a {type(values).__name__}, whose numbers lie in other "
                "tensors, here or on other processes: pruning needs plain tensors. Prune before fully_shard "
                "or quantisation; DistributedDataParallel keeps weights plain"
            )


def checked_optimizer(optimizer: Optimizer, weights: Mapping[str, nn.Parameter]) -> Optimizer:
    """The optimizer whose steps change the weights, refused where it leaves some of them to another.

    Args:
        optimizer: An optimizer, or a wrapper of one, accelerate's or SAM.
        weights: The weights under pruning, by parameter name.

    Returns:
        The optimizer itself, without a wrapper.

    Raises:
        ConfigurationError: It is no optimizer, L-BFGS, or a wrapper whose steps end unseen; it holds none of
            the weights, or it lacks a weight that requires a gradient.
    """
    if isinstance(optimizer, Optimizer) and not has_hooks(optimizer) and not _is_accelerates(optimizer):
        raise ConfigurationError(
            f"{type(optimizer).__name__} wraps an optimizer and has no hooks of its own (it does not call "
            "super().__init__), so what it does to weights after the step inside, as Lookahead does, would "
            "revive pruned ones unseen; give the pruner the optimizer inside, and call pruner.enforce() "
            "after every step of the wrapper"
        )
    found: object = _innermost(optimizer, {id(weight) for weight in weights.values()})
    if not isinstance(found, Optimizer) or not has_hooks(found):
        raise ConfigurationError(
            f"expected an optimizer (torch.optim.Optimizer), found {type(found).__name__}; "
            "give the optimizer object that trains this model"
        )
    if isinstance(found, LBFGS):
        raise ConfigurationError(
            "L-BFGS cannot prune: within a step it moves along directions of its own, through weights that "
            "were pruned, and its history remembers them; train with SGD, Adam or another optimizer that "
            "takes one gradient a step"
        )
    held = {id(parameter) for group in found.param_groups for parameter in group["params"]}
    if not any(id(weight) in held for weight in weights.values()):
        raise ConfigurationError(
            "this optimizer holds none of the weights under pruning; was it made before the model was "
            "copied or moved? Make it from the parameters of the model given to the pruner"
        )
    missing = [name for name, weight in weights.items() if weight.requires_grad and id(weight) not in held]
    if missing:
        raise ConfigurationError(
            f"this optimizer lacks {', '.join(layer_name(name) for name in missing)}, under pruning and "
            "trainable: what another optimizer does there would revive pruned weights unseen. With several "
            "optimizers make one Pruner for each, and give it that optimizer's layers as `layers=`; freeze "
            "what shall not be trained (requires_grad_(False))"
        )
    return found


def has_hooks(optimizer: Optimizer) -> bool:
    """Whether hooks on its steps are called: not where a wrapper is an Optimizer by inheritance only."""
    return hasattr(optimizer, "_optimizer_step_post_hooks")


# Where accelerate's wrapper, and those of SAM and Lookahead in use, keep the optimizer that takes the steps.
_INSIDE = ("optimizer", "base_optimizer", "_base_optimizer")


def _is_accelerates(optimizer: Optimizer) -> bool:
    # Looked up by name: importing accelerate takes seconds. Its wrapper changes nothing after the step.
    return type(optimizer).__module__.startswith("accelerate.")


def _innermost(optimizer: object, weights: Container[int]) -> object:
    for name in _INSIDE:
        inner = getattr(optimizer, name, None)
        if not isinstance(inner, Optimizer) or inner is optimizer:
            continue
        held = (id(parameter) in weights for group in inner.param_groups for parameter in group["params"])
        if any(held) or (isinstance(optimizer, Optimizer) and not has_hooks(optimizer)):
            return _innermost(inner, weights)
    return optimizer


def _states_of(parameter: nn.Parameter, optimizer: Optimizer | None) -> Iterator[Tensor]:
    # Asking with [] would create an empty state, which some optimizers take for an initialised one.
    state = optimizer.state.get(parameter) if optimizer is not None else None
    for value in (state or {}).values():
        # Of whole numbers and truth values nobody knows what a zero would say.
        numbers = isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
        if numbers and value.shape == parameter.shape:
            yield value


def _multiply_piecewise_(tensors: list[Tensor], mask: Tensor) -> None:
    # Tensors of one type by a boolean mask, which is converted a piece at a time.
    # Split along the rows, since pieces of a flattened weight would be copies where its memory is strided.
    rows = max(1, _PIECE * len(mask) // mask.numel())
    factor = torch.empty_like(mask[:rows], dtype=tensors[0].dtype)
    # PyTorch converts bytes by vectors, but booleans one by one: a seventh of the time for the same numbers.
    pieces = (torch.split(tensor, rows) for tensor in (mask.view(torch.uint8), *tensors))
    for piece, *parts in zip(*pieces, strict=True):
        part_factor = factor[: len(piece)].copy_(piece)
        for part in parts:
            part.mul_(part_factor)
