"""Weights and multiply-accumulates of every layer, without running the network on anything."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import UnsupportedModelError
from secateur.pruning.layers import unwrap

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


@dataclass(frozen=True)
class LayerCost:
    """What one layer holds and computes for one input.

    Attributes:
        name: The module's path in the network (``"fc1"``).
        weights: Number of weights, biases not counted; 0 where the tensor was counted under an earlier layer.
        macs: Multiply-accumulates of one input, over all calls of the layer.
        input_shape: Shape of its input at the first call, less the batch dimension.
        output_shape: Shape of its output at the first call, less the batch dimension.
    """

    name: str
    weights: int
    macs: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def flop(self) -> int:
        """Floating-point operations of one input: 2 x MAC, biases not counted (as in the paper's tables)."""
        return 2 * self.macs


def weight_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers whose cost and activation are counted: Linear, Conv1-3d, ConvTranspose1-3d.

    Args:
        model: Any module; wrappers of ``torch.compile`` and data parallelism are looked through.

    Returns:
        Path -> module, in the order of ``model.named_modules()``. A model that is itself such a layer is
        named ``"weight"``, as it is where layers are pruned.

    Example:
        >>> list(weight_layers(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))))
        ['0', '2']
    """
    return {
        path or "weight": module
        for path, module in unwrap(model).named_modules()
        if isinstance(module, _WEIGHT_LAYERS)
    }


def layer_costs(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[LayerCost, ...]:
    """Weights and multiply-accumulates of every Linear and convolution that one input passes through.

    A linear layer costs outputs x inputs MACs, a convolution positions x outputs x (inputs / groups) x
    kernel, a transposed one the same over its input's positions (padding not taken off). A layer that is
    called twice counts its MACs twice and its weights once; a tied weight counts at the first layer that
    uses it. Attention and recurrent layers are no such layers, nor are the projections within them.

    A shadow of the model on PyTorch's meta device is what runs, so that nothing is computed, no weight is
    copied, and the model's mode, hooks and the random state stay as they are.

    Args:
        model: The network; its ``forward`` takes one batch.
        input_shape: Shape of one input, less the batch dimension: ``(1, 28, 28)``.

    Returns:
        One entry for each layer that was called, in the order of the first call.

    Raises:
        UnsupportedModelError: The network does not run on that shape on the meta device, or calls no such
            layer.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 20, 5), nn.Flatten(), nn.Linear(20 * 24 * 24, 10))
        >>> [(cost.name, cost.weights, cost.macs) for cost in layer_costs(model, (1, 28, 28))]
        [('0', 500, 288000), ('2', 115200, 115200)]
    """
    shadow = meta_copy(unwrap(model)).eval()
    costs: dict[str, LayerCost] = {}
    counted: set[int] = set()
    for name, layer in weight_layers(shadow).items():
        layer.register_forward_hook(partial(_record, name, costs, counted), with_kwargs=True)
    dtype = next((p.dtype for p in shadow.parameters() if p.is_floating_point()), torch.float32)
    with torch.no_grad():
        try:
            shadow(torch.empty((1, *input_shape), dtype=dtype, device="meta"))
        except RuntimeError as error:
            raise UnsupportedModelError(
                f"counting costs: {type(model).__name__} does not run on one input of shape "
                f"{tuple(input_shape)} on the meta device: {error}. Check the shape (without the batch "
                "dimension), and that forward neither looks at values nor makes tensors on a device of its "
                "own"
            ) from error
    if not costs:
        raise UnsupportedModelError(
            f"counting costs: {type(model).__name__} called no Linear or convolution layer; "
            "expected at least one, so there is nothing to count"
        )
    return tuple(costs.values())


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy without numbers, on PyTorch's meta device: what runs through it has shapes and costs nothing.

    Args:
        model: Any module.

    Returns:
        The same structure; tied weights stay tied.
    """
    # deepcopy takes a tensor's copy from the memo where it finds one: the weights themselves are never
    # copied, and tied ones stay tied, which `.to("meta")` would undo.
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), parameter.requires_grad
        )
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


def layer_input(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Tensor:
    """What a hook's layer was called on, by position or as ``input=``."""
    tensor: Tensor = arguments[0] if arguments else keywords["input"]
    return tensor


def _record(
    name: str,
    costs: dict[str, LayerCost],
    counted: set[int],
    layer: nn.Module,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    output: Tensor,
) -> None:
    given = layer_input(arguments, keywords)
    weight = layer.weight
    assert isinstance(weight, Tensor)  # noqa: S101  # true of every type in _WEIGHT_LAYERS; narrows for mypy
    # Every number of a convolution's or linear layer's output reads one row of the weight; in a transposed
    # convolution every number of the input is spread by one row.
    driven = given if isinstance(layer, _TRANSPOSED) else output
    macs = driven.numel() * math.prod(weight.shape[1:])
    if name in costs:
        costs[name] = replace(costs[name], macs=costs[name].macs + macs)
        return
    # A parametrised weight is a new tensor at every look: it is known by its layer.
    key = id(dict(layer.named_parameters(recurse=False)).get("weight", layer))
    weights = 0 if key in counted else weight.numel()
    counted.add(key)
    costs[name] = LayerCost(name, weights, macs, tuple(given.shape[1:]), tuple(output.shape[1:]))
