"""Weights and models for the tests of the format."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from secateur.format.graph import (
    Activation,
    Batch,
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
    Pad,
    Pool,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Transpose,
    Value,
)
from secateur.format.layouts import VALUE_DTYPES, Array, LayoutKind, Order, PackedWeight, ValueType, arrays
from secateur.format.model import KernelChoice, Model
from secateur.format.packing import pack
from secateur.format.values import round_values

LAYOUTS: tuple[LayoutKind, ...] = ("dense", "bitmask", "gap8", "index16")
ORDERS: tuple[Order, ...] = ("rows", "columns")
VALUE_TYPES: tuple[ValueType, ...] = ("float32", "float16", "bfloat16")
# float32 with all that is odd about floating point.
ODD = (0.0, -0.0, 1.0, -1.5, 6e-8, -1e-40, 65504.0, float("inf"), float("-inf"), float("nan"))


@st.composite
def matrices(draw: st.DrawFn) -> Array:
    """A float32 matrix: empty, zero, dense, or with gaps around every limit."""
    lines, length = draw(st.integers(0, 4)), draw(st.sampled_from([0, 1, 7, 8, 9, 255, 256, 257, 512, 1100]))
    density = draw(st.sampled_from([0.0, 0.004, 0.1, 0.5, 1.0]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = random.standard_normal((lines, length), np.float32)
    odd = random.random((lines, length)) < draw(st.sampled_from([0.0, 0.3]))
    values[odd] = random.choice(np.array(ODD, np.float32), int(odd.sum()))
    values[random.random((lines, length)) >= density] = 0
    return values


def bits(values: Array) -> Array:
    """Numbers as integers, so that NaN equals itself and -0 is not 0."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def same_numbers(left: Array, right: Array) -> bool:
    """Equal bit for bit, but for the sign of zeros."""
    if left.dtype == np.uint16:
        left, right = (np.where(each == 0x8000, 0, each) for each in (left, right))
    else:
        # Adding +0 makes -0 to 0 and leaves all else: NaN's bits are compared, not computed with.
        left, right = (np.where(each == 0, np.zeros((), each.dtype), each) for each in (left, right))
    return left.dtype == right.dtype and left.shape == right.shape and bool((bits(left) == bits(right)).all())


