"""Which max pools a convolution can do on its way out: its own output then needs no memory. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from secateur.format.graph import Convolution, Graph, Pool, reads


def poolable(graph: Graph) -> dict[str, Pool]:
    """Max pools whose windows lie one after another, and that alone read what a convolution makes.

    A convolution with a residual is left alone: kernels add that to rows of the output, after the lanes in
    which they pool.

    Args:
        graph: What runs.

    Returns:
        By the convolution's name.

    Example:
        >>> from secateur.format.graph import Batch, Value
        >>> shapes = {"x": (1, 8, 8), "a": (4, 8, 8), "y": (4, 4, 4)}
        >>> graph = Graph(
        ...     inputs=("x",),
        ...     outputs=("y",),
        ...     values=tuple(Value(name, (Batch(), *shape)) for name, shape in shapes.items()),
        ...     constants=("w",),
        ...     nodes=(
        ...         Convolution("conv", "x", "w", "a", (1, 1), (1, 1, 1, 1), (1, 1)),
        ...         Pool("pool", "max", "a", "y", (2, 2), (2, 2), (0, 0, 0, 0), (1, 1)),
        ...     ),
        ... )
        >>> {name: pool.name for name, pool in poolable(graph).items()}
        {'conv': 'pool'}
    """
    readers: dict[str, list[object]] = {name: [None] for name in graph.outputs}
    for node in graph.nodes:
        for name in reads(node):
            readers.setdefault(name, []).append(node)
    shapes = {value.name: value.shape for value in graph.values}
    found = {}
    for node in graph.nodes:
        if not isinstance(node, Convolution) or node.residual is not None:
            continue
        match readers.get(node.output, []):
            case [Pool(kind="max") as pool] if _tiles(pool, shapes[pool.source], shapes[pool.output]):
                found[node.name] = pool
    return found


def without_pools(graph: Graph, fused: Mapping[str, Pool]) -> Graph:
    """The graph in which convolutions write what their pools would.

    Args:
        graph: What runs.
        fused: Pools by the convolution's name, of those that `poolable` found.

    Returns:
        A graph to plan memory for: convolutions' outputs may be smaller than their geometry says.
    """
    gone = {pool.name for pool in fused.values()}
    unmade = {pool.source for pool in fused.values()}
    return replace(
        graph,
        values=tuple(value for value in graph.values if value.name not in unmade),
        nodes=tuple(
            replace(node, output=fused[node.name].output)
            if isinstance(node, Convolution) and node.name in fused
            else node
            for node in graph.nodes
            if node.name not in gone
        ),
    )


def _tiles(pool: Pool, before: tuple[object, ...], after: tuple[object, ...]) -> bool:
    """Whether the windows lie one after another, inside; what is left over at the end is dropped."""
    sizes = zip(before[2:], after[2:], pool.kernel, strict=True)
    return (
        pool.kernel == pool.strides
        and not any(pool.pads)
        and all(each == 1 for each in pool.dilations)
        and all(
            isinstance(size, int) and isinstance(windows, int) and windows == size // kernel
            for size, windows, kernel in sizes
        )
    )
