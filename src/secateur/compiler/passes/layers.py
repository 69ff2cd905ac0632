"""What follows a convolution or a linear layer is computed within it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from secateur.compiler.network import Array, Network, takes_padding
from secateur.compiler.passes.rewriting import Wiring, per_channel, rebuilt, unused_name
from secateur.format.graph import (
    Activation,
    Binary,
    Convolution,
    Elementwise,
    Linear,
    Node,
    Pad,
    Pool,
    Shape,
)

Layer = Convolution | Linear


def fold_padding(network: Network) -> Network:
    """Padding with zeros before a convolution becomes the convolution's own.

    Args:
        network: Any network.

    Returns:
        The same function.
    """
    wiring = Wiring(network)
    nodes: list[Node] = []
    for node in network.graph.nodes:
        before = wiring.maker.get(node.source) if isinstance(node, Convolution) else None
        if (
            isinstance(node, Convolution)
            and isinstance(before, Pad)
            and (before.mode, before.value) == ("constant", 0.0)
            and wiring.shape(before.source)[:2] == wiring.shape(before.output)[:2]
        ):
            pads = _with(node, before, wiring)
            kernel = network.constants[node.weight].shape[2:]
            if takes_padding(pads, kernel, node.strides, node.dilations):
                node = replace(node, source=before.source, pads=pads)  # noqa: PLW2901  # the node, rewritten
        nodes.append(node)
    return rebuilt(network, nodes)


def _with(node: Convolution, pad: Pad, wiring: Wiring) -> tuple[int, ...]:
    rank = len(node.strides)
    own, grown = wiring.shape(pad.source)[2:], wiring.shape(pad.output)[2:]
    begins = [a + b for a, b in zip(node.pads[:rank], pad.before[2:], strict=True)]
    after = [
        g - o - b if isinstance(g, int) and isinstance(o, int) else 0
        for o, g, b in zip(own, grown, pad.before[2:], strict=True)
    ]
    return (*begins, *(a + b for a, b in zip(node.pads[rank:], after, strict=True)))


def fold_affine(network: Network) -> Network:
    """A constant factor or shift of every channel after a layer goes into its weight and bias.

    This is where batch normalisation goes, and the bias that exporters write as an addition.

    Args:
        network: Any network.

    Returns:
        The same function, up to rounding.
    """
    wiring = Wiring(network)
    uses = Counter(wiring.uses)
    nodes: list[Node | None] = list(network.graph.nodes)
    at = {node.output: index for index, node in enumerate(network.graph.nodes)}
    constants = dict(network.constants)
    for index, node in enumerate(network.graph.nodes):
        if not isinstance(node, Binary):
            continue
        value, other = (node.left, node.right) if node.right in constants else (node.right, node.left)
        layer = nodes[at[value]] if value in at else None
        if not isinstance(layer, Layer) or other not in constants or uses[value] != 1:
            continue
        if layer.residual is not None or layer.activation is not None:
            continue
        numbers = _per_channel(layer, constants[other], wiring.shape(value), wiring.shape(node.output))
        change = None if numbers is None else _affine(node, numbers, flipped=value == node.right)
        if change is None:
            continue
        factor, shift = change
        folded = _changed(network, layer, factor, shift, constants, uses)
        nodes[at[value]] = None
        nodes[index] = replace(folded, output=node.output, activation=node.activation)
    return rebuilt(network, nodes, constants=constants)


def _per_channel(layer: Layer, constant: Array, shape: Shape, result: Shape) -> Array | None:
    channel = 1 if isinstance(layer, Convolution) else len(shape) - 1
    numbers = per_channel(constant, shape, channel) if shape == result else None
    return None if numbers is None else numbers.astype(np.float64)


def _affine(node: Binary, numbers: Array, *, flipped: bool) -> tuple[Array, Array] | None:
    # (factor, shift) of ``layer * factor + shift``.
    one, none = np.ones_like(numbers), np.zeros_like(numbers)
    match node.kind:
        case "multiply":
            return numbers, none
        case "add":
            return one, numbers
        case "subtract":
            return (-one, numbers) if flipped else (one, -numbers)
        case "divide" if not flipped and np.all(numbers != 0):
            return 1 / numbers, none
        case _:
            return None


def _changed(
    network: Network,
    layer: Layer,
    factor: Array,
    shift: Array,
    constants: dict[str, Array],
    uses: Counter[str],
) -> Layer:
    weight = constants[layer.weight]
    bias = np.zeros(len(weight)) if layer.bias is None else constants[layer.bias].astype(np.float64)
    weight_name = layer.weight
    if np.any(factor != 1):
        scaled = (weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.float32)
        weight_name = _stored(network, layer.weight, f"{layer.weight}.folded", scaled, constants, uses)
    moved = (bias * factor + shift).astype(np.float32)
    bias_name = _stored(network, layer.bias, f"{layer.name}.bias", moved, constants, uses)
    return replace(layer, weight=weight_name, bias=bias_name)


def _stored(
    network: Network,
    old: str | None,
    hint: str,
    array: Array,
    constants: dict[str, Array],
    uses: Counter[str],
) -> str:
    # A constant that other layers read too must stay as it is.
    name = old if old is not None and uses[old] == 1 else unused_name(network, hint, constants)
    constants[name] = array
    uses[name] = 1
    return name


def fuse_residual(network: Network) -> Network:
    """The addition of a value of the same shape after a layer becomes its residual.

    Args:
        network: Any network.

    Returns:
        The same function.
    """
    wiring = Wiring(network)
    nodes: list[Node | None] = list(network.graph.nodes)
    at = {node.output: index for index, node in enumerate(network.graph.nodes)}
    for index, node in enumerate(network.graph.nodes):
        if not isinstance(node, Binary) or node.kind != "add":
            continue
        shape = wiring.shape(node.output)
        if any(
            wiring.constant(name) is not None or wiring.shape(name) != shape
            for name in (node.left, node.right)
        ):
            continue
        # The later of two layers: what it adds is there when it runs.
        for value, other in sorted(
            ((node.left, node.right), (node.right, node.left)), key=lambda pair: -at.get(pair[0], -1)
        ):
            layer = nodes[at[value]] if value in at else None
            if (
                isinstance(layer, Layer)
                and wiring.uses[value] == 1
                and layer.residual is None
                and layer.activation is None
            ):
                nodes[at[value]] = None
                nodes[index] = replace(layer, output=node.output, residual=other, activation=node.activation)
                break
    return rebuilt(network, nodes)


def fuse_activations(network: Network) -> Network:
    """A function of one number after a layer or an operation of two tensors is computed within it.

    Args:
        network: Any network.

    Returns:
        The same function. A rising function behind a largest-number pool moves before it: the largest
        stays the largest, and there it costs nothing.
    """
    wiring = Wiring(network)
    nodes: list[Node | None] = list(network.graph.nodes)
    at = {node.output: index for index, node in enumerate(network.graph.nodes)}
    for index, node in enumerate(network.graph.nodes):
        if not isinstance(node, Elementwise) or wiring.uses[node.source] != 1 or node.source not in at:
            continue
        where = at[node.source]
        before = nodes[where]
        pool = (
            before if isinstance(before, Pool) and before.kind == "max" and _rises(node.activation) else None
        )
        if pool is not None:
            if wiring.uses[pool.source] != 1 or pool.source not in at:
                continue
            before = nodes[at[pool.source]]
        if not isinstance(before, Convolution | Linear | Binary) or before.activation is not None:
            continue
        nodes[index] = None
        if pool is None:
            nodes[where] = replace(before, output=node.output, activation=node.activation)
            at[node.output] = where
        else:
            nodes[at[pool.source]] = replace(before, activation=node.activation)
            nodes[where] = replace(pool, output=node.output)
            at[node.output] = where
    return rebuilt(network, nodes)


def _rises(activation: Activation) -> bool:
    match activation.kind:
        case "relu" | "clip" | "sigmoid" | "tanh":
            return True
        case "leaky_relu" | "hard_sigmoid":
            return activation.alpha >= 0
        case _:
            return False
