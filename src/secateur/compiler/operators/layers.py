"""Names of layers that have weights."""

from __future__ import annotations

from secateur.compiler.operands import Call


def layer_name(call: Call, weight: int = 1) -> str:
    """What users know a layer by: the path of its weight where it has one, else the node's name.

    Args:
        call: The node.
        weight: The position of its weight.

    Returns:
        ``features.0`` of ``features.0.weight``.
    """
    path = call.label(weight)
    return path.removesuffix(".weight") if path.endswith(".weight") else call.name
