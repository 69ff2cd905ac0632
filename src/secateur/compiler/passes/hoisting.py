"""What is done to every number after a convolution's channels became pixels is done before that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from secateur.compiler.network import Array, Network
from secateur.compiler.passes.rewriting import Wiring, per_channel, rebuilt, unused_name
from secateur.format.graph import (
    Binary,
    Convolution,
    Elementwise,
    Expand,
    Node,
    Reshape,
    Slice,
    Transpose,
    Value,
    renamed,
)

Moving = Reshape | Transpose | Slice | Expand

_AFFINE = ("add", "subtract", "multiply", "divide")


def hoist(network: Network) -> Network:
    """Functions, and factors and shifts of channels, go before steps that only move a convolution's output.

    So a transposed convolution, whose phases are channels until they are put side by side, takes in its
    batch normalisation and its activation as any convolution does; likewise what sub-pixel networks have
    after their pixel shuffle.

    Args:
        network: Any network.

    Returns:
        The same function.
    """
    while (changed := _one_moved(network)) is not None:
        network = changed
    return network


def _one_moved(network: Network) -> Network | None:
    wiring = Wiring(network)
    for node in network.graph.nodes:
        applied = _applied(wiring, node)
        steps = None if applied is None else _steps(wiring, applied.to)
        if applied is not None and steps:
            return _before(wiring, node, applied, steps)
    return None


@final
@dataclass(frozen=True)
class _Applied:
    # To which value a function is applied, or a constant's numbers, one for each channel.
    to: str
    constant: str | None = None
    numbers: Array | None = None


def _applied(wiring: Wiring, node: Node) -> _Applied | None:
    if isinstance(node, Elementwise):
        return _Applied(node.source)
    if not isinstance(node, Binary) or node.kind not in _AFFINE or node.activation is not None:
        return None
    for value, other in ((node.left, node.right), (node.right, node.left)):
        constant, shape = wiring.constant(other), wiring.shape(value)
        if constant is not None and len(shape) > 1 and shape == wiring.shape(node.output):
            numbers = per_channel(constant, shape, 1)
            return None if numbers is None else _Applied(value, other, numbers)
    return None


def _steps(wiring: Wiring, name: str) -> tuple[Moving, ...] | None:
    # The steps between a convolution, perhaps with factors and shifts, and what it gives in the end.
    steps: list[Moving] = []
    node = wiring.maker.get(name)
    while isinstance(node, Moving) and wiring.uses[node.output] == 1 and _keeps_channels(wiring, node):
        steps.append(node)
        node = wiring.maker.get(node.source)
    while isinstance(node, Binary) and wiring.uses[node.output] == 1:
        applied = _applied(wiring, node)
        node = None if applied is None else wiring.maker.get(applied.to)
    plain = isinstance(node, Convolution) and wiring.uses[node.output] == 1 and node.activation is None
    return tuple(reversed(steps)) if plain else None


def _keeps_channels(wiring: Wiring, node: Moving) -> bool:
    # Whether neighbouring channels, as many for each, become one channel, the numbers of each image its own.
    before, after = wiring.shape(node.source), wiring.shape(node.output)
    if min(len(before), len(after)) < 2 or before[0] != after[0]:
        return False
    match node:
        case Reshape():
            return isinstance(before[1], int) and isinstance(after[1], int) and before[1] % after[1] == 0
        case Transpose():
            return node.permutation[:2] == (0, 1)
        case Slice():
            return before[1] == after[1] and node.starts[:2] == (0, 0)
        case Expand():
            return before[1] == after[1] and len(before) == len(after)


def _before(wiring: Wiring, node: Node, applied: _Applied, steps: tuple[Moving, ...]) -> Network:
    network, source = wiring.network, steps[0].source
    shape = wiring.shape(source)
    first = Value(unused_name(network, f"{node.output}.first"), shape)
    names, constants = {applied.to: source, node.output: first.name}, {}
    if applied.constant is not None and applied.numbers is not None and isinstance(shape[1], int):
        name = names[applied.constant] = unused_name(network, f"{applied.constant}.first")
        each = shape[1] // len(applied.numbers)
        constants[name] = np.repeat(applied.numbers, each).reshape(-1, *(1,) * (len(shape) - 2))
    moved: dict[str, Node] = {steps[0].output: renamed(steps[0], {source: first.name})}
    last = steps[-1].output
    moved[last] = renamed(moved.get(last, steps[-1]), {last: node.output})
    nodes: list[Node] = []
    for old in network.graph.nodes:
        if old is steps[0]:
            nodes.append(renamed(node, names))
        if old is not node:
            nodes.append(moved.get(old.output, old))
    made = rebuilt(network, nodes, constants=constants)
    values = tuple(value for value in made.graph.values if value.name != last)
    return replace(made, graph=replace(made.graph, values=(*values, first)))
