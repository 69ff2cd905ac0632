from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.errors import FormatError
from secateur.format.graph import (
    Activation,
    Batch,
    Binary,
    Convolution,
    Elementwise,
    Gather,
    Graph,
    LayerNorm,
    Linear,
    Node,
    Pool,
    Reshape,
    Slice,
    Value,
)
from secateur.format.model import Model
from secateur.format.packing import pack
from secateur.format.structure import validate_shapes, validate_structure
from tests.format.samples import small_model, wide_model

RELU = Activation("relu")


def validate(model: Model) -> None:
    validate_structure(model.graph, model.weights, model.tensors)


def graph_with(**changes: object) -> Model:
    model = small_model()
    return replace(model, graph=replace(model.graph, **changes))  # type: ignore[arg-type]


def with_node(index: int, node: Node) -> Model:
    nodes = list(small_model().graph.nodes)
    nodes[index] = node
    return graph_with(nodes=tuple(nodes))


def test_what_holds_together_passes() -> None:
    validate(small_model())
    validate(wide_model())
    # An output may be an input, and one value may be given back twice.
    x = Value("x", (Batch(), 2))
    validate(Model(Graph(("x",), ("x", "x"), (x,), (), ()), {}, {}))


VALUES = small_model().graph.values
NODES = small_model().graph.nodes


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            graph_with(values=(*VALUES, VALUES[0])),
            "values and constants: expected each name once, found 'image' twice",
        ),
        (
            graph_with(values=(*VALUES, Value("conv.bias", (4,)))),
            "expected each name once, found 'conv.bias' twice",
        ),
        (
            graph_with(values=(*VALUES, Value("", (4,)))),
            "values and constants: expected names, found an empty one",
        ),
        (graph_with(inputs=("image", "image")), "inputs: expected each name once, found 'image' twice"),
        (graph_with(inputs=("image", "conv.bias")), "inputs: expected names of values, found 'conv.bias'"),
        (graph_with(outputs=("conv.bias",)), "outputs: expected names of values, found 'conv.bias'"),
        (graph_with(outputs=()), "outputs: expected one at least, found none"),
        (graph_with(nodes=(*NODES, NODES[-1])), "nodes: expected each name once, found 'gate' twice"),
        (graph_with(values=(*VALUES, Value("z", (2,)))), "value 'z': expected an input or a node's output"),
        (
            graph_with(values=(*VALUES[1:], Value("image", (0, 2)))),
            "value 'image': expected at most 12 sizes from 1 on",
        ),
        (
            graph_with(values=(*VALUES[1:], Value("image", (1,) * 13))),
            "value 'image': expected at most 12 sizes",
        ),
        (graph_with(values=(*VALUES[1:], Value("image", (2**30, Batch(2**30))))), "281474976710656 elements"),
        (
            graph_with(values=(*VALUES[1:], Value("image", (Batch(-1),)))),
            "value 'image': expected at most 12",
        ),
        (
            graph_with(nodes=NODES[::-1]),
            "node 'gate' (Elementwise): expected to read what is there already, found 'fc3'",
        ),
        (with_node(6, Elementwise("gate", "fc3", "fc2", RELU)), "found 'fc2', which is there already"),
        (with_node(6, Elementwise("gate", "fc3", "image", RELU)), "found 'image', which is there already"),
        (
            with_node(6, Elementwise("gate", "fc3", "conv.bias", RELU)),
            "found 'conv.bias', which is there already",
        ),
        (with_node(6, Elementwise("gate", "fc3", "new", RELU)), "found 'new', which is no value"),
        (
            with_node(5, Linear("fc3", "fc2", "fc3.bias", "fc3")),
            "node 'fc3' (Linear): expected a packed weight, found 'fc3.bias'",
        ),
        (
            with_node(6, Binary("gate", "add", "fc3", "fc3.weight", "scores")),
            "expected a plain tensor, found the packed weight 'fc3.weight'",
        ),
        (
            with_node(5, Linear("fc3", "fc2", "fc3.weight", "fc3", bias="fc2")),
            "node 'fc3' (Linear): expected a constant, found the value 'fc2'",
        ),
        (
            with_node(6, LayerNorm("gate", "fc3", "scores", 1, 1e-5, scale="fc2")),
            "node 'gate' (LayerNorm): expected a constant, found the value 'fc2'",
        ),
        (
            with_node(6, Gather("gate", "fc3", "fc3.bias", "scores", 1)),
            "node 'gate' (Gather): expected 'fc3.bias' of int64, found float32",
        ),
        (
            with_node(6, Slice("gate", "fc3", "scores", (0, 2**31), (1, 1))),
            "node 'gate' (Slice): expected starts within 31 bits, found 2147483648",
        ),
        (
            with_node(6, Pool("gate", "max", "fc3", "scores", (2**30,), (1,), (0, 0), (1,))),
            "node 'gate' (Pool): expected kernel within 30 bits, found 1073741824",
        ),
        (
            with_node(0, Convolution("conv", "image", "conv.weight", "conv", (1, 1), (2, 2, 1, 1), (1, 1))),
            "node 'conv' (Convolution): expected output 'conv' of shape [1, 4, 7, 7], found [1, 4, 6, 6] (at",
        ),
    ],
)
def test_what_does_not_hold_together_is_refused(model: Model, message: str) -> None:
    with pytest.raises(FormatError) as found:
        validate(model)
    assert message in str(found.value)


