"""A slow interpreter of graphs in NumPy that is easy to see to be right: the oracle of the tests.

It computes in float64, so that what is compared with it is compared with the exact result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from secateur.compiler.network import Array, Network
from secateur.format.graph import (
    Activation,
    Batch,
    Binary,
    Concat,
    Convolution,
    Elementwise,
    Expand,
    Gather,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    LogSoftmax,
    MatMul,
    Node,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Transpose,
    Value,
    resolve,
)


def run(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Compute the outputs of a network.

    Args:
        network: A graph and its constants.
        inputs: An array for each input of the graph; the batch size is read off their shapes.

    Returns:
        Output name -> float32 array.

    Raises:
        ValueError: The inputs' shapes agree on no batch size.
    """
    graph = network.graph
    values = {value.name: value for value in graph.values}
    batch = batch_size([values[name] for name in graph.inputs], inputs)
    tensors: dict[str, Array] = {name: _wide(array) for name, array in inputs.items()}
    for node in graph.nodes:
        shape = resolve(values[node.output].shape, batch)
        result = _Evaluation(tensors, network.constants, shape).of(node)
        if result.shape != shape:
            raise ValueError(f"node {node.name!r} gave {result.shape}; the graph says {shape}")
        tensors[node.output] = result
    with np.errstate(over="ignore"):
        return {name: tensors[name].astype(values[name].dtype) for name in graph.outputs}


def batch_size(values: Sequence[Value], inputs: Mapping[str, Array]) -> int:
    """The batch size that arrays have.

    Args:
        values: The inputs of a graph.
        inputs: An array for each.

    Returns:
        The batch size; 1 where no dimension grows with it.

    Raises:
        ValueError: There is none that fits them all.

    Example:
        >>> batch_size([Value("x", (Batch(), 3))], {"x": np.zeros((5, 3), np.float32)})
        5
    """
    sizes = {
        size // dim.multiple
        for value in values
        for dim, size in zip(value.shape, inputs[value.name].shape, strict=True)
        if isinstance(dim, Batch)
    }
    batch = min(sizes, default=1)
    for value in values:
        if resolve(value.shape, batch) != inputs[value.name].shape:
            raise ValueError(f"input {value.name!r} is {inputs[value.name].shape}; expected {value.shape}")
    return batch


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


class _Evaluation:
    """One node's computation.

    Args:
        tensors: The values so far.
        constants: Of the network.
        shape: Of the node's output.
    """

    def __init__(
        self, tensors: Mapping[str, Array], constants: Mapping[str, Array], shape: tuple[int, ...]
    ) -> None:
        self._tensors = tensors
        self._constants = constants
        self._shape = shape

    def _get(self, name: str) -> Array:
        return self._tensors[name] if name in self._tensors else _wide(self._constants[name])

    def of(self, node: Node) -> Array:  # noqa: C901, PLR0911, PLR0912  # one case for each kind of node
        """The node's output."""
        match node:
            case Convolution():
                return self._finish(node, self._convolution(node), (-1,) + (1,) * len(node.strides))
            case Linear():
                return self._finish(node, self._get(node.source) @ self._get(node.weight).T, (-1,))
            case MatMul():
                return np.asarray(np.matmul(self._get(node.left), self._get(node.right)))
            case Pool():
                return self._pool(node)
            case Elementwise():
                return activate(node.activation, self._get(node.source))
            case Binary():
                result = _BINARY[node.kind](self._get(node.left), self._get(node.right))
                return result if node.activation is None else activate(node.activation, result)
            case Softmax():
                x = self._get(node.source)
                raised = np.exp(x - x.max(axis=node.axis, keepdims=True))
                return np.asarray(raised / raised.sum(axis=node.axis, keepdims=True))
            case LogSoftmax():
                x = self._get(node.source)
                below = x - x.max(axis=node.axis, keepdims=True)
                return np.asarray(below - np.log(np.exp(below).sum(axis=node.axis, keepdims=True)))
            case LayerNorm():
                return self._layer_norm(node)
            case LocalResponseNorm():
                return _local_response_norm(node, self._get(node.source))
            case Concat():
                return np.concatenate([self._get(name) for name in node.sources], axis=node.axis)
            case Slice():
                return self._slice(node)
            case Pad():
                return self._pad(node)
            case Reshape():
                return self._get(node.source).reshape(self._shape)
            case Transpose():
                return self._get(node.source).transpose(node.permutation)
            case Reduce():
                x = self._get(node.source)
                return np.asarray(_REDUCE[node.kind](x, axis=node.axes)).reshape(self._shape)
            case Gather():
                return np.take(self._get(node.source), self._get(node.indices), axis=node.axis)
            case Expand():
                return np.broadcast_to(self._get(node.source), self._shape)
            case _:
                assert_never(node)

    def _finish(self, node: Convolution | Linear, result: Array, bias_shape: tuple[int, ...]) -> Array:
        if node.bias is not None:
            result = result + self._get(node.bias).reshape(bias_shape)
        if node.residual is not None:
            result = result + self._get(node.residual)
        return result if node.activation is None else activate(node.activation, result)

    def _convolution(self, node: Convolution) -> Array:
        x, weight = self._get(node.source), self._get(node.weight)
        windows = _windows(
            x, weight.shape[2:], node.strides, node.pads, node.dilations, self._shape[2:], fill=0.0
        )
        rank = len(node.strides)
        batch, places = x.shape[0], self._shape[2:]
        grouped = windows.reshape(batch, node.groups, -1, *places, *weight.shape[2:])
        kernels = weight.reshape(node.groups, -1, *weight.shape[1:])
        parts = [
            np.tensordot(
                grouped[:, group],
                kernels[group],
                axes=([1, *range(2 + rank, 2 + 2 * rank)], [1, *range(2, 2 + rank)]),
            )
            for group in range(node.groups)
        ]
        return np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)

    def _pool(self, node: Pool) -> Array:
        x, places = self._get(node.source), self._shape[2:]
        axes = tuple(range(-len(node.kernel), 0))
        if node.kind == "max":
            windows = _windows(
                x, node.kernel, node.strides, node.pads, node.dilations, places, fill=-math.inf
            )
            return np.asarray(windows.max(axis=axes))
        total = _windows(x, node.kernel, node.strides, node.pads, node.dilations, places, fill=0.0).sum(
            axis=axes
        )
        spatial = len(node.kernel)
        counted = np.ones((1, 1, *x.shape[2:]))
        inside = node.pads
        if node.count_padding:
            counted = np.pad(counted, [(0, 0), (0, 0), *_pairs(node.pads)], constant_values=1.0)
            inside = (0,) * (2 * spatial)
        count = _windows(counted, node.kernel, node.strides, inside, node.dilations, places, fill=0.0)
        return np.asarray(total / count.sum(axis=axes))

    def _layer_norm(self, node: LayerNorm) -> Array:
        x = self._get(node.source)
        axes = tuple(range(node.axis, x.ndim))
        centred = x - x.mean(axis=axes, keepdims=True)
        variance = np.square(centred).mean(axis=axes, keepdims=True)
        result = np.asarray(centred / np.sqrt(variance + node.epsilon))
        if node.scale is not None:
            result = result * self._get(node.scale)
        return result if node.bias is None else np.asarray(result + self._get(node.bias))

    def _slice(self, node: Slice) -> Array:
        x = self._get(node.source)
        picks = [
            start + step * np.arange(size)
            for start, step, size in zip(node.starts, node.steps, self._shape, strict=True)
        ]
        return np.asarray(x[np.ix_(*picks)]) if picks else x

    def _pad(self, node: Pad) -> Array:
        x = self._get(node.source)
        pairs = [
            (before, size - before - own)
            for before, size, own in zip(node.before, self._shape, x.shape, strict=True)
        ]
        if node.mode == "constant":
            return np.pad(x, pairs, constant_values=node.value)
        return np.asarray(np.pad(x, pairs, mode=node.mode))


