"""The graph of a program: what is computed, in which order, on which values. Plain data, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, assert_never, final

DataType = Literal["float32", "int64"]


@final
@dataclass(frozen=True)
class Batch:
    """A dimension that grows with the batch: ``multiple x batch``."""

    multiple: int = 1


Dim = int | Batch
Shape = tuple[Dim, ...]


@final
@dataclass(frozen=True)
class Value:
    """What flows between nodes.

    Attributes:
        name: Unique among values and constants.
        shape: Row-major; images are NCHW.
        dtype: float32; int64 for indices alone.
    """

    name: str
    shape: Shape
    dtype: DataType = "float32"


ActivationKind = Literal[
    "relu",  # max(x, 0)
    "leaky_relu",  # x if x >= 0 else alpha x
    "clip",  # min(max(x, alpha), beta)
    "sigmoid",
    "hard_sigmoid",  # min(max(alpha x + beta, 0), 1)
    "hard_swish",  # x min(max(x / 6 + 1/2, 0), 1)
    "swish",  # x sigmoid(x)
    "tanh",
    "gelu",  # x (1 + erf(x / sqrt 2)) / 2
    "gelu_tanh",  # its approximation by tanh
    "erf",
    "exp",
    "sqrt",
    "negative",
    "absolute",
]
BinaryKind = Literal["add", "subtract", "multiply", "divide", "power", "minimum", "maximum"]
PadMode = Literal["constant", "reflect", "edge"]


@final
@dataclass(frozen=True)
class Activation:
    """A function of one number."""

    kind: ActivationKind
    alpha: float = 0.0
    beta: float = 0.0


@final
@dataclass(frozen=True)
class Convolution:
    """Cross-correlation in one or two spatial dimensions.

    ``y[n,o] = activation(bias[o] + sum_i x[n,i] * weight[o,i] + residual[n,o])``.

    Attributes:
        name: Of the layer.
        source: NCHW or NCW.
        weight: A constant, (out, in / groups, kernel...).
        output: NCHW or NCW.
        strides: One per spatial dimension, like dilations.
        pads: All begins, then all ends; zeros are padded.
        bias: A constant, (out,).
        residual: A value of the output's shape, added before the activation.
    """

    name: str
    source: str
    weight: str
    output: str
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int = 1
    bias: str | None = None
    residual: str | None = None
    activation: Activation | None = None


@final
@dataclass(frozen=True)
class Linear:
    """``y[..., o] = activation(sum_i x[..., i] weight[o, i] + bias[o] + residual[..., o])``.

    Attributes:
        name: Of the layer.
        source: (..., in).
        weight: A constant, (out, in).
        output: (..., out).
        bias: A constant, (out,).
        residual: A value of the output's shape, added before the activation.
    """

    name: str
    source: str
    weight: str
    output: str
    bias: str | None = None
    residual: str | None = None
    activation: Activation | None = None


@final
@dataclass(frozen=True)
class MatMul:
    """``y = a b`` over the last two dimensions, the leading ones broadcast.

    Values or constants, each of rank two at least.
    """

    name: str
    left: str
    right: str
    output: str


@final
@dataclass(frozen=True)
class Pool:
    """The largest number, or the mean, of each window. NCHW or NCW.

    Attributes:
        name: Of the node.
        kind: What is taken of the window.
        source: The input.
        output: The output; its shape says how many windows there are (ceil mode is decided before).
        kernel: One size per spatial dimension, like strides and dilations.
        pads: All begins, then all ends; padding never is the largest number.
        count_padding: Whether the mean divides by padded places too (but never by those beyond the padding).
    """

    name: str
    kind: Literal["max", "average"]
    source: str
    output: str
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    count_padding: bool = False


@final
@dataclass(frozen=True)
class Elementwise:
    """An activation on its own."""

    name: str
    source: str
    output: str
    activation: Activation


@final
@dataclass(frozen=True)
class Binary:
    """An operation of two values or constants, broadcast as NumPy does."""

    name: str
    kind: BinaryKind
    left: str
    right: str
    output: str
    activation: Activation | None = None


@final
@dataclass(frozen=True)
class Softmax:
    """``exp(x) / sum exp(x)`` along one axis (not negative)."""

    name: str
    source: str
    output: str
    axis: int


@final
@dataclass(frozen=True)
class LogSoftmax:
    """``x - log sum exp(x)`` along one axis (not negative): finite where the softmax is zero."""

    name: str
    source: str
    output: str
    axis: int


@final
@dataclass(frozen=True)
class LayerNorm:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` over the dimensions from an axis on."""

    name: str
    source: str
    output: str
    axis: int
    epsilon: float
    scale: str | None = None
    bias: str | None = None


@final
@dataclass(frozen=True)
class LocalResponseNorm:
    """``x / (k + alpha / size * sum x^2)^beta`` over neighbouring channels (AlexNet's)."""

    name: str
    source: str
    output: str
    size: int
    alpha: float
    beta: float
    k: float


@final
@dataclass(frozen=True)
class Concat:
    """Values and constants one after another along an axis."""

    name: str
    sources: tuple[str, ...]
    output: str
    axis: int


