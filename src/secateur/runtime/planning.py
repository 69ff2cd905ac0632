"""Where every value of a graph lies while it runs: one arena, planned once for a batch size. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import final

from secateur.format.graph import Graph, Reshape, Value, reads, resolve

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
_ITEM_BYTES = {"float32": 4, "int64": 8}


class Space(IntEnum):
    """Which memory a place is in; the numbers are the native core's."""

    NONE = 0
    ARENA = 1
    INPUT = 2
    OUTPUT = 3
    CONSTANT = 4


@final
@dataclass(frozen=True)
class Place:
    """Where a tensor lies.

    Attributes:
        space: Which memory.
        index: In the arena a byte offset; else which input, output or constant.
    """

    space: Space
    index: int


NOWHERE = Place(Space.NONE, 0)


@final
@dataclass(frozen=True)
class Request:
    """Memory wanted from one step to another.

    Attributes:
        size: In bytes.
        first: The first step that needs it.
        last: The last one.
    """

    size: int
    first: int
    last: int


@final
@dataclass(frozen=True)
class Copy:
    """A value that lies elsewhere and has to be copied to an output: it is an input, or an output twice."""

    source: Place
    output: Place
    elements: int


@final
@dataclass(frozen=True)
class MemoryPlan:
    """Where everything lies.

    Attributes:
        places: Of every value of the graph.
        workspaces: Of every node that asked for memory of its own, by its position among the nodes.
        copies: To be done after the last node.
        arena_bytes: How large the arena is.
    """

    places: Mapping[str, Place]
    workspaces: Mapping[int, Place]
    copies: tuple[Copy, ...]
    arena_bytes: int


def plan_memory(graph: Graph, batch: int, workspaces: Mapping[int, int]) -> MemoryPlan:
    """Lay out all values of a graph at a batch size.

    A value lives from the node that makes it to the last one that reads it; values that live at the same time
    do not overlap. A reshaped value is the same memory under another shape. What the caller gives and gets is
    read and written in place.

    Args:
        graph: What runs.
        batch: At least 1.
        workspaces: Bytes of memory that nodes want for themselves, by their position among the nodes.

    Returns:
        The plan.
    """
    values = {value.name: value for value in graph.values}
    roots = _roots(graph)
    places, copies = _places_outside(graph, values, roots, batch)
    spans = _spans(graph, roots)
    wanted = {
        root: Request(size_bytes(values[root], batch), *span)
        for root, span in spans.items()
        if root not in places and root in values
    }
    keys: list[str | int] = [*wanted, *workspaces]
    requests = [*wanted.values(), *(Request(size, node, node) for node, size in workspaces.items())]
    offsets, arena_bytes = pack(requests)
    found = dict(zip(keys, (Place(Space.ARENA, offset) for offset in offsets), strict=True))
    places |= {root: found[root] for root in wanted}
    return MemoryPlan(
        places={name: places[roots[name]] for name in values if roots[name] in places},
        workspaces={node: found[node] for node in workspaces},
        copies=tuple(
            Copy(places[roots[name]], Place(Space.OUTPUT, number), _elements(values[name], batch))
            for name, number in copies
        ),
        arena_bytes=arena_bytes,
    )


def pack(requests: Sequence[Request]) -> tuple[list[int], int]:
    """Offsets for memory that is wanted at overlapping times: the largest first, each as low as it fits.

    Args:
        requests: What is wanted.

    Returns:
        An offset for each, multiples of 64, and the total; what lives at the same time does not overlap.

    Example:
        >>> pack([Request(100, 0, 1), Request(64, 1, 2), Request(100, 2, 3)])
        ([0, 128, 0], 192)
    """
    offsets = [0] * len(requests)
    placed: list[int] = []
    for index in sorted(range(len(requests)), key=lambda each: (-requests[each].size, each)):
        wanted = requests[index]
        offset = 0
        for other in sorted(placed, key=lambda each: offsets[each]):
            taken = requests[other]
            if taken.last < wanted.first or wanted.last < taken.first:
                continue
            if offsets[other] - offset >= wanted.size:
                break
            offset = max(offset, _aligned(offsets[other] + taken.size))
        offsets[index] = offset
        placed.append(index)
    total = max(
        (_aligned(offset + each.size) for offset, each in zip(offsets, requests, strict=True)), default=0
    )
    return offsets, total


def size_bytes(value: Value, batch: int) -> int:
    """Bytes of a value at a batch size.

    Args:
        value: A value.
        batch: At least 1.

    Returns:
        At least one item's bytes, so that even an empty value has a place.

    Example:
        >>> from secateur.format.graph import Batch
        >>> size_bytes(Value("x", (Batch(), 10)), 2)
        80
    """
    return max(_elements(value, batch), 1) * _ITEM_BYTES[value.dtype]


def _elements(value: Value, batch: int) -> int:
    return prod(resolve(value.shape, batch))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _roots(graph: Graph) -> dict[str, str]:
    """The value whose memory each value shares: itself, but for reshaped ones."""
    roots = {value.name: value.name for value in graph.values}
    for node in graph.nodes:
        if isinstance(node, Reshape) and node.source in roots:
            roots[node.output] = roots[node.source]
    return roots


def _places_outside(
    graph: Graph, values: Mapping[str, Value], roots: Mapping[str, str], batch: int
) -> tuple[dict[str, Place], list[tuple[str, int]]]:
    """Places of the memory that is the caller's, and the outputs that must be copied."""
    places = {name: Place(Space.INPUT, number) for number, name in enumerate(graph.inputs)}
    copies: list[tuple[str, int]] = []
    for number, name in enumerate(graph.outputs):
        root = roots[name]
        # A root that is larger than its output cannot be: a reshape keeps the number of elements.
        if root in places or size_bytes(values[root], batch) != size_bytes(values[name], batch):
            copies.append((name, number))
        else:
            places[root] = Place(Space.OUTPUT, number)
    return places, copies


def _spans(graph: Graph, roots: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """From which node to which the memory of every root is in use."""
    spans: dict[str, tuple[int, int]] = {}
    for index, node in enumerate(graph.nodes):
        for name in (*reads(node), node.output):
            if name in roots:
                first, _ = spans.get(roots[name], (index, index))
                spans[roots[name]] = (first, index)
    end = len(graph.nodes)
    for name in graph.outputs:
        if roots[name] in spans:
            spans[roots[name]] = (spans[roots[name]][0], end)
    return spans
