"""What is pruned of a network when nobody says more."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd

from secateur.errors import LayerSelectionError
from secateur.pruning.layers import Selection, layer_name, select_weights, unwrap


def weights_to_prune(
    model: nn.Module, layers: Selection | None = None, exclude: Selection | None = None
) -> dict[str, nn.Parameter]:
    """The weights that are pruned: as `select_weights` has them, but no depthwise filters unless asked for.

    A depthwise convolution (one filter a channel: ``groups`` equal to the input channels) holds few weights,
    and the nine or so of a filter are all that its channel has. Named in ``layers`` it is pruned like others.

    Args:
        model: The network.
        layers: As for `secateur.pruning.layers.select_weights`; without it, every connection but depthwise
            filters.
        exclude: What to leave out, said in the same ways.

    Returns:
        Parameter name -> parameter; never empty.

    Raises:
        LayerSelectionError: As for `select_weights`, or depthwise filters are all there is.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1))
        >>> list(weights_to_prune(model)), list(weights_to_prune(model, "*"))
        (['1.weight'], ['0.weight', '1.weight'])

    Source: Zhu and Gupta, arXiv 1710.01878, who leave these layers of MobileNets whole.
    """
    chosen = select_weights(model, layers, exclude)
    if layers is not None:
        return chosen
    depthwise = {id(module.weight) for module in unwrap(model).modules() if _is_depthwise(module)}
    left = {name: weight for name, weight in chosen.items() if id(weight) not in depthwise}
    if not left:
        raise LayerSelectionError(
            f"nothing to prune: {', '.join(map(layer_name, chosen))} are depthwise convolutions, which are "
            "pruned only when they are asked for by name; give `layers`"
        )
    return left


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, _ConvNd) and module.groups == module.in_channels > 1
