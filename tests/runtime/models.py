"""Small models to run, made without the compiler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secateur.format.graph import Activation, Batch, Convolution, Graph, Linear, Pool, Reshape, Value
from secateur.format.layouts import Order
from secateur.format.model import KernelChoice, Model
from secateur.format.packing import pack, unpack


def sparse(shape: tuple[int, ...], density: float, seed: int = 0) -> NDArray[np.float32]:
    draw = np.random.default_rng(seed)
    values = draw.standard_normal(shape).astype(np.float32)
    return values * (draw.random(shape) < density)


def two_layers(
    density: float = 0.2, order: Order = "columns", choices: tuple[KernelChoice, ...] = ()
) -> Model:
    """784 -> 30 (ReLU) -> 10."""
    graph = Graph(
        inputs=("x",),
        outputs=("y",),
        values=(Value("x", (Batch(), 784)), Value("h", (Batch(), 30)), Value("y", (Batch(), 10))),
        constants=("fc1.weight", "fc1.bias", "fc2.weight"),
        nodes=(
            Linear("fc1", "x", "fc1.weight", "h", bias="fc1.bias", activation=Activation("relu")),
            Linear("fc2", "h", "fc2.weight", "y"),
        ),
    )
    return Model(
        graph,
        {
            "fc1.weight": pack(sparse((30, 784), density), order=order),
            "fc2.weight": pack(sparse((10, 30), density, 1), order=order),
        },
        {"fc1.bias": sparse((30,), 1.0, 2)},
        choices,
    )


def small_convolutional() -> Model:
    """1 x 12 x 12 -> convolution 4 @ 3 x 3 (ReLU) -> pool 2 -> 10."""
    graph = Graph(
        inputs=("x",),
        outputs=("y",),
        values=(
            Value("x", (Batch(), 1, 12, 12)),
            Value("a", (Batch(), 4, 10, 10)),
            Value("b", (Batch(), 4, 5, 5)),
            Value("c", (Batch(), 100)),
            Value("y", (Batch(), 10)),
        ),
        constants=("conv.weight", "fc.weight"),
        nodes=(
            Convolution(
                "conv",
                "x",
                "conv.weight",
                "a",
                strides=(1, 1),
                pads=(0, 0, 0, 0),
                dilations=(1, 1),
                activation=Activation("relu"),
            ),
            Pool("pool", "max", "a", "b", kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0), dilations=(1, 1)),
            Reshape("flatten", "b", "c"),
            Linear("fc", "c", "fc.weight", "y"),
        ),
    )
    weights = {
        "conv.weight": pack(sparse((4, 1, 3, 3), 0.5)),
        "fc.weight": pack(sparse((10, 100), 0.2, 1), order="columns"),
    }
    return Model(graph, weights, {})


def assert_close(model: Model, x: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    """Whether `two_layers` gave what it should, within what rounding can do to sums of so many products.

    ``|y - y'| <= 2 (784 + 30 + 2) eps |W2| (|W1| |x| + |b1|)``: each sum of n products is off by at most n
    eps times the sum of their absolute values, in whichever order it is taken.
    """
    first, second = (np.abs(unpack(model.weights[name])) for name in ("fc1.weight", "fc2.weight"))
    magnitude = (np.abs(x) @ first.T + np.abs(model.tensors["fc1.bias"])) @ second.T
    bound = 2 * (784 + 30 + 2) * np.finfo(np.float32).eps * magnitude
    assert (np.abs(found - expected(model, x)) <= bound).all()


def expected(model: Model, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """What `two_layers` computes, in double precision."""

    hidden = x @ unpack(model.weights["fc1.weight"]).T.astype(np.float64) + model.tensors["fc1.bias"]
    return np.maximum(hidden, 0) @ unpack(model.weights["fc2.weight"]).T.astype(np.float64)
