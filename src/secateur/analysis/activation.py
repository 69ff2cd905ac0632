"""How much of what flows between layers is non-zero, and what pruning leaves of the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn

from secateur.analysis.costs import LayerCost, layer_input, weight_layers
from secateur.errors import ConfigurationError, DataError, LayerSelectionError
from secateur.pruning.modes import evaluating


@dataclass(frozen=True)
class TableRow:
    """One row of the paper's Tables 2 to 5.

    Attributes:
        name: The layer, or ``"total"``.
        weights: Weights before pruning.
        kept: Weights after pruning.
        flop: FLOP of one input before pruning (2 x MAC).
        activations: Numbers that the layer hands on for one input, after ReLU and pooling.
        activation_density: Non-zero fraction of those, in 0..1 ("Act%").
        density: kept / weights, in 0..1 ("Weights%").
        flop_kept: Fraction of the FLOP that is left, in 0..1 ("FLOP%"): density x density of the input.
    """

    name: str
    weights: int
    kept: int
    flop: int
    activations: int
    activation_density: float
    density: float
    flop_kept: float


@final
@dataclass
class _Counts:
    """Non-zeros and numbers handed on by each layer, filled by hooks while batches pass."""

    nonzero: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    # The layer called last and its output, until another layer's call shows what became of it.
    pending: tuple[str, Tensor] | None = None

    def before(self, _layer: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self.pending is not None:
            self._add(self.pending[0], layer_input(arguments, keywords))

    def after(self, name: str, _layer: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> None:
        self.pending = (name, output)

    def end_of_batch(self) -> None:
        if self.pending is not None:
            self._add(*self.pending)
            self.pending = None

    def _add(self, name: str, tensor: Tensor) -> None:
        self.nonzero[name] = self.nonzero.get(name, 0) + int(torch.count_nonzero(tensor))
        self.total[name] = self.total.get(name, 0) + tensor.numel()


def activation_densities(
    model: nn.Module, batches: Iterable[Tensor], layer_names: Sequence[str]
) -> dict[str, float]:
    """Measure which fraction of each layer's output is non-zero, after ReLU and pooling.

    This is the paper's "Act%". What a layer hands on is what the weight layer called next receives; the last
    layer's is its own output. That is exact for chains, such as the paper's networks; where branches run side
    by side, the layer called next need not be the one that reads the output. Measured in evaluation mode, so
    that dropout does not count as sparsity; every module's mode is put back and every hook removed, even
    after an error.

    Args:
        model: The network; its ``forward`` takes one batch.
        batches: Input tensors, [batch, ...]; each is moved to the network's device.
        layer_names: Paths of Linear or convolution layers, as in `weight_layers`.

    Returns:
        Layer name -> density in 0..1, in the order of ``layer_names``.

    Raises:
        LayerSelectionError: A name is no such layer, or the layer was never called.
        DataError: There was no batch, or nothing in the batches.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 3))
        >>> with torch.no_grad():
        ...     model[0].weight.copy_(torch.tensor([[1.0], [-1.0]])).shape
        torch.Size([2, 1])
        >>> activation_densities(model, [torch.ones(5, 1)], ["0"])
        {'0': 0.5}
    """
    layers = weight_layers(model)
    unknown = [name for name in layer_names if name not in layers]
    if unknown:
        raise LayerSelectionError(
            f"activation density: {unknown[0]!r} is no Linear or convolution layer of "
            f"{type(model).__name__}; expected any of {', '.join(layers) or '(it has none)'}"
        )
    counts = _Counts()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    any_batch = False
    with evaluating(model), _counting(layers, counts), torch.no_grad():
        for batch in batches:
            any_batch = True
            model(batch.to(device))
            counts.end_of_batch()
    if not any_batch:
        raise DataError("activation density: expected at least one batch of inputs, found none")
    return {name: _density(name, counts) for name in layer_names}


def flop_fraction(density: float, input_density: float) -> float:
    """The fraction of a layer's multiplications whose weight and input are both non-zero.

    FLOP% = density x input density, weights and inputs taken as independent (paper, Tables 2 to 5).

    Args:
        density: Fraction of the layer's weights kept, in 0..1.
        input_density: Non-zero fraction of its input, in 0..1.

    Returns:
        A fraction in 0..1.

    Raises:
        ConfigurationError: A value is outside 0..1.

    Example:
        >>> flop_fraction(0.25, 0.40)  # AlexNet's fc3
        0.1
    """
    for what, value in (("density", density), ("input_density", input_density)):
        if not 0.0 <= value <= 1.0:
            raise ConfigurationError(
                f"flop_fraction: {what} must be a fraction in 0..1, but is {value}; "
                "divide a percentage by 100"
            )
    return density * input_density


def layer_table(
    costs: Sequence[LayerCost],
    kept: Mapping[str, int],
    activation: Mapping[str, float],
    *,
    densities: Mapping[str, float] | None = None,
) -> tuple[TableRow, ...]:
    """The paper's table of a pruned network, one row a layer (Tables 2 to 5, without the total).

    A row's ``flop_kept`` is its density x the activation density of the row before; the first layer's input
    counts as dense.

    Args:
        costs: The layers of a chain in execution order, from `layer_costs`.
        kept: Layer name -> weights left; a layer that is not named was not pruned.
        activation: Layer name -> activation density of its output in 0..1, from `activation_densities`.
        densities: Layer name -> fraction kept of its weight tensor, in 0..1. It is looked at for layers
            without weights of their own only (tied: counted at an earlier layer), whose arithmetic is as
            sparse as the tensor they share; they count as dense where it is not given.

    Returns:
        One row a layer, in the order of ``costs``.

    Raises:
        LayerSelectionError: ``kept`` or ``densities`` names a layer without costs, or ``activation`` lacks a
            layer.
        ConfigurationError: More weights are kept than there are, or a density is outside 0..1.
    """
    names = [cost.name for cost in costs]
    shared = densities or {}
    _refuse_strays("kept", names, kept)
    _refuse_strays("densities", names, shared)
    _refuse_missing(names, activation)
    handed_on = [math.prod(following.input_shape) for _, following in pairwise(costs)]
    handed_on += [math.prod(cost.output_shape) for cost in costs[-1:]]
    inputs = [1.0, *(activation[name] for name in names[:-1])]
    rows = []
    for cost, activations, input_density in zip(costs, handed_on, inputs, strict=False):
        left = kept.get(cost.name, cost.weights)
        if not 0 <= left <= cost.weights:
            raise ConfigurationError(
                f"layer {cost.name!r}: kept must be 0 to its {cost.weights} weights, but is {left}"
            )
        # A tied layer's weights are counted elsewhere: of its own it has none to lose, but it multiplies by
        # what is left of them.
        density = left / cost.weights if cost.weights else shared.get(cost.name, 1.0)
        rows.append(
            TableRow(
                name=cost.name,
                weights=cost.weights,
                kept=left,
                flop=cost.flop,
                activations=activations,
                activation_density=activation[cost.name],
                density=density,
                flop_kept=flop_fraction(density, input_density),
            )
        )
    return tuple(rows)


def total_row(rows: Sequence[TableRow]) -> TableRow:
    """The table's last row, with the paper's meaning of each total.

    Weights, kept weights, FLOP and activations add up; density is kept / weights; the FLOP kept are weighted
    by FLOP, and the activation density by the number of activations.

    Args:
        rows: At least one row, from `layer_table`.

    Returns:
        A row named ``"total"``.

    Raises:
        DataError: There are no rows.

    Example:
        >>> row = TableRow("a", 10, 5, 20, 4, 0.5, 0.5, 0.5)
        >>> other = TableRow("b", 30, 3, 60, 12, 1.0, 0.1, 0.05)
        >>> total = total_row([row, other])
        >>> total.kept, total.density, total.flop_kept, total.activation_density
        (8, 0.2, 0.1625, 0.875)
    """
    if not rows:
        raise DataError("total of a layer table: expected at least one row, found none")
    weights = sum(row.weights for row in rows)
    kept = sum(row.kept for row in rows)
    flop = sum(row.flop for row in rows)
    activations = sum(row.activations for row in rows)
    return TableRow(
        name="total",
        weights=weights,
        kept=kept,
        flop=flop,
        activations=activations,
        activation_density=sum(row.activation_density * row.activations for row in rows) / activations,
        density=kept / weights,
        flop_kept=sum(row.flop_kept * row.flop for row in rows) / flop,
    )


@contextmanager
def _counting(layers: Mapping[str, nn.Module], counts: _Counts) -> Iterator[None]:
    handles = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_pre_hook(counts.before, with_kwargs=True))
            handles.append(layer.register_forward_hook(partial(counts.after, name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _density(name: str, counts: _Counts) -> float:
    if name not in counts.total:
        raise LayerSelectionError(
            f"activation density: layer {name!r} is never called in evaluation mode; leave it out"
        )
    if counts.total[name] == 0:
        raise DataError(f"activation density: the batches hold no input for layer {name!r}")
    return counts.nonzero[name] / counts.total[name]


def _refuse_strays(what: str, names: Sequence[str], given: Iterable[str]) -> None:
    stray = [name for name in given if name not in names]
    if stray:
        raise LayerSelectionError(
            f"layer table: {what} names {stray[0]!r}, which has no costs; expected any of {', '.join(names)}"
        )


def _refuse_missing(names: Sequence[str], activation: Mapping[str, float]) -> None:
    missing = [name for name in names if name not in activation]
    if missing:
        raise LayerSelectionError(
            f"layer table: no activation density for layer {missing[0]!r}; "
            f"found {', '.join(activation) or 'none'}; measure it with activation_densities"
        )
