"""Freezing layers while others train: the paper's local pruning and retraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import nn

from secateur.errors import LayerSelectionError


@contextmanager
def train_only(model: nn.Module, layers: Sequence[str] | None) -> Iterator[None]:
    """Freeze every parameter but those of the named layers, and thaw them afterwards.

    A frozen parameter gets no gradient, so back-propagation stops where nothing before it trains, no
    optimizer moves it and no weight decay shrinks it.

    Args:
        model: The network.
        layers: Patterns of module or parameter names (``"fc*"``); None trains everything.

    Raises:
        LayerSelectionError: A pattern matches no parameter.

    Source: paper, section 3.3: CONV is fixed while FC retrains, and the reverse.
    """
    parameters = dict(model.named_parameters())
    for pattern in layers or ():
        if not any(_belongs(name, pattern) for name in parameters):
            raise LayerSelectionError(
                f"only: {pattern!r} matches no parameter of the network; "
                f"its parameters are {', '.join(parameters)}"
            )
    before = {name: parameter.requires_grad for name, parameter in parameters.items()}
    try:
        if layers is not None:
            for name, parameter in parameters.items():
                parameter.requires_grad_(any(_belongs(name, pattern) for pattern in layers))
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])


def _belongs(parameter: str, pattern: str) -> bool:
    return fnmatchcase(parameter, pattern) or fnmatchcase(parameter.rpartition(".")[0], pattern)
