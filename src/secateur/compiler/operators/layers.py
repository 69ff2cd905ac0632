"""Names of layers that have weights."""

from __future__ import annotations

from secateur.compiler.operands import Call

_WEIGHT = ".weight"


def layer_name(call: Call, weight: int = 1) -> str:
    """What users know a layer by: its weight's path, else its module's, else the node's name.

    Args:
        call: The node.
        weight: The position of its weight.

    Returns:
        ``features.0`` of ``features.0.weight``.
    """
    path = call.label(weight)
    return path.removesuffix(_WEIGHT) if path.endswith(_WEIGHT) else call.module or call.name


def weight_label(call: Call, weight: int = 1) -> str:
    """The name of a layer's weight: torch's own where it was turned before it was exported, too.

    Args:
        call: The node.
        weight: The position of its weight.

    Returns:
        ``encoder.0.query.weight``, also where the model calls it ``val_7``.
    """
    path = call.label(weight)
    return f"{call.module}{_WEIGHT}" if call.module is not None and not path.endswith(_WEIGHT) else path