@final
@dataclass(frozen=True)
class Slice:
    """``x[start : start + step * size : step]`` per dimension; the output's shape says the sizes.

    Attributes:
        name: Of the node.
        source: The input.
        output: The output.
        starts: One per dimension, not negative; 0 with step 1 along the batch.
        steps: One per dimension, not 0; a negative one walks down from its start.
    """

    name: str
    source: str
    output: str
    starts: tuple[int, ...]
    steps: tuple[int, ...]


@final
@dataclass(frozen=True)
class Pad:
    """Rows before and after along each dimension.

    Attributes:
        name: Of the node.
        source: The input.
        output: The output.
        before: One per dimension, not negative; the output's shape says how many come after.
        mode: What they hold.
        value: For ``constant``.
    """

    name: str
    source: str
    output: str
    before: tuple[int, ...]
    mode: PadMode = "constant"
    value: float = 0.0


@final
@dataclass(frozen=True)
class Reshape:
    """The same numbers in the same order under the output's shape; no copy."""

    name: str
    source: str
    output: str


@final
@dataclass(frozen=True)
class Transpose:
    """``y.shape[i] = x.shape[permutation[i]]``."""

    name: str
    source: str
    output: str
    permutation: tuple[int, ...]


@final
@dataclass(frozen=True)
class Reduce:
    """The mean, sum or largest number over axes (not negative); the output's shape says if they stay as 1."""

    name: str
    kind: Literal["mean", "sum", "max"]
    source: str
    output: str
    axes: tuple[int, ...]


@final
@dataclass(frozen=True)
class Gather:
    """``x`` at int64 indices along an axis; a negative index counts from the end, and one beyond it is NaN.

    Indices that are inputs are checked at every call, as numpy.take does.
    """

    name: str
    source: str
    indices: str
    output: str
    axis: int


@final
@dataclass(frozen=True)
class Expand:
    """A value or constant broadcast to the output's shape."""

    name: str
    source: str
    output: str


Node = (
    Convolution
    | Linear
    | MatMul
    | Pool
    | Elementwise
    | Binary
    | Softmax
    | LogSoftmax
    | LayerNorm
    | LocalResponseNorm
    | Concat
    | Slice
    | Pad
    | Reshape
    | Transpose
    | Reduce
    | Gather
    | Expand
)


@final
@dataclass(frozen=True)
class Graph:
    """A network as a list of nodes in an order in which they can run.

    Attributes:
        inputs: Names of values, as the caller gives them.
        outputs: Names of values, as the caller gets them.
        values: Every value: inputs, outputs and all between.
        constants: Names of the tensors that the file holds.
        nodes: Each reads what the inputs, the constants and the nodes before it give.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: tuple[Value, ...]
    constants: tuple[str, ...]
    nodes: tuple[Node, ...]


def resolve(shape: Shape, batch: int) -> tuple[int, ...]:
    """A shape at a batch size.

    Args:
        shape: With dimensions that grow with the batch, perhaps.
        batch: At least 1.

    Returns:
        Integers.

    Example:
        >>> resolve((Batch(), 3, Batch(4)), 2)
        (2, 3, 8)
    """
    return tuple(dim.multiple * batch if isinstance(dim, Batch) else dim for dim in shape)


# What a node's fields name: tensors that it reads, and the value that it writes.
_READS = ("source", "sources", "left", "right", "weight", "bias", "residual", "scale", "indices")


def reads(node: Node) -> tuple[str, ...]:
    """The values and constants that a node reads, in the order of its fields.

    Args:
        node: Any node.

    Returns:
        Names; one twice where the node reads it twice.

    Example:
        >>> reads(Binary("square", "multiply", left="x", right="x", output="y"))
        ('x', 'x')
    """
    match node:
        case Convolution() | Linear():
            return _given(node.source, node.weight, node.bias, node.residual)
        case LayerNorm():
            return _given(node.source, node.scale, node.bias)
        case MatMul() | Binary():
            return (node.left, node.right)
        case Concat():
            return node.sources
        case Gather():
            return (node.source, node.indices)
        case (
            Pool()
            | Elementwise()
            | Softmax()
            | LogSoftmax()
            | LocalResponseNorm()
            | Slice()
            | Pad()
            | Reshape()
            | Transpose()
            | Reduce()
            | Expand()
        ):
            return (node.source,)
        case _:
            assert_never(node)


def _given(*names: str | None) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """A node that reads and writes under other names.

    Args:
        node: Any node.
        names: Old name -> new name; what is not there keeps its name.

    Returns:
        A new node.

    Example:
        >>> renamed(Reshape("flatten", source="x", output="y"), {"x": "z"})
        Reshape(name='flatten', source='z', output='y')
    """
    changes: dict[str, str | tuple[str, ...] | None] = {}
    for field in fields(node):
        if field.name in (*_READS, "output"):
            old = getattr(node, field.name)
            changes[field.name] = (
                tuple(names.get(name, name) for name in old)
                if isinstance(old, tuple)
                else names.get(old, old)
            )
    return replace(node, **changes)  # type: ignore[arg-type]  # the fields of a union's members differ