def test_constants_of_the_graph_and_of_the_file_are_the_same() -> None:
    model = wide_model()
    with pytest.raises(FormatError, match="constant 'w': expected its tensor in the file, found none"):
        validate(replace(model, weights={}))
    with pytest.raises(FormatError, match="tensor 'v': expected constants of the graph alone"):
        validate(replace(model, weights={**model.weights, "v": pack(np.eye(2, dtype=np.float32))}))


def test_indices_are_for_gathering_alone() -> None:
    model = wide_model()
    values = (*model.graph.values, Value("z", (1, 2), "int64"))
    reshape = Reshape("again", "indices", "z")
    with pytest.raises(FormatError, match=r"node 'again' .*expected 'indices' of float32, found int64"):
        validate(
            replace(model, graph=replace(model.graph, values=values, nodes=(*model.graph.nodes, reshape)))
        )


@pytest.mark.parametrize(
    ("source", "output", "batch"),
    [
        ((Batch(), 6), (1, 6), 2),
        ((Batch(), 6), (Batch(), 5), 1),
        ((Batch(2), 3), (Batch(3), 3), 1),
        ((Batch(), Batch()), (Batch(), 1), 2),
    ],
)
def test_shapes_are_compared_at_several_batch_sizes(
    source: tuple[int | Batch, ...], output: tuple[int | Batch, ...], batch: int
) -> None:
    graph = Graph(("x",), ("y",), (Value("x", source), Value("y", output)), (), (Reshape("n", "x", "y"),))
    with pytest.raises(
        FormatError, match=rf"node 'n' \(Reshape\): expected .* elements.* \(at batch {batch}\)"
    ):
        validate_structure(graph, {}, {})


def test_a_batch_that_is_planned_for_can_be_looked_at() -> None:
    # Fits at 1, 2 and 7, but not where rounding is another.
    graph = Graph(
        ("x",),
        ("y",),
        (Value("x", (Batch(), 4)), Value("y", (1, 4))),
        (),
        (Slice("n", "x", "y", (0, 0), (1, 1)),),
    )
    validate_structure(graph, {}, {})
    for batch in (1, 3, 64):
        validate_shapes(graph, {}, {}, batch)
    late = replace(graph, nodes=(Slice("n", "x", "y", (6, 0), (1, 1)),))
    validate_shapes(late, {}, {}, 7)
    with pytest.raises(FormatError, match=r"expected positions below 3, found \[6, 6\] \(at batch 3\)"):
        validate_shapes(late, {}, {}, 3)
