"""Tracing: what a network does with one batch, as torch.fx's graph."""

from __future__ import annotations

import inspect

from torch import fx, nn

_Fixed = bool | int | float | str | None


def trace(network: nn.Module) -> fx.GraphModule:
    """The graph of a network's ``forward`` on a batch, all other arguments left at their defaults.

    torch.fx traces an argument with a default as a tensor that it does not know, and ``if skip is not None``
    or ``if return_features`` then take the wrong way or none.

    Args:
        network: The network; its graph is that of the mode which it is in.

    Returns:
        Its graph, without the arguments that stay at ``None``, a number, a string or a truth value.

    Raises:
        Exception: Whatever somebody else's ``forward`` raises on values that are not there.

    Example:
        >>> class Head(nn.Linear):
        ...     def forward(self, x, double=False):
        ...         return super().forward(2 * x if double else x)
        >>> [node.op for node in trace(nn.Sequential(Head(3, 2))[0]).graph.nodes]
        ['placeholder', 'get_attr', 'get_attr', 'call_function', 'output']
    """
    traced = fx.symbolic_trace(network, concrete_args=_defaults(network) or None)
    batch = next(iter(traced.graph.nodes))
    for node in tuple(traced.graph.nodes):
        # What is left of such an argument is a check of its value.
        if node.op == "placeholder" and node is not batch and isinstance(_default_of(node), _Fixed):
            _erase(node)
    traced.recompile()
    return traced


def _defaults(network: nn.Module) -> dict[str, _Fixed]:
    _, *others = inspect.signature(network.forward).parameters.values()
    return {
        parameter.name: parameter.default for parameter in others if isinstance(parameter.default, _Fixed)
    }


def _default_of(placeholder: fx.Node) -> object:
    return placeholder.args[0] if placeholder.args else placeholder


def _erase(node: fx.Node) -> None:
    for user in tuple(node.users):
        _erase(user)
    node.graph.erase_node(node)
