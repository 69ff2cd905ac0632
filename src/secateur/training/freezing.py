"""Freezing layers while others train: the paper's local pruning and retraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import nn

from secateur.errors import LayerSelectionError

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@contextmanager
def train_only(model: nn.Module, layers: Sequence[str] | None) -> Iterator[None]:
    """Freeze every parameter but those of the named layers, and thaw them afterwards.

    A frozen parameter gets no gradient, so back-propagation stops where nothing before it trains, no
    optimizer moves it and no weight decay shrinks it. `hold_statistics` does the same for running statistics.

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
    modes = {module: module.training for module in model.modules()}  # `hold_statistics` changes some
    try:
        if layers is not None:
            for name, parameter in parameters.items():
                parameter.requires_grad_(any(_belongs(name, pattern) for pattern in layers))
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])
        for module, training in modes.items():
            module.training = training


def hold_statistics(model: nn.Module, layers: Sequence[str]) -> None:
    """Put frozen batch normalisation into evaluation mode, so that its running statistics stay as they are.

    Call it after ``model.train()``, which puts everything into training mode.

    Args:
        model: The network.
        layers: The patterns that train, as in `train_only`.
    """
    for path, module in model.named_modules():
        if isinstance(module, _BATCH_NORM):
            names = [f"{path}.{name}" for name, _ in module.named_parameters()] or [f"{path}."]
            if not any(_belongs(name, pattern) for name in names for pattern in layers):
                module.eval()


def _belongs(parameter: str, pattern: str) -> bool:
    return fnmatchcase(parameter, pattern) or fnmatchcase(parameter.rpartition(".")[0], pattern)
