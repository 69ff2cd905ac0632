"""Whether the shapes that nodes pass on fit together at a batch size: what the runtime's kernels rely on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import assert_never

from secateur.errors import FormatError
from secateur.format.graph import (
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
)

Sizes = tuple[int, ...]
ShapeOf = Callable[[str], Sizes]


def check_shapes(node: Node, shape: ShapeOf) -> None:
    """Check one node at one batch size.

    Args:
        node: Any; what it reads and writes has a shape.
        shape: Of a value or constant, by name.

    Raises:
        FormatError: The output's shape does not follow from what is read, or a parameter does not fit it.

    Example:
        >>> shapes = {"x": (2, 3), "y": (2, 4)}
        >>> check_shapes(Transpose("t", "x", "y", (1, 0)), shapes.__getitem__)
        Traceback (most recent call last):
        secateur.errors.FormatError: node 't' (Transpose): expected output 'y' of shape [3, 2], found [2, 4]
    """
    expected = _output(node, shape)
    found = shape(node.output)
    if found != expected:
        raise FormatError(
            f"node {node.name!r} ({type(node).__name__}): expected output {node.output!r} of shape "
            f"{list(expected)}, found {list(found)}"
        )


def _output(node: Node, shape: ShapeOf) -> Sizes:  # noqa: C901, PLR0911, PLR0912  # one case a kind of node
    """The shape of the output by what is read; where the output itself decides, its shape if that can be."""
    match node:
        case Convolution():
            return _convolution(node, shape)
        case Linear():
            return _linear(node, shape)
        case MatMul():
            return _matmul(node, shape(node.left), shape(node.right))
        case Pool():
            return _pool(node, shape(node.source), shape(node.output))
        case Elementwise():
            return shape(node.source)
        case Binary():
            return _broadcast(node, shape(node.left), shape(node.right))
        case Softmax() | LogSoftmax():
            _require_axes(node, (node.axis,), shape(node.source))
            return shape(node.source)
        case LayerNorm():
            return _layer_norm(node, shape)
        case LocalResponseNorm():
            _require(node, len(shape(node.source)) >= 2 and node.size >= 1, "channels and a size", node.size)
            return shape(node.source)
        case Concat():
            return _concat(node, [shape(source) for source in node.sources])
        case Slice():
            return _slice(node, shape(node.source), shape(node.output))
        case Pad():
            return _pad(node, shape(node.source), shape(node.output))
        case Reshape():
            source, output = shape(node.source), shape(node.output)
            _require(node, prod(source) == prod(output), f"{prod(source)} elements", prod(output))
            return output
        case Transpose():
            source = shape(node.source)
            _require(
                node,
                sorted(node.permutation) == list(range(len(source))),
                f"a permutation of {len(source)} dimensions",
                node.permutation,
            )
            return tuple(source[axis] for axis in node.permutation)
        case Reduce():
            return _reduce(node, shape(node.source), shape(node.output))
        case Gather():
            source = shape(node.source)
            _require_axes(node, (node.axis,), source)
            return source[: node.axis] + shape(node.indices) + source[node.axis + 1 :]
        case Expand():
            return _broadcast(node, shape(node.source), shape(node.output))
    assert_never(node)


def _convolution(node: Convolution, shape: ShapeOf) -> Sizes:
    source, weight = shape(node.source), shape(node.weight)
    _require(
        node, len(source) == len(weight) and len(source) in (3, 4), "source and weight of rank 3 or 4", source
    )
    _require_windows(node, len(source) - 2, node.strides, node.pads, node.dilations)
    out, groups = weight[0], node.groups
    _require(node, groups >= 1 and out % max(groups, 1) == 0, f"groups that divide {out} outputs", groups)
    _require(node, source[1] == weight[1] * groups, f"{weight[1] * groups} input channels", source[1])
    windows = _windows(source[2:], weight[2:], node.strides, node.pads, node.dilations)
    output = (source[0], out, *windows)
    _require_bias_and_residual(node, out, output, shape)
    return output


def _linear(node: Linear, shape: ShapeOf) -> Sizes:
    source, weight = shape(node.source), shape(node.weight)
    _require(node, len(weight) == 2, "a weight of two dimensions", weight)
    _require(node, source[-1:] == weight[1:], f"{weight[1]} inputs", source)
    output = (*source[:-1], weight[0])
    _require_bias_and_residual(node, weight[0], output, shape)
    return output


def _matmul(node: MatMul, left: Sizes, right: Sizes) -> Sizes:
    _require(node, len(left) >= 2 and len(right) >= 2, "two dimensions at least", [left, right])
    _require(node, left[-1] == right[-2], f"{left[-1]} rows on the right", right)
    return (*_broadcast(node, left[:-2], right[:-2]), left[-2], right[-1])


def _pool(node: Pool, source: Sizes, output: Sizes) -> Sizes:
    rank = len(source) - 2
    _require(node, rank in (1, 2), "a source of rank 3 or 4", source)
    _require_windows(node, rank, node.strides, node.pads, node.dilations)
    _require(
        node,
        len(node.kernel) == rank and min(node.kernel) >= 1,
        f"{rank} kernel sizes from 1 on",
        node.kernel,
    )
    _require(node, len(output) == len(source), f"an output of rank {len(source)}", output)
    for axis, windows in enumerate(output[2:]):
        size, before = source[2 + axis], node.pads[axis]
        first = (node.kernel[axis] - 1) * node.dilations[axis] - before
        last = (windows - 1) * node.strides[axis] - before
        # In ceil mode the last window may reach beyond the padding, but one that lies outside altogether has
        # no largest number and no mean.
        _require(node, first >= 0 and last < size, f"windows that reach into {size} places", [first, last])
    return source[:2] + output[2:]


def _layer_norm(node: LayerNorm, shape: ShapeOf) -> Sizes:
    source = shape(node.source)
    _require_axes(node, (node.axis,), source)
    for name in (node.scale, node.bias):
        if name is not None:
            size = prod(source[node.axis :])
            _require(node, prod(shape(name)) == size, f"{name!r} of {size} elements", shape(name))
    return source


def _concat(node: Concat, sources: Sequence[Sizes]) -> Sizes:
    _require(node, bool(sources), "one source at least", sources)
    first, axis = sources[0], node.axis
    _require_axes(node, (axis,), first)
    for source in sources[1:]:
        same = len(source) == len(first) and (*source[:axis], first[axis], *source[axis + 1 :]) == first
        _require(node, same, f"sources like {list(first)} but along axis {axis}", source)
    return (*first[:axis], sum(source[axis] for source in sources), *first[axis + 1 :])


def _slice(node: Slice, source: Sizes, output: Sizes) -> Sizes:
    _require_one_each(node, source, output, node.starts, node.steps)
    for size, taken, start, step in zip(source, output, node.starts, node.steps, strict=True):
        last = start + (taken - 1) * step
        inside = step != 0 and 0 <= start < size and 0 <= last < size
        _require(node, inside, f"positions below {size}", [start, last])
    return output


def _pad(node: Pad, source: Sizes, output: Sizes) -> Sizes:
    _require_one_each(node, source, output, node.before)
    for size, padded, before in zip(source, output, node.before, strict=True):
        _require(node, 0 <= before <= padded - size, f"at most {padded - size} before", before)
        # There is nothing to reflect beside a single element.
        _require(node, node.mode != "reflect" or size > 1 or padded == size, "two elements to reflect", size)
    return output


def _reduce(node: Reduce, source: Sizes, output: Sizes) -> Sizes:
    _require_axes(node, node.axes, source)
    kept = tuple(1 if axis in node.axes else size for axis, size in enumerate(source))
    gone = tuple(size for axis, size in enumerate(source) if axis not in node.axes)
    return gone if output == gone else kept


def _broadcast(node: Node, left: Sizes, right: Sizes) -> Sizes:
    rank = max(len(left), len(right))
    pairs = list(zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True))
    fits = all(one == other or 1 in (one, other) for one, other in pairs)
    _require(node, fits, f"a shape that broadcasts with {list(left)}", right)
    return tuple(other if one == 1 else one for one, other in pairs)


def _windows(sizes: Sizes, kernel: Sizes, strides: Sizes, pads: Sizes, dilations: Sizes) -> Sizes:
    begins, ends = pads[: len(sizes)], pads[len(sizes) :]
    return tuple(
        (size + begin + end - dilation * (width - 1) - 1) // stride + 1
        for size, width, stride, begin, end, dilation in zip(
            sizes, kernel, strides, begins, ends, dilations, strict=True
        )
    )


def _require_windows(
    node: Convolution | Pool, rank: int, strides: Sizes, pads: Sizes, dilations: Sizes
) -> None:
    for name, given, count, least in (
        ("strides", strides, rank, 1),
        ("pads", pads, 2 * rank, 0),
        ("dilations", dilations, rank, 1),
    ):
        fits = len(given) == count and min(given) >= least
        _require(node, fits, f"{count} {name} from {least} on", given)


def _require_bias_and_residual(node: Convolution | Linear, out: int, output: Sizes, shape: ShapeOf) -> None:
    if node.bias is not None:
        _require(node, shape(node.bias) == (out,), f"a bias of shape [{out}]", shape(node.bias))
    if node.residual is not None:
        found = shape(node.residual)
        _require(node, found == output, f"a residual of shape {list(output)}", found)


def _require_axes(node: Node, axes: Sizes, shape: Sizes) -> None:
    fits = len(set(axes)) == len(axes) and all(0 <= axis < len(shape) for axis in axes)
    _require(node, fits, f"axes among {len(shape)} dimensions, each once", axes)


def _require_one_each(node: Node, source: Sizes, *others: Sizes) -> None:
    lengths = [len(other) for other in others]
    _require(node, set(lengths) == {len(source)}, f"one of each for {len(source)} dimensions", lengths)


def _require(node: Node, condition: bool, expected: str, found: object) -> None:
    if not condition:
        shown = list(found) if isinstance(found, tuple) else found
        raise FormatError(f"node {node.name!r} ({type(node).__name__}): expected {expected}, found {shown}")
