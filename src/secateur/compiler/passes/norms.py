"""Normalisations that exporters write as means, differences and roots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.compiler.network import Network
from secateur.compiler.passes.rewriting import Wiring, rebuilt
from secateur.format.graph import (
    Binary,
    Elementwise,
    LayerNorm,
    LocalResponseNorm,
    Node,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Shape,
)


def fuse_layer_norm(network: Network) -> Network:
    """Put ``(x - mean) / sqrt(mean of squares + epsilon) * scale + bias`` together again.

    Args:
        network: Any network; nodes that are no longer read stay for a later pass.

    Returns:
        The same function, up to rounding.
    """
    nodes: list[Node] = []
    norms: dict[str, LayerNorm] = {}
    wiring = Wiring(network)
    for node in network.graph.nodes:
        norm = _norm(wiring, node) or _with_affine(wiring, norms, node)
        if norm is not None:
            norms[norm.output] = norm
        elif isinstance(node, LayerNorm):
            norms[node.output] = node
        nodes.append(norm or node)
    return rebuilt(network, nodes)


def _norm(wiring: Wiring, node: Node) -> LayerNorm | None:
    if not isinstance(node, Binary) or node.kind != "divide" or node.activation is not None:
        return None
    root = wiring.maker.get(node.right)
    if not isinstance(root, Elementwise) or root.activation.kind != "sqrt":
        return None
    epsilon, variance = wiring.with_scalar(root.source, "add")
    centred = _centred(wiring, node.left)
    if epsilon is None or centred is None or _centred_squares(wiring, variance) != centred:
        return None
    source, axis = centred
    return LayerNorm(node.name, source, node.output, axis, epsilon)


def _centred(wiring: Wiring, name: str) -> tuple[str, int] | None:
    # x and the axis of ``x - mean of x over the dimensions from the axis on``.
    node = wiring.plain(name, "subtract")
    axis = None if node is None else _mean(wiring, node.right, node.left)
    return None if node is None or axis is None else (node.left, axis)


def _centred_squares(wiring: Wiring, name: str) -> tuple[str, int] | None:
    # The same of their mean square; some exporters compute the difference twice.
    mean = wiring.maker.get(name)
    square = wiring.plain(mean.source, "multiply") if isinstance(mean, Reduce) else None
    if square is None or square.left != square.right:
        return None
    centred = _centred(wiring, square.left)
    return centred if centred is not None and _mean(wiring, name, square.output) == centred[1] else None


def _mean(wiring: Wiring, name: str, source: str) -> int | None:
    # The axis of a mean of the source over the dimensions from it on, which stay as ones.
    node = wiring.maker.get(name)
    if not isinstance(node, Reduce) or node.kind != "mean" or node.source != source:
        return None
    shape, axis = wiring.shape(source), node.axes[0]
    trailing = node.axes == tuple(range(axis, len(shape)))
    kept = wiring.shape(name) == (*shape[:axis], *(1,) * (len(shape) - axis))
    return axis if trailing and kept else None


def _with_affine(wiring: Wiring, norms: dict[str, LayerNorm], node: Node) -> LayerNorm | None:
    if not isinstance(node, Binary) or node.kind not in ("multiply", "add") or node.activation is not None:
        return None
    for value, other in ((node.left, node.right), (node.right, node.left)):
        norm, constant = norms.get(value), wiring.constant(other)
        if norm is None or constant is None or constant.dtype != np.float32:
            continue
        if constant.shape != _inner(wiring, norm):
            continue
        if node.kind == "multiply" and norm.scale is None and norm.bias is None:
            return replace(norm, scale=other, output=node.output)
        if node.kind == "add" and norm.bias is None:
            return replace(norm, bias=other, output=node.output)
    return None


def _inner(wiring: Wiring, norm: LayerNorm) -> Shape:
    return wiring.shape(norm.source)[norm.axis :]


def fuse_local_response_norm(network: Network) -> Network:
    """Put AlexNet's normalisation together again, which torch writes as a pool over padded squares.

    Args:
        network: Any network; nodes that are no longer read stay for a later pass.

    Returns:
        The same function, up to rounding.
    """
    wiring = Wiring(network)
    return rebuilt(network, [_response_norm(wiring, node) or node for node in network.graph.nodes])


def _response_norm(wiring: Wiring, node: Node) -> LocalResponseNorm | None:
    if not isinstance(node, Binary) or node.kind != "divide" or node.activation is not None:
        return None
    raised = wiring.plain(node.right, "power")
    if raised is None:
        return None
    beta = wiring.scalar(raised.right)
    k, scaled = wiring.with_scalar(raised.left, "add")
    alpha, mean = wiring.with_scalar(scaled, "multiply")
    size = _channel_mean(wiring, mean, node.left)
    if beta is None or k is None or alpha is None or size is None:
        return None
    return LocalResponseNorm(node.name, node.left, node.output, size, alpha, beta, k)


def _channel_mean(wiring: Wiring, name: str, x: str) -> int | None:
    # How many neighbouring channels' squares of x this is the mean of; an odd number, so that they lie
    # evenly.
    pool = wiring.maker.get(_unshaped(wiring, name))
    if not isinstance(pool, Pool) or pool.kind != "average" or len(pool.kernel) != 2:
        return None
    size, rest = pool.kernel
    if rest != 1 or any(pool.pads) or {*pool.strides, *pool.dilations} != {1} or size % 2 == 0:
        return None
    pad = wiring.maker.get(_unshaped(wiring, pool.source))
    if not isinstance(pad, Pad) or (pad.mode, pad.value) != ("constant", 0.0):
        return None
    square = wiring.plain(_unshaped(wiring, pad.source), "multiply")
    if square is None or (square.left, square.right) != (x, x):
        return None
    batch, channels, *places = wiring.shape(x)
    grown = [channels + size - 1 if isinstance(channels, int) else channels]
    shapes = (wiring.shape(pad.source), wiring.shape(pad.output), wiring.shape(name))
    evenly = pad.before == (0, 0, size // 2) + (0,) * len(places)
    expected = ((batch, 1, channels, *places), (batch, 1, *grown, *places), wiring.shape(x))
    return size if evenly and shapes == expected else None


def _unshaped(wiring: Wiring, name: str) -> str:
    node = wiring.maker.get(name)
    return node.source if isinstance(node, Reshape) else name
