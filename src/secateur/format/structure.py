"""Whether a graph holds together: names, order, and the shapes that its nodes pass on."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.errors import FormatError
from secateur.format.graph import Graph
from secateur.format.layouts import Array, PackedWeight


def validate_structure(
    graph: Graph, weights: Mapping[str, PackedWeight], tensors: Mapping[str, Array]
) -> None:
    """Check a graph.

    Args:
        graph: To be checked.
        weights: Packed constants.
        tensors: Other constants.

    Raises:
        FormatError: Something is not where a reader of the graph expects it.
    """
    present = weights.keys() | tensors.keys()
    if set(graph.constants) != present:
        odd = sorted(set(graph.constants) ^ present)[0]
        raise FormatError(f"constants: the graph and the tensors of the file differ in {odd!r}")
