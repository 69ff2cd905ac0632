"""Nodes of a graph become steps of a native program, one function a kind of node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, assert_never, final

from secateur.errors import UnsupportedModelError
from secateur.format.graph import (
    Activation,
    ActivationKind,
    Binary,
    Concat,
    Convolution,
    Elementwise,
    Expand,
    Gather,
    Graph,
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
from secateur.runtime.fusion import poolable, without_pools
from secateur.runtime.kernels import NativeProgram
from secateur.runtime.planning import NOWHERE, MemoryPlan, Place, plan_memory
from secateur.runtime.weights import BoundWeight

_KINDS: Mapping[ActivationKind, int] = {
    "relu": 1,
    "leaky_relu": 2,
    "clip": 3,
    "sigmoid": 4,
    "hard_sigmoid": 5,
    "hard_swish": 6,
    "swish": 7,
    "tanh": 8,
    "gelu": 9,
    "gelu_tanh": 10,
    "erf": 11,
    "exp": 12,
    "sqrt": 13,
    "negative": 14,
    "absolute": 15,
}
Ref = tuple[int, int]
NativeActivation = tuple[int, float, float]


Choose = Callable[["Builder", Convolution | Linear], str]


@final
class Builder:
    """What the steps of one program at one batch size are built with.

    Args:
        graph: What runs.
        batch: At least 1.
        weights: Of every convolution and linear layer, by constant name.
        constants: The native program's number for every other constant.
        shapes: Of every other constant.
        native: The program, without steps as yet.
        choose: Names the kernel of a weighted layer.
    """

    def __init__(
        self,
        graph: Graph,
        batch: int,
        weights: Mapping[str, BoundWeight],
        constants: Mapping[str, int],
        shapes: Mapping[str, tuple[int, ...]],
        native: NativeProgram,
        choose: Choose,
    ) -> None:
        self.graph = graph
        self.batch = batch
        self.weights = weights
        self.native = native
        self.kernels: dict[str, str] = {}
        self._constants = constants
        self._shapes = shapes
        self._values: Mapping[str, Value] = {value.name: value for value in graph.values}
        for node in graph.nodes:
            if isinstance(node, Convolution | Linear):
                self.kernels[node.name] = choose(self, node)
        self._geometries = {
            node.name: self.geometry(node) for node in graph.nodes if isinstance(node, Convolution)
        }
        self._scheduled = without_pools(graph, self._fused())
        workspaces = {index: self._workspace(node) for index, node in enumerate(self._scheduled.nodes)}
        self.plan: MemoryPlan = plan_memory(
            self._scheduled, batch, {index: size for index, size in workspaces.items() if size}
        )

    def build(self, threads: int) -> None:
        """Append all steps and finish the program, packing weights on so many threads."""
        for index, node in enumerate(self._scheduled.nodes):
            self._add(index, node)
        for copy in self.plan.copies:
            self.native.copy(_ref(copy.source), _ref(copy.output), copy.elements)
        self.native.finish(self.plan.arena_bytes, threads)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a value or constant at this batch size."""
        value = self._values.get(name)
        if value is not None:
            return resolve(value.shape, self.batch)
        return self._shapes[name]

    def rows(self, node: Linear) -> int:
        """How many vectors a linear layer maps."""
        return prod(self.shape(node.source)[:-1])

    def geometry(self, node: Convolution) -> dict[str, int]:
        """What the native core wants to know of a convolution; one dimension is two with a height of 1."""
        images, in_channels, *in_sizes = self.shape(node.source)
        _, out_channels, *out_sizes = self.shape(node.output)
        one = [1] * (2 - len(in_sizes))
        none = [0] * (2 - len(in_sizes))
        in_height, in_width = one + in_sizes
        out_height, out_width = one + out_sizes
        kernel_height, kernel_width = one + list(self.weights[node.weight].shape[2:])
        stride_height, stride_width = one + list(node.strides)
        dilation_height, dilation_width = one + list(node.dilations)
        pad_top, pad_left = none + list(node.pads[: len(in_sizes)])
        return {
            "images": images,
            "in_channels": in_channels,
            "in_height": in_height,
            "in_width": in_width,
            "out_channels": out_channels,
            "out_height": out_height,
            "out_width": out_width,
            "kernel_height": kernel_height,
            "kernel_width": kernel_width,
            "stride_height": stride_height,
            "stride_width": stride_width,
            "pad_top": pad_top,
            "pad_left": pad_left,
            "dilation_height": dilation_height,
            "dilation_width": dilation_width,
            "groups": node.groups,
        }

    def candidates(self, node: Convolution | Linear) -> list[str]:
        """The kernels that can run a weighted layer, by name.

        Raises:
            UnsupportedModelError: There is none.
        """
        weight = self.weights[node.weight]
        if isinstance(node, Convolution):
            found = self.native.convolution_kernels(**self.geometry(node))
        else:
            found = self.native.linear_kernels(weight.matrix, weight.columns, self.rows(node))
        if not found:
            raise UnsupportedModelError(
                f"{node.name}: no kernel runs a {type(node).__name__} with a weight of shape {weight.shape}"
            )
        return list(found)

    def _fused(self) -> dict[str, Pool]:
        """The pools that the kernels of their convolutions can do; the geometries then say so."""
        fused = {}
        for name, pool in poolable(self.graph).items():
            pool_height, pool_width = [1] * (2 - len(pool.kernel)) + list(pool.kernel)
            pooled = {**self._geometries[name], "pool_height": pool_height, "pool_width": pool_width}
            if self.kernels[name] in self.native.convolution_kernels(**pooled):
                self._geometries[name] = pooled
                fused[name] = pool
        return fused

    def _workspace(self, node: Node) -> int:
        if not isinstance(node, Linear):
            return 0
        weight = self.weights[node.weight]
        return self.native.linear_workspace(
            self.kernels[node.name], weight.matrix, weight.columns, self.rows(node)
        )

    def _at(self, name: str | None) -> Ref:
        if name is None:
            return _ref(NOWHERE)
        if name in self._values:
            return _ref(self.plan.places[name])
        return (4, self._constants[name])

    def _add(self, index: int, node: Node) -> None:  # noqa: C901, PLR0912  # one case a kind of node, each a line or two
        native, at, shape = self.native, self._at, self.shape
        match node:
            case Convolution():
                native.convolution(
                    self.kernels[node.name],
                    self.weights[node.weight].matrix,
                    at(node.source),
                    at(node.output),
                    at(node.bias),
                    at(node.residual),
                    activation(node.activation),
                    **self._geometries[node.name],
                )
            case Linear():
                weight = self.weights[node.weight]
                native.linear(
                    self.kernels[node.name],
                    weight.matrix,
                    weight.columns,
                    at(node.source),
                    at(node.output),
                    at(node.bias),
                    at(node.residual),
                    activation(node.activation),
                    _ref(self.plan.workspaces.get(index, NOWHERE)),
                    rows=self.rows(node),
                )
            case MatMul(left=left, right=right, output=output):
                native.matmul(at(left), at(right), at(output), shape(left), shape(right), shape(output))
            case Pool():
                native.pool(node.kind, at(node.source), at(node.output), **self._windows(node))
            case Elementwise(source=source, output=output):
                native.elementwise(at(source), at(output), prod(shape(output)), activation(node.activation))
            case Binary(left=left, right=right, output=output):
                native.binary(
                    node.kind,
                    at(left),
                    at(right),
                    at(output),
                    shape(left),
                    shape(right),
                    shape(output),
                    activation(node.activation),
                )
            case Softmax(source=source, output=output, axis=axis):
                outer, size, inner = around(shape(source), axis)
                native.softmax(at(source), at(output), outer, size, inner)
            case LogSoftmax(source=source, output=output, axis=axis):
                outer, size, inner = around(shape(source), axis)
                native.log_softmax(at(source), at(output), outer, size, inner)
            case LayerNorm(source=source, output=output, axis=axis):
                size = prod(shape(source)[axis:])
                native.layer_norm(
                    at(source),
                    at(output),
                    at(node.scale),
                    at(node.bias),
                    prod(shape(source)[:axis]),
                    size,
                    node.epsilon,
                )
            case LocalResponseNorm(source=source, output=output):
                images, channels, *plane = shape(source)
                native.local_response_norm(
                    at(source),
                    at(output),
                    images,
                    channels,
                    prod(plane),
                    node.size,
                    node.alpha,
                    node.beta,
                    node.k,
                )
            case Concat(output=output, axis=axis):
                native.concat(
                    [at(each) for each in node.sources],
                    [prod(shape(each)[axis:]) for each in node.sources],
                    at(output),
                    prod(shape(output)[:axis]),
                )
            case Slice(source=source, output=output):
                native.slice(
                    at(source), at(output), shape(source), list(node.starts), list(node.steps), shape(output)
                )
            case Pad(source=source, output=output):
                native.pad(
                    at(source),
                    at(output),
                    shape(source),
                    list(node.before),
                    shape(output),
                    node.mode,
                    node.value,
                )
            case Reshape():
                pass  # the same memory under another shape: see secateur.runtime.planning
            case Transpose(source=source, output=output):
                native.transpose(at(source), at(output), shape(source), list(node.permutation))
            case Reduce(source=source, output=output):
                native.reduce(node.kind, at(source), at(output), shape(source), list(node.axes))
            case Gather(source=source, indices=indices, output=output, axis=axis):
                outer, size, inner = around(shape(source), axis)
                native.gather(at(source), at(indices), at(output), outer, size, inner, prod(shape(indices)))
            case Expand(source=source, output=output):
                native.expand(at(source), at(output), shape(source), shape(output))
            case _:
                assert_never(node)

    def _windows(self, node: Pool) -> dict[str, Any]:
        images, channels, *in_sizes = self.shape(node.source)
        out_sizes = self.shape(node.output)[2:]
        rank = len(in_sizes)
        one, none = [1] * (2 - rank), [0] * (2 - rank)
        in_height, in_width = one + in_sizes
        out_height, out_width = one + list(out_sizes)
        return {
            "images": images,
            "channels": channels,
            "in_h": in_height,
            "in_w": in_width,
            "out_h": out_height,
            "out_w": out_width,
            "kernel": one + list(node.kernel),
            "strides": one + list(node.strides),
            "pads": none + list(node.pads[:rank]),
            "dilations": one + list(node.dilations),
            "count_padding": node.count_padding,
            "pads_end": none + list(node.pads[rank:]),
        }


def activation(given: Activation | None) -> NativeActivation:
    """An activation as the native core takes it; nothing is kind 0.

    Example:
        >>> activation(Activation("clip", 0.0, 6.0))
        (3, 0.0, 6.0)
    """
    return (0, 0.0, 0.0) if given is None else (_KINDS[given.kind], given.alpha, given.beta)


def around(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """How many elements are before, along and behind an axis.

    Example:
        >>> around((2, 3, 4, 5), 1)
        (2, 3, 20)
    """
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def _ref(place: Place) -> Ref:
    return (int(place.space), place.index)
