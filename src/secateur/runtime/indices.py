"""Indices that a caller gives: looked up in something that has so many places and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from secateur.errors import InputError
from secateur.format.graph import Batch, Dim, Gather, Value
from secateur.format.model import Model


def looked_up(model: Model) -> Mapping[str, Sequence[Dim]]:
    """What the inputs that are indices are looked up in.

    Args:
        model: Graph and tensors.

    Returns:
        Input name -> the sizes of the dimensions along which it is looked up.
    """
    shapes = {value.name: value.shape for value in model.graph.values}
    shapes |= {name: tensor.shape for name, tensor in model.tensors.items()}
    found: dict[str, list[Dim]] = {}
    for node in model.graph.nodes:
        if isinstance(node, Gather) and node.indices in model.graph.inputs:
            found.setdefault(node.indices, []).append(shapes[node.source][node.axis])
    return found


def check_indices(
    arrays: Sequence[NDArray[Any]], wanted: Sequence[Value], sizes: Mapping[str, Sequence[Dim]], batch: int
) -> None:
    """Refuse an index that is outside what it is looked up in: it would be NaN, which a ReLU behind it hides.

    Args:
        arrays: The inputs.
        wanted: What the network takes.
        sizes: From `looked_up`.
        batch: The batch size.

    Raises:
        InputError: An index is below -size, or at or above size.
    """
    for array, value in zip(arrays, wanted, strict=True):
        for dim in sizes.get(value.name, ()):
            size = dim.multiple * batch if isinstance(dim, Batch) else dim
            if not array.size:
                continue
            lowest, highest = int(array.min()), int(array.max())
            if lowest < -size or highest >= size:
                raise InputError(
                    f"input {value.name!r}: expected indices from {-size} to {size - 1}, found "
                    f"{lowest if lowest < -size else highest}"
                )