def sparse(shape: tuple[int, ...], density: float, seed: int) -> Array:
    """A float32 weight with a random mask."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape, np.float32)
    return np.where(random.random(shape) < density, values, np.float32(0))


def fixed(shape: tuple[int, ...], density: float, seed: int) -> Array:
    """The same by arithmetic alone, for golden files must not depend on anybody's random generator."""
    number = np.arange(np.prod(shape), dtype=np.uint64) * np.uint64(2654435761) + np.uint64(seed * 40503)
    number = (number ^ (number >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(2**32)
    values = ((number >> np.uint64(4)) % np.uint64(2000)).astype(np.float32) / 512 - np.float32(1.9371)
    return np.where(number < density * 2**32, values, np.float32(0)).reshape(shape)


def small_model(value_type: ValueType = "float32") -> Model:
    """A convolutional network with a weight in every layout."""

    def packed(values: Array, layout: LayoutKind, order: Order = "rows") -> PackedWeight:
        return pack(round_values(values, value_type).values, layout=layout, order=order)

    relu = Activation("relu")
    graph = Graph(
        inputs=("image",),
        outputs=("scores",),
        values=(
            Value("image", (Batch(), 2, 6, 6)),
            Value("conv", (Batch(), 4, 6, 6)),
            Value("pool", (Batch(), 4, 3, 3)),
            Value("flat", (Batch(), 36)),
            Value("fc1", (Batch(), 20)),
            Value("fc2", (Batch(), 10)),
            Value("fc3", (Batch(), 3)),
            Value("scores", (Batch(), 3)),
        ),
        constants=("conv.weight", "conv.bias", "fc1.weight", "fc2.weight", "fc3.weight", "fc3.bias"),
        nodes=(
            Convolution(
                "conv",
                "image",
                "conv.weight",
                "conv",
                (1, 1),
                (1, 1, 1, 1),
                (1, 1),
                bias="conv.bias",
                activation=relu,
            ),
            Pool("pool", "max", "conv", "pool", (2, 2), (2, 2), (0, 0, 0, 0), (1, 1)),
            Reshape("flatten", "pool", "flat"),
            Linear("fc1", "flat", "fc1.weight", "fc1", activation=relu),
            Linear("fc2", "fc1", "fc2.weight", "fc2", activation=Activation("clip", 0.0, 6.0)),
            Linear("fc3", "fc2", "fc3.weight", "fc3", bias="fc3.bias"),
            Elementwise("gate", "fc3", "scores", Activation("sigmoid")),
        ),
    )
    weights = {
        "conv.weight": packed(fixed((4, 2, 3, 3), 0.5, 1), "bitmask"),
        "fc1.weight": packed(fixed((20, 36), 0.1, 2), "gap8", "columns"),
        "fc2.weight": packed(fixed((10, 20), 0.2, 3), "index16"),
        "fc3.weight": packed(fixed((3, 10), 1.0, 4), "dense"),
    }
    tensors = {
        "conv.bias": np.array([0.5, -0.25, 0.0, 1.0], np.float32),
        "fc3.bias": np.array([1.0, 2.0, 3.0], np.float32),
    }
    choice = KernelChoice(
        "avx2",
        "A Processor",
        1,
        2,
        {"conv": "sparse_columns", "fc1": "inputs"},
        {"fc1": {"inputs": 1.25, "outputs": 2.0}},
    )
    return Model(graph, weights, tensors, (choice,), {"recipe": "lenet", "error": 0.0125, "seeds": [0, 1]})


def wide_model() -> Model:
    """One layer whose gaps need fillers, and an index of int64."""
    weight = np.zeros((2, 1100), np.float32)
    weight[0, [3, 259, 516, 1030]] = [1.0, 2.0, 3.0, float("nan")]
    graph = Graph(
        ("x",),
        ("y",),
        (Value("x", (Batch(), 1100)), Value("y", (Batch(), 2))),
        ("w", "indices"),
        (Linear("layer", "x", "w", "y"),),
    )
    return Model(graph, {"w": pack(weight, layout="gap8")}, {"indices": np.array([[0, -1]], np.int64)})


def every_node_model() -> Model:
    """A chain of all kinds of nodes that the other models do not have."""
    graph = Graph(
        inputs=("x",),
        outputs=("y", "soft"),
        values=(
            Value("x", (Batch(), 4, 6, 6)),
            Value("lrn", (Batch(), 4, 6, 6)),
            Value("pad", (Batch(), 4, 8, 8)),
            Value("slice", (Batch(), 4, 6, 6)),
            Value("turned", (Batch(), 6, 6, 4)),
            Value("norm", (Batch(), 6, 6, 4)),
            Value("soft", (Batch(), 6, 6, 4)),
            Value("mean", (Batch(), 6, 4)),
            Value("flat", (Batch(), 24)),
            Value("picked", (Batch(), 3)),
            Value("twice", (2, Batch(), 3)),
            Value("product", (2, Batch(), 5)),
            Value("joined", (2, Batch(), 10)),
            Value("y", (2, Batch(), 10)),
        ),
        constants=("scale", "bias", "indices", "matrix", "factor"),
        nodes=(
            LocalResponseNorm("lrn", "x", "lrn", 5, 1e-4, 0.75, 2.0),
            Pad("pad", "lrn", "pad", (0, 0, 1, 1), "reflect"),
            Slice("slice", "pad", "slice", (0, 0, 1, 7), (1, 1, 1, -1)),
            Transpose("turn", "slice", "turned", (0, 2, 3, 1)),
            LayerNorm("norm", "turned", "norm", 3, 1e-5, "scale", "bias"),
            Softmax("soft", "norm", "soft", 3),
            Reduce("mean", "mean", "soft", "mean", (1,)),
            Reshape("flatten", "mean", "flat"),
            Gather("pick", "flat", "indices", "picked", 1),
            Expand("expand", "picked", "twice"),
            MatMul("matmul", "twice", "matrix", "product"),
            Concat("join", ("product", "product"), "joined", 2),
            Binary("scale", "multiply", "joined", "factor", "y", Activation("leaky_relu", 0.1)),
        ),
    )
    tensors: dict[str, Array] = {
        "scale": np.ones(4, np.float32),
        "bias": np.zeros(4, np.float32),
        "indices": np.array([0, 23, -1], np.int64),
        "matrix": np.arange(15, dtype=np.float32).reshape(3, 5),
        "factor": np.float32(0.5).reshape(()),
    }
    return Model(graph, {}, tensors)


def log_softmax_model() -> Model:
    """The logarithm of a softmax, over a middle dimension."""
    graph = Graph(
        ("x",),
        ("y",),
        (Value("x", (Batch(), 5, 3)), Value("y", (Batch(), 5, 3))),
        (),
        (LogSoftmax("log", "x", "y", 1),),
    )
    return Model(graph, {}, {})


def same_models(left: Model, right: Model) -> bool:
    """Whether two models are equal in everything, bit for bit."""
    if (left.graph, left.choices, left.provenance) != (right.graph, right.choices, right.provenance):
        return False
    if left.weights.keys() != right.weights.keys() or left.tensors.keys() != right.tensors.keys():
        return False
    pairs = [(left.tensors[name], right.tensors[name]) for name in left.tensors]
    for name, weight in left.weights.items():
        other = right.weights[name]
        if (weight.shape, weight.order, weight.kind) != (other.shape, other.order, other.kind):
            return False
        pairs += zip(arrays(weight.layout).values(), arrays(other.layout).values(), strict=True)
    return all(
        one.dtype == two.dtype and one.shape == two.shape and bool((bits(one) == bits(two)).all())
        for one, two in pairs
    )


def dtype_of(value_type: ValueType) -> np.dtype[np.generic]:
    """The dtype of a value type's arrays."""
    return VALUE_DTYPES[value_type]
