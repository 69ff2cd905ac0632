"""Allocation: how a density of the whole is shared out among the layers.

An allocation is a plain callable ``(shapes by parameter name, density) -> density by parameter name``.
Whatever it gives, the kept weights add up to the density asked for, to within the rounding of each layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from secateur.errors import ConfigurationError

Shapes = Mapping[str, torch.Size]
Allocation = Callable[[Shapes, float], dict[str, float]]


def uniform(shapes: Shapes, density: float) -> dict[str, float]:
    """The same density everywhere.

    Args:
        shapes: Weight shapes by parameter name, rows (outputs) first.
        density: Fraction of all weights kept, in 0..1.

    Returns:
        Density by parameter name.

    Raises:
        ConfigurationError: The density is not in 0..1.

    Example:
        >>> uniform({"a": torch.Size([2, 3]), "b": torch.Size([4])}, 0.5)
        {'a': 0.5, 'b': 0.5}
    """
    _check_density(density)
    return dict.fromkeys(shapes, density)


def erdos_renyi(shapes: Shapes, density: float) -> dict[str, float]:
    """Density in proportion to ``(n_in + n_out) / (n_in n_out)``, kernels not counted.

    Args:
        shapes: Weight shapes by parameter name, rows (outputs) first.
        density: Fraction of all weights kept, in 0..1.

    Returns:
        Density by parameter name, none above 1; what a full layer cannot take goes to the others.

    Raises:
        ConfigurationError: The density is not in 0..1.

    Example:
        >>> shapes = {"fc1": torch.Size([300, 784]), "fc3": torch.Size([10, 100])}
        >>> {name: round(density, 3) for name, density in erdos_renyi(shapes, 0.1).items()}
        {'fc1': 0.096, 'fc3': 1.0}

    Source: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
        connectivity", 2018.
    """
    return _in_proportion(shapes, density, {name: _ratio(tuple(shape[:2])) for name, shape in shapes.items()})


def erdos_renyi_kernel(shapes: Shapes, density: float) -> dict[str, float]:
    """Density in proportion to ``(n_in + n_out + w + h) / (n_in n_out w h)``.

    Args:
        shapes: Weight shapes by parameter name, rows (outputs) first.
        density: Fraction of all weights kept, in 0..1.

    Returns:
        Density by parameter name, none above 1; what a full layer cannot take goes to the others.

    Raises:
        ConfigurationError: The density is not in 0..1.

    Example:
        >>> shapes = {"conv1": torch.Size([20, 1, 5, 5]), "fc1": torch.Size([500, 800])}
        >>> {name: round(density, 3) for name, density in erdos_renyi_kernel(shapes, 0.1).items()}
        {'conv1': 1.0, 'fc1': 0.099}

    Source: Evci et al., "Rigging the Lottery", ICML 2020, section 3.
    """
    return _in_proportion(shapes, density, {name: _ratio(tuple(shape)) for name, shape in shapes.items()})


def _ratio(shape: tuple[int, ...]) -> float:
    return max(sum(shape), 1) / math.prod(shape)  # a scalar has no sides


def _in_proportion(shapes: Shapes, density: float, share: Mapping[str, float]) -> dict[str, float]:
    _check_density(density)
    budget = density * sum(shape.numel() for shape in shapes.values())
    full: set[str] = set()
    while len(full) < len(shapes):
        rest = {name: shape.numel() for name, shape in shapes.items() if name not in full}
        spare = budget - sum(shapes[name].numel() for name in full)
        scale = spare / sum(share[name] * count for name, count in rest.items())
        overfull = {name for name in rest if scale * share[name] > 1}
        if not overfull:
            return {name: 1.0 if name in full else scale * share[name] for name in shapes}
        full |= overfull
    return dict.fromkeys(shapes, 1.0)


def _check_density(density: float) -> None:
    if not 0 <= density <= 1:
        raise ConfigurationError(f"a density is a fraction of weights kept, in 0..1; found {density}")


ALLOCATIONS: Mapping[str, Allocation] = {
    "uniform": uniform,
    "erdos-renyi": erdos_renyi,
    "erdos-renyi-kernel": erdos_renyi_kernel,
}