def _pairs(pads: tuple[int, ...]) -> list[tuple[int, int]]:
    half = len(pads) // 2
    return list(zip(pads[:half], pads[half:], strict=True))


def _windows(
    x: Array,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: tuple[int, ...],
    dilations: Sequence[int],
    places: Sequence[int],
    fill: float,
) -> Array:
    # (N, C, places..., kernel...); the last windows may reach beyond the padding where their number was
    # rounded up.
    spatial = x.shape[2:]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    needed = [(place - 1) * stride + r for place, stride, r in zip(places, strides, reach, strict=True)]
    pairs = [
        (begin, max(need - size - begin, end))
        for (begin, end), need, size in zip(_pairs(pads), needed, spatial, strict=True)
    ]
    padded = np.pad(x, [(0, 0), (0, 0), *pairs], constant_values=fill)
    axes = tuple(range(2, x.ndim))
    views = sliding_window_view(padded, reach, axis=axes)
    steps = tuple(slice(None, place * stride, stride) for place, stride in zip(places, strides, strict=True))
    skips = tuple(slice(None, None, d) for d in dilations)
    return views[(slice(None), slice(None), *steps, *skips)]


def _local_response_norm(node: LocalResponseNorm, x: Array) -> Array:
    before, after = (node.size - 1) // 2, node.size // 2
    squares = np.square(x)
    total = np.zeros_like(x)
    channels = x.shape[1]
    for channel in range(channels):
        near = squares[:, max(channel - before, 0) : min(channel + after, channels - 1) + 1]
        total[:, channel] = near.sum(axis=1)
    return np.asarray(x / (node.k + node.alpha / node.size * total) ** node.beta)


def activate(activation: Activation, x: Array) -> Array:  # noqa: C901, PLR0911, PLR0912  # one case for each kind
    """A function of one number, of each number of an array.

    Args:
        activation: The function.
        x: Numbers.

    Returns:
        As many numbers.

    Example:
        >>> activate(Activation("clip", 0.0, 6.0), np.array([-1.0, 3.0, 9.0]))
        array([0., 3., 6.])
    """
    alpha, beta = activation.alpha, activation.beta
    with np.errstate(over="ignore", invalid="ignore"):
        match activation.kind:
            case "relu":
                return np.maximum(x, 0.0)
            case "leaky_relu":
                return np.where(x >= 0, x, alpha * x)
            case "clip":
                return np.minimum(np.maximum(x, alpha), beta)
            case "sigmoid":
                return _sigmoid(x)
            case "hard_sigmoid":
                return np.clip(alpha * x + beta, 0.0, 1.0)
            case "hard_swish":
                return np.asarray(x * np.clip(x / 6 + 0.5, 0.0, 1.0))
            case "swish":
                return np.asarray(x * _sigmoid(x))
            case "tanh":
                return np.tanh(x)
            case "gelu":
                return np.asarray(x * (1 + _erf(x / math.sqrt(2))) / 2)
            case "gelu_tanh":
                return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)
            case "erf":
                return _erf(x)
            case "exp":
                return np.exp(x)
            case "sqrt":
                return np.sqrt(x)
            case "negative":
                return np.negative(x)
            case "absolute":
                return np.abs(x)
            case _:
                assert_never(activation.kind)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


_BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "minimum": np.minimum,
    "maximum": np.maximum,
}
_REDUCE: Mapping[str, Callable[..., Array]] = {"mean": np.mean, "sum": np.sum, "max": np.max}
