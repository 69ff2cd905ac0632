"""What the passes share: who makes a value, who reads it, and a network with other nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import final

import numpy as np

from secateur.compiler.network import Array, Network
from secateur.format.graph import Binary, BinaryKind, Node, Shape, reads, renamed


@final
class Wiring:
    """Makers, readers and shapes of a network's values.

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        graph = network.graph
        self.network = network
        self.maker: dict[str, Node] = {node.output: node for node in graph.nodes}
        self.uses = Counter(name for node in graph.nodes for name in reads(node))
        self.uses.update(graph.outputs)
        self._shapes = {value.name: value.shape for value in graph.values}

    def shape(self, name: str) -> Shape:
        """The shape of a value or constant."""
        return self._shapes[name] if name in self._shapes else self.network.constants[name].shape

    def constant(self, name: str) -> Array | None:
        """A constant, or None for a value."""
        return self.network.constants.get(name)

    def scalar(self, name: str) -> float | None:
        """A constant that is one number."""
        array = self.constant(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def plain(self, name: str, kind: BinaryKind) -> Binary | None:
        """The operation that makes a value, if it is of that kind and nothing is fused to it."""
        node = self.maker.get(name)
        fits = isinstance(node, Binary) and node.kind == kind and node.activation is None
        return node if isinstance(node, Binary) and fits else None

    def with_scalar(self, name: str, kind: BinaryKind) -> tuple[float | None, str]:
        """The number and the other operand of such an operation; no number and the value of another."""
        node = self.plain(name, kind)
        if node is None:
            return None, name
        right = self.scalar(node.right)
        return (self.scalar(node.left), node.right) if right is None else (right, node.left)


def rebuilt(
    network: Network,
    nodes: Iterable[Node | None],
    names: Mapping[str, str] | None = None,
    constants: Mapping[str, Array] | None = None,
) -> Network:
    """A network with other nodes.

    Args:
        network: The old one.
        nodes: The nodes, None where one is gone.
        names: Values that are now read and written under another name; the value of that name goes.
        constants: Constants to add or to put in another's place.

    Returns:
        The new one.
    """
    names = names or {}
    graph = network.graph
    kept = tuple(renamed(node, names) if names else node for node in nodes if node is not None)
    every = {**network.constants, **(constants or {})}
    values = tuple(value for value in graph.values if value.name not in names)
    made = replace(graph, nodes=kept, values=values, constants=tuple(every))
    return replace(network, graph=made, constants=every)


def unused_name(network: Network, hint: str, taken: Iterable[str] = ()) -> str:
    """A name that no constant or value has."""
    names = {*network.constants, *(value.name for value in network.graph.values), *taken}
    number, name = 0, hint
    while name in names:
        number += 1
        name = f"{hint}.{number}"
    return name


def per_channel(constant: Array, shape: Shape, channel: int) -> Array | None:
    """The numbers of a constant that is broadcast to a shape, if there is one for each channel.

    Args:
        constant: Any.
        shape: Of what it is combined with.
        channel: The dimension of the channels.

    Returns:
        float32, (channels,), or None where there may be more, they grow with the batch or are not float32.

    Example:
        >>> per_channel(np.float32([[1], [2]]), (3, 2, 4), 1)
        array([1., 2.], dtype=float32)
    """
    channels = shape[channel]
    if not isinstance(channels, int) or constant.ndim > len(shape) or constant.dtype != np.float32:
        return None
    full = (1,) * (len(shape) - constant.ndim) + constant.shape
    if any(size != 1 for axis, size in enumerate(full) if axis != channel):
        return None
    return np.broadcast_to(constant.reshape(-1), (channels,))
