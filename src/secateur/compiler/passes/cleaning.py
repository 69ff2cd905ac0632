"""What is not needed goes: nodes that change nothing, nodes that nobody reads, constants kept twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.compiler.network import Array, Network
from secateur.compiler.passes.rewriting import Wiring, rebuilt
from secateur.format.graph import Concat, Expand, Node, Pad, Reshape, Slice, Transpose, reads, renamed


def drop_identities(network: Network) -> Network:
    """Take out nodes whose output is their input, and join reshapes and transpositions in a row.

    Args:
        network: Any network.

    Returns:
        The same function. A value that the caller gives or gets keeps its name, by a node that copies if
        there is no other way.
    """
    wiring = Wiring(network)
    outputs = network.graph.outputs
    fixed = {*network.graph.inputs, *network.constants, *outputs}
    aliases: dict[str, str] = {}
    renames: dict[str, str] = {}
    nodes: list[Node] = []
    made: dict[str, Node] = {}
    for old in network.graph.nodes:
        node = _joined(renamed(old, aliases), made)
        source = _unchanged(node, wiring)
        if source is not None and node.output not in outputs:
            aliases[node.output] = source
        elif source is not None and source not in fixed and source not in renames:
            renames[source] = node.output
        else:
            nodes.append(node)
            made[node.output] = node
    behind = {name: renames.get(source, source) for name, source in aliases.items()}
    return rebuilt(network, nodes, {**behind, **renames})


def _joined(node: Node, made: dict[str, Node]) -> Node:
    match node:
        case Reshape(source=source) if isinstance(before := made.get(source), Reshape):
            return replace(node, source=before.source)
        case Transpose(source=source) if isinstance(before := made.get(source), Transpose):
            order = tuple(before.permutation[axis] for axis in node.permutation)
            return replace(node, source=before.source, permutation=order)
        case _:
            return node


def _unchanged(node: Node, wiring: Wiring) -> str | None:
    match node:
        case Transpose(source=source):
            return source if node.permutation == tuple(range(len(node.permutation))) else None
        case Concat(sources=(source,)):
            return source
        case Slice(source=source) if any(node.starts) or set(node.steps) > {1}:
            return None
        case Reshape(source=source) | Slice(source=source) | Pad(source=source) | Expand(source=source):
            same = wiring.shape(source) == wiring.shape(node.output)
            return source if same and wiring.constant(source) is None else None
        case _:
            return None


def drop_dead(network: Network) -> Network:
    """Take out nodes, values and constants that no output needs.

    Args:
        network: Any network.

    Returns:
        The same function; inputs stay though nothing may read them.
    """
    needed = set(network.graph.outputs)
    nodes: list[Node] = []
    for node in reversed(network.graph.nodes):
        if node.output in needed:
            needed.update(reads(node))
            nodes.append(node)
    graph = network.graph
    constants = {name: array for name, array in network.constants.items() if name in needed}
    kept = needed | set(graph.inputs)
    values = tuple(value for value in graph.values if value.name in kept)
    slim = replace(graph, nodes=tuple(reversed(nodes)), values=values, constants=tuple(constants))
    return replace(network, graph=slim, constants=constants)


def share_constants(network: Network) -> Network:
    """Keep equal constants once: tied weights come as two initialisers from some exporters.

    Args:
        network: Any network.

    Returns:
        The same function.
    """
    alike: dict[tuple[object, ...], list[str]] = {}
    names: dict[str, str] = {}
    for name, array in network.constants.items():
        group = alike.setdefault((array.shape, array.dtype.str, _sample(array)), [])
        first = next((other for other in group if np.array_equal(network.constants[other], array)), None)
        if first is None:
            group.append(name)
        else:
            names[name] = first
    constants = {name: array for name, array in network.constants.items() if name not in names}
    slim = replace(network, graph=replace(network.graph, constants=tuple(constants)), constants=constants)
    return rebuilt(slim, network.graph.nodes, names)


def _sample(array: Array) -> bytes:
    # A few numbers tell most tensors apart, so that large ones are seldom compared as a whole.
    flat = array.reshape(-1)
    return bytes(flat[:: max(flat.size // 16, 1)].tobytes())
