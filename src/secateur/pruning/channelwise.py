"""Channelwise operations: those in which channel j of the result depends on channel j of the input alone.

The lists are closed: an operation that is not named here is a barrier, even where it happens to be
channelwise.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

# How many spatial dimensions a pool wants behind (batch, channels). With fewer, it would take the first
# dimension for channels.
_POOL_MODULES: dict[type[nn.Module], int] = {
    **{nn.MaxPool1d: 1, nn.AvgPool1d: 1, nn.AdaptiveAvgPool1d: 1, nn.AdaptiveMaxPool1d: 1},
    **{nn.MaxPool2d: 2, nn.AvgPool2d: 2, nn.AdaptiveAvgPool2d: 2, nn.AdaptiveMaxPool2d: 2},
    **{nn.MaxPool3d: 3, nn.AvgPool3d: 3, nn.AdaptiveAvgPool3d: 3, nn.AdaptiveMaxPool3d: 3},
}
_POOL_FUNCTIONS: dict[Any, int] = {
    **{functional.max_pool1d: 1, functional.avg_pool1d: 1, functional.adaptive_avg_pool1d: 1},
    **{functional.max_pool2d: 2, functional.avg_pool2d: 2, functional.adaptive_avg_pool2d: 2},
    **{functional.max_pool3d: 3, functional.avg_pool3d: 3, functional.adaptive_avg_pool3d: 3},
    **{torch.max_pool1d: 1, torch.max_pool2d: 2, torch.max_pool3d: 3},
}
_NORMS = frozenset({nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d})
_DROPOUTS = frozenset(
    {nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout}
)
_ACTIVATIONS: frozenset[type[nn.Module]] = frozenset(
    {
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
        *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Tanh, nn.Sigmoid, nn.Softsign, nn.LogSigmoid),
        *(nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold, nn.Identity),
    }
)
_ACTIVATION_FUNCTIONS: frozenset[Any] = frozenset(
    {
        *(functional.relu, functional.relu6, functional.leaky_relu, functional.elu, functional.selu),
        *(functional.gelu, functional.silu, functional.mish, functional.softplus, functional.hardswish),
        *(functional.hardsigmoid, functional.hardtanh, functional.tanh, functional.sigmoid),
        *(torch.relu, torch.tanh, torch.sigmoid),
    }
)
_ACTIVATION_METHODS = frozenset({"relu", "tanh", "sigmoid", "contiguous"})
_RESHAPES: frozenset[Any] = frozenset({"flatten", "view", "reshape", torch.flatten, torch.reshape})


@final
@dataclass(frozen=True)
class Step:
    """One channelwise operation between a layer and its reader.

    Attributes:
        name: The operation's name in the traced graph, for messages.
        node: The traced call, whose only tensor is the channels.
        module: The module it calls; None for a function or a method.
        foldable: Whether a constant channel stays the same constant in training as in evaluation; batch
            normalisation does not.
        in_place: Whether it overwrites its input.
    """

    name: str
    node: fx.Node
    module: nn.Module | None
    foldable: bool = True
    in_place: bool = False

    def __call__(self, channels: Tensor) -> Tensor:
        """Evaluate the operation, as in evaluation mode, in the precision of ``channels``."""
        if self.module is not None:
            # A copy, because evaluation mode and precision belong to the caller's module.
            return Tensor(copy.deepcopy(self.module).to(channels.dtype).eval()(channels))
        args, kwargs = fx.node.map_arg((self.node.args, self.node.kwargs), lambda _: channels)
        if self.node.op == "call_method":
            return Tensor(getattr(args[0], str(self.node.target))(*args[1:], **kwargs))
        return Tensor(self.node.target(*args, **kwargs))  # type: ignore[operator]  # call_function holds a callable


def channelwise_step(node: fx.Node, module: nn.Module | None, spatial: int) -> Step | None:
    """The channelwise operation that a traced call is, or None where it is not known to be one.

    Args:
        node: The call; the channels are its only tensor.
        module: The module it calls, if it calls one.
        spatial: The number of its input's dimensions behind (batch, channels).
    """
    if module is not None:
        kind = type(module)
        known = (
            kind in _ACTIVATIONS or kind in _DROPOUTS or kind in _NORMS or _POOL_MODULES.get(kind) == spatial
        )
        if not known or has_hooks(module):
            return None
        in_place = bool(getattr(module, "inplace", False))  # not every one of these modules knows the option
        return Step(node.name, node, module, foldable=kind not in _NORMS, in_place=in_place)
    if not _knows_call(node, spatial):
        return None
    return Step(node.name, node, None, in_place=bool(node.kwargs.get("inplace")))


def is_reshape(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a traced call only gives its tensor another shape, in the same order."""
    return type(module) is nn.Flatten or (node.op != "call_module" and node.target in _RESHAPES)


def _knows_call(node: fx.Node, spatial: int) -> bool:
    if node.op == "call_method":
        return node.target in _ACTIVATION_METHODS
    if node.op != "call_function":
        return False
    if node.target is functional.dropout:
        # In evaluation a dropout does nothing, unless its author asked for it always.
        return node.kwargs.get("training") is False
    return node.target in _ACTIVATION_FUNCTIONS or _POOL_FUNCTIONS.get(node.target) == spatial


def adapts(reshape: fx.Node) -> bool:
    """Whether a reshape finds out the number of features itself instead of naming it."""
    if reshape.target not in {"view", "reshape", torch.reshape}:
        return True
    sizes = reshape.args[1:]
    flat = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    return len(flat) == 2 and bool(flat[1] == -1)


def asks_for_size(user: fx.Node) -> bool:
    """Whether a use of a tensor looks at its shape or type and not at its values."""
    if user.op == "call_method":
        return user.target in {"size", "dim"}
    return user.target is getattr and user.args[1:] in {("shape",), ("ndim",), ("dtype",), ("device",)}


def asks_for_batch_size(user: fx.Node) -> bool:
    """Whether a use that `asks_for_size` cannot see the number of channels."""
    if user.op == "call_method":
        return user.target == "dim" or user.args[1:] == (0,)
    return user.args[1] != "shape" or all(
        n.op == "call_function" and n.name.startswith("getitem") and n.args[1] == 0 for n in user.users
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether something may change what goes into or comes out of a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
