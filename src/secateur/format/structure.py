"""Whether a graph holds together: names, the order of nodes, types, and shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from math import prod

from secateur.errors import FormatError
from secateur.format.graph import (
    Convolution,
    DataType,
    Gather,
    Graph,
    LayerNorm,
    Linear,
    Node,
    Pool,
    Value,
    reads,
    resolve,
)
from secateur.format.header import MAX_DIMENSIONS, MAX_ELEMENTS
from secateur.format.layouts import Array, PackedWeight
from secateur.format.shapes import check_shapes

# A size that is fixed and one that grows differ at 1 or at 2, and so do their products and powers; 7 tells
# what was rounded or cut. The runtime may look again at the batch size that it plans for.
BATCHES = (1, 2, 7)


def validate_structure(
    graph: Graph, weights: Mapping[str, PackedWeight], tensors: Mapping[str, Array]
) -> None:
    """Check a graph and that it and the constants belong together.

    Args:
        graph: To be checked.
        weights: Packed constants.
        tensors: Other constants.

    Raises:
        FormatError: Something is not what a reader of the graph relies on; the message says what and where.
    """
    _check_names(graph, weights, tensors)
    for name, shape in _constant_shapes(weights, tensors).items():
        if 0 in shape:
            raise FormatError(f"constant {name!r}: expected sizes from 1 on, found {list(shape)}")
    for value in graph.values:
        _check_value(value)
    _check_order(graph)
    _check_types(graph, weights, tensors)
    for batch in BATCHES:
        validate_shapes(graph, weights, tensors, batch)


def validate_shapes(
    graph: Graph, weights: Mapping[str, PackedWeight], tensors: Mapping[str, Array], batch: int
) -> None:
    """Check the shapes of all nodes at one batch size.

    Args:
        graph: Of which all else has been checked.
        weights: Packed constants.
        tensors: Other constants.
        batch: At least 1.

    Raises:
        FormatError: The shape of an output does not follow from what its node reads.
    """
    shapes = _constant_shapes(weights, tensors) | {
        value.name: resolve(value.shape, batch) for value in graph.values
    }
    for node in graph.nodes:
        try:
            check_shapes(node, shapes.__getitem__)
        except FormatError as error:
            raise FormatError(f"{error} (at batch {batch})") from error


def _constant_shapes(
    weights: Mapping[str, PackedWeight], tensors: Mapping[str, Array]
) -> dict[str, tuple[int, ...]]:
    return {name: weight.shape for name, weight in weights.items()} | {
        name: tensor.shape for name, tensor in tensors.items()
    }


def _check_names(graph: Graph, weights: Mapping[str, PackedWeight], tensors: Mapping[str, Array]) -> None:
    values = [value.name for value in graph.values]
    _require_unique("values and constants", [*values, *graph.constants])
    _require_unique("inputs", graph.inputs)
    _require_unique("nodes", [node.name for node in graph.nodes])
    known = set(values)
    for what, names in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if missing := [name for name in names if name not in known]:
            raise FormatError(f"{what}: expected names of values, found {missing[0]!r}")
    if not graph.outputs:
        raise FormatError("outputs: expected one at least, found none")
    held = weights.keys() | tensors.keys()
    if missing := sorted(set(graph.constants) - held):
        raise FormatError(f"constant {missing[0]!r}: expected its tensor in the file, found none")
    if extra := sorted(held - set(graph.constants)):
        raise FormatError(
            f"tensor {extra[0]!r}: expected constants of the graph alone, found one it does not name"
        )


def _check_value(value: Value) -> None:
    sizes = resolve(value.shape, 1)
    if len(sizes) > MAX_DIMENSIONS or any(size < 1 for size in sizes) or prod(sizes) > MAX_ELEMENTS:
        raise FormatError(
            f"value {value.name!r}: expected at most {MAX_DIMENSIONS} sizes from 1 on and {MAX_ELEMENTS} "
            f"elements, found {list(sizes)}"
        )


def _check_order(graph: Graph) -> None:
    values = {value.name for value in graph.values}
    there = {*graph.inputs, *graph.constants}
    for node in graph.nodes:
        _check_integers(node)
        for name in reads(node):
            if name not in there:
                raise FormatError(f"{_where(node)}: expected to read what is there already, found {name!r}")
        if node.output not in values or node.output in there:
            what = "which is there already" if node.output in there else "which is no value"
            raise FormatError(f"{_where(node)}: expected to write a new value, found {node.output!r}, {what}")
        there.add(node.output)
    if missing := [value.name for value in graph.values if value.name not in there]:
        raise FormatError(f"value {missing[0]!r}: expected an input or a node's output, found neither")


def _check_types(graph: Graph, weights: Mapping[str, PackedWeight], tensors: Mapping[str, Array]) -> None:
    types: dict[str, DataType] = dict.fromkeys(weights, "float32")
    types |= {name: "int64" if tensor.dtype.kind == "i" else "float32" for name, tensor in tensors.items()}
    types |= {value.name: value.dtype for value in graph.values}
    values = {value.name for value in graph.values}
    for node in graph.nodes:
        weighted = node.weight if isinstance(node, Convolution | Linear) else None
        if weighted is not None and weighted not in weights:
            raise FormatError(f"{_where(node)}: expected a packed weight, found {weighted!r}")
        indices = node.indices if isinstance(node, Gather) else None
        for name in (*reads(node), node.output):
            wanted = "int64" if name == indices else "float32"
            if types[name] != wanted:
                raise FormatError(f"{_where(node)}: expected {name!r} of {wanted}, found {types[name]}")
            if name in weights and name != weighted:
                raise FormatError(
                    f"{_where(node)}: expected a plain tensor, found the packed weight {name!r}"
                )
        for name in _parameters(node):
            if name in values:
                raise FormatError(f"{_where(node)}: expected a constant, found the value {name!r}")


def _parameters(node: Node) -> tuple[str, ...]:
    """What a node reads that must be a constant."""
    match node:
        case Convolution() | Linear():
            names: tuple[str | None, ...] = (node.weight, node.bias)
        case LayerNorm():
            names = (node.scale, node.bias)
        case _:
            names = ()
    return tuple(name for name in names if name is not None)


def _check_integers(node: Node) -> None:
    """Kernels compute in 64 bits: parameters of 31 leave room for every product, of 30 for a pool's sums."""
    bits = 30 if isinstance(node, Pool) else 31
    for field in fields(node):
        given = getattr(node, field.name)
        for number in given if isinstance(given, tuple) else (given,):
            if isinstance(number, int) and not -(2**bits) < number < 2**bits:
                raise FormatError(f"{_where(node)}: expected {field.name} within {bits} bits, found {number}")


def _require_unique(what: str, names: Iterable[str]) -> None:
    counts = Counter(names)
    if "" in counts:
        raise FormatError(f"{what}: expected names, found an empty one")
    if twice := [name for name, count in counts.items() if count > 1]:
        raise FormatError(f"{what}: expected each name once, found {twice[0]!r} twice")


def _where(node: Node) -> str:
    return f"node {node.name!r} ({type(node).__name__})"
