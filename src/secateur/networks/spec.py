"""What is known of a network beside its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

from torch import Tensor, nn

Translate = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@final
@dataclass(frozen=True)
class NetworkSpec:
    """A network, what it eats, and what the paper reports of it.

    Attributes:
        factory: Builds the network with fresh weights; takes ``num_classes`` and, where there is dropout,
            ``dropout``, both as keywords.
        input_shape: Channels, height, width of one image.
        classes: Number of classes where it was published.
        dropout: Whether it has dropout.
        translate: Gives a state dictionary of torchvision the names that this network uses and leaves one of
            its own as it is; None where the names are torchvision's anyway, or torchvision has no such
            network.
        paper_densities: Layer name -> fraction of weights kept in the paper ("Weights%"), in 0..1, in
            execution order; empty for a network that the paper does not prune.
        paper_activation: Layer name -> activation density of its output in the paper ("Act%"), in 0..1;
            empty likewise.
    """

    factory: Callable[..., nn.Module]
    input_shape: tuple[int, int, int]
    classes: int
    dropout: bool = False
    translate: Translate | None = None
    paper_densities: Mapping[str, float] = field(default_factory=dict)
    paper_activation: Mapping[str, float] = field(default_factory=dict)
