"""The dropout rule: a pruned layer has less capacity to regularise, so its dropout is turned down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import ConfigurationError, UnsupportedModelError
from secateur.pruning.channel_graph import zero_batch
from secateur.pruning.layers import CONNECTED, aliases, prunable_weights, unwrap
from secateur.pruning.modes import evaluating

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
# The last of an attention's layers is not called as a module; a recurrent layer's weights are several.
_WITHIN = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)


def retraining_rate(rate: float, connections: int, kept: int) -> float:
    """The dropout rate for retraining: ``D_r = D_o * sqrt(C_ir / C_io)``.

    Args:
        rate: The original rate D_o, in 0..1.
        connections: The connections C_io of the layer before the dropout, at least 1.
        kept: Those that are left, C_ir, in 0..connections.

    Returns:
        The rate D_r, in 0..rate.

    Raises:
        ConfigurationError: An argument is out of its range.

    Example:
        >>> retraining_rate(0.5, connections=100, kept=9), retraining_rate(0.5, connections=100, kept=4)
        (0.15, 0.1)

    Source: paper, section 3.2.
    """
    if not 0 <= rate <= 1:
        raise ConfigurationError(f"dropout rate: expected a number in 0..1, found {rate}")
    if connections < 1 or not 0 <= kept <= connections:
        raise ConfigurationError(
            f"dropout rule: expected 1 or more connections and 0..connections kept, found {kept} kept of "
            f"{connections}; pass the number of weights before pruning first"
        )
    return rate * math.sqrt(kept / connections)


@torch.no_grad()
def dropout_predecessors(model: nn.Module, example_input_shape: tuple[int, ...]) -> dict[str, str]:
    """Which weight stands before each dropout, found by running the network once in evaluation mode.

    Only dropout *modules* are seen; ``torch.nn.functional.dropout`` is out of reach. A dropout before any
    layer (on the input) has no predecessor and is left out, and so is one behind a recurrent layer, whose
    weights are several and may be pruned to several densities.

    Args:
        model: The network; nothing of it is changed.
        example_input_shape: The shape of one example, without the batch dimension.

    Returns:
        Dropout module path -> parameter name of the weight of the last linear or convolutional layer executed
        before it (of attention, its projection of the output), in the order of execution. A tied weight has
        the name it is pruned by.

    Raises:
        ConfigurationError: The network does not run on that shape.
        UnsupportedModelError: One dropout module stands behind two layers and would need two rates.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 2))
        >>> dropout_predecessors(model, (4,))
        {'2': '0.weight'}

    Source: paper, section 3.2; its numbers for AlexNet and VGG-16 fit the layer before the dropout.
    """
    network = unwrap(model)
    executed: list[tuple[str, nn.Module]] = []

    def note(path: str) -> Any:
        return lambda module, *_: executed.append((path, module))

    handles = [
        # After the layers that are called within it, if there are any.
        module.register_forward_hook(note(path))
        for path, module in network.named_modules()
        if isinstance(module, (*DROPOUTS, *CONNECTED, *_WITHIN))
    ]
    batch = zero_batch(network, example_input_shape)
    try:
        with evaluating(network):
            network(batch)
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"{type(network).__name__} does not run on a batch of shape {tuple(batch.shape)}: {error}; "
            "give the shape of one example, without the batch dimension"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return _last_before(executed, aliases(prunable_weights(network)))


def _last_before(executed: list[tuple[str, nn.Module]], names: Mapping[str, str]) -> dict[str, str]:
    predecessors: dict[str, str] = {}
    last: str | None = None
    for path, module in executed:
        prefix = f"{path}." if path else ""
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            last = None
        elif isinstance(module, nn.MultiheadAttention):
            last = names.get(f"{prefix}out_proj.weight")
        elif isinstance(module, CONNECTED):
            # A parametrized weight is not among the names.
            last = names.get(f"{prefix}weight", f"{prefix}weight")
        elif last is not None and predecessors.setdefault(path, last) != last:
            raise UnsupportedModelError(
                f"dropout {path!r} stands behind {predecessors[path]!r} and behind {last!r}, which may be "
                "pruned to different densities and then need different rates; give each layer its own dropout"
            )
    return predecessors


def apply_dropout_rule(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    original_rates: Mapping[str, float],
    predecessors: Mapping[str, str],
) -> dict[str, float]:
    """Set every dropout's rate by the density of the layer before it.

    Always computed from the original rates, so that it may be applied after every round. A dropout whose
    predecessor is not being pruned gets its original rate.

    Args:
        model: The network; the ``p`` of its dropout modules is set.
        masks: Parameter name -> boolean mask, True where the weight lives.
        original_rates: Dropout module path -> rate before any pruning, in 0..1.
        predecessors: Dropout module path -> weight name, from `dropout_predecessors`.

    Returns:
        Dropout module path -> the rate that was set.

    Raises:
        ConfigurationError: A path names no dropout module, or a rate is missing or out of range.

    Example:
        >>> model = nn.Sequential(nn.Linear(10, 10), nn.Dropout(0.5))
        >>> mask = torch.arange(100).reshape(10, 10) < 9
        >>> apply_dropout_rule(model, {"0.weight": mask}, {"1": 0.5}, {"1": "0.weight"}), model[1].p
        ({'1': 0.15}, 0.15)

    Source: paper, section 3.2.
    """
    missing = sorted(predecessors.keys() - original_rates.keys())
    if missing:
        raise ConfigurationError(
            f"dropout {missing[0]!r} has no original rate; note the rates of all dropouts before the first "
            "pruning"
        )
    modules = dict(unwrap(model).named_modules())
    known = [path for path, module in modules.items() if isinstance(module, DROPOUTS)]
    dropouts: dict[str, tuple[nn.Module, float]] = {}
    for path, original in original_rates.items():
        module = modules.get(path)
        if not isinstance(module, DROPOUTS):
            raise ConfigurationError(
                f"{path!r}: expected the path of a dropout module, found {type(module).__name__}; the "
                f"network's dropouts are {', '.join(known) or 'none'}"
            )
        mask = masks.get(predecessors.get(path, ""))
        connections, kept = (1, 1) if mask is None else (mask.numel(), int(mask.count_nonzero()))
        dropouts[path] = (module, retraining_rate(original, connections, kept))
    # Only now, so that an error leaves every rate as it was.
    for module, rate in dropouts.values():
        setattr(module, "p", rate)  # noqa: B010  # nn.Module types its attributes as tensors or modules
    return {path: rate for path, (_, rate) in dropouts.items()}
