"""Compaction: a pruned network without its dead neurons, as an ordinary smaller dense network.

It computes the same and trains the same, only faster; `expand_into` puts what it learned back into place.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor, nn

from secateur.errors import ConfigurationError, MaskError
from secateur.pruning.channel_graph import Layer, by_channel, channel_graph
from secateur.pruning.layers import unwrap
from secateur.pruning.masks import Masks

Indices = tuple[Tensor, ...]


@final
@dataclass(frozen=True)
class Compacted:
    """A network without its dead neurons and the way back.

    Attributes:
        model: The smaller network; module and parameter names are those of the full one.
        masks: The masks of the smaller network.
        kept: Parameter name -> for each of its dimensions the indices, ascending, that the smaller network
            kept; for every linear and convolutional layer that was understood. Other parameters are whole.
        shapes: Parameter name -> shape in the full network.
    """

    model: nn.Module
    masks: dict[str, Tensor]
    kept: Mapping[str, Indices]
    shapes: Mapping[str, tuple[int, ...]]


@torch.no_grad()
def compact(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    example_input_shape: tuple[int, ...],
    *,
    multiple_of: int = 1,
) -> Compacted:
    """Copy a swept network without the neurons that have neither living inputs nor living outputs.

    Neurons are removed from linear layers and from convolutions with one group; what feeds or is fed by
    anything else keeps everything, and so do the network's inputs and outputs.

    Args:
        model: The network after `secateur.pruning.neurons.sweep_dead_neurons`; it is not changed.
        masks: Parameter name -> boolean mask, True where the weight lives.
        example_input_shape: The shape of one example, without the batch dimension.
        multiple_of: Sizes are kept to multiples of this (a vector's width) by keeping some dead neurons; at
            least 1.

    Returns:
        The smaller network, its masks and the index maps.

    Raises:
        ConfigurationError: ``multiple_of`` is less than 1, or the network does not run on that shape.
        MaskError: A mask does not fit.
        UnsupportedModelError: The network cannot be traced.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> masks = {"0.weight": torch.tensor([[True, True], [False, False], [True, True]]),
        ...          "2.weight": torch.tensor([[True, False, True]])}
        >>> compact(model, masks, (2,)).model
        Sequential(
          (0): Linear(in_features=2, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=1, bias=True)
        )

    Source: paper, section 3.5 (a dead neuron can be removed with all its connections).
    """
    if multiple_of < 1:
        raise ConfigurationError(f"multiple_of: expected 1 or more, found {multiple_of}")
    network = unwrap(model)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    given = Masks(masks)
    given.check_fits(parameters)
    kept = _kept_indices(channel_graph(network, example_input_shape), given, parameters, multiple_of)
    smaller = copy.deepcopy(network)
    given.apply_(smaller)
    for name, indices in kept.items():
        _cut(smaller, name, indices)
    return Compacted(
        model=smaller,
        masks={name: _take(mask, kept.get(name)) for name, mask in given.items()},
        kept=MappingProxyType(kept),
        shapes=MappingProxyType({name: tuple(parameter.shape) for name, parameter in parameters.items()}),
    )


@torch.no_grad()
def expand_into(model: nn.Module, compacted: Compacted) -> None:
    """Put the smaller network's parameters and buffers back into the full network, in place.

    What the smaller network does not have becomes zero: dead neurons have zero weights and zero biases.

    Args:
        model: The network that was compacted, or one like it.
        compacted: What `compact` returned; its model may have been trained since.

    Raises:
        MaskError: The network is not the one that was compacted: names or shapes differ.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> masks = {"0.weight": torch.tensor([[True], [False]]), "2.weight": torch.tensor([[True, False]])}
        >>> small = compact(model, masks, (1,))
        >>> _ = nn.init.ones_(small.model[0].weight)
        >>> expand_into(model, small)
        >>> model[0].weight.tolist()
        [[1.0], [0.0]]

    Source: paper, section 3.5.
    """
    network = unwrap(model)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    found = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    if found != dict(compacted.shapes):
        different = sorted(
            name for name in found | dict(compacted.shapes) if found.get(name) != compacted.shapes.get(name)
        )
        raise MaskError(
            f"{type(network).__name__} is not the network that was compacted: {different[0]!r} was of shape "
            f"{compacted.shapes.get(different[0])} and is {found.get(different[0])}; "
            "expand into the network that was compacted, or into a fresh one of the same architecture"
        )
    for name, small in compacted.model.named_parameters(remove_duplicate=False):
        indices = compacted.kept.get(name)
        if indices is None:
            parameters[name].copy_(small)
            continue
        parameters[name].zero_()
        parameters[name][_grid(indices, small.device)] = small.to(parameters[name].device)
    buffers = dict(network.named_buffers(remove_duplicate=False))
    for name, buffer in compacted.model.named_buffers(remove_duplicate=False):
        buffers[name].copy_(buffer)


def _kept_indices(
    graph: Mapping[str, Layer], masks: Masks, parameters: Mapping[str, nn.Parameter], multiple_of: int
) -> dict[str, Indices]:
    rows = {name: _all(layer.module.weight, 0) for name, layer in graph.items()}
    columns = {name: _all(layer.module.weight, 1) for name, layer in graph.items()}
    for name, layer in graph.items():
        if not _removable(layer, graph):
            continue
        dead = _dead(layer, graph, masks)
        rows[name] = _living(dead, multiple_of)
        for reader in layer.readers:
            inside = torch.arange(reader.per_channel, device=rows[name].device)
            columns[reader.consumer] = (rows[name][:, None] * reader.per_channel + inside).flatten()
    kept: dict[str, Indices] = {}
    for name, layer in graph.items():
        rest = tuple(
            _all(layer.module.weight, dimension) for dimension in range(2, layer.module.weight.dim())
        )
        kept[layer.weight] = (rows[name], columns[name], *rest)
        if layer.bias in parameters:
            kept[layer.bias] = (rows[name],)
    return kept


def _removable(layer: Layer, graph: Mapping[str, Layer]) -> bool:
    readers = [graph[reader.consumer] for reader in layer.readers]
    resizable = layer.barrier is None and all(reader.resizable for reader in layer.readers)
    return resizable and all(each.groups == 1 for each in (layer, *readers))


def _dead(layer: Layer, graph: Mapping[str, Layer], masks: Masks) -> Tensor:
    """Output channels without a living weight on either side."""
    weight = layer.module.weight
    nothing = torch.zeros(weight.shape[0], dtype=torch.bool, device=weight.device)
    if layer.weight not in masks:
        return nothing
    dead = ~masks[layer.weight].to(weight.device).flatten(1).any(1)
    for reader in layer.readers:
        consumer = graph[reader.consumer]
        if consumer.weight not in masks:
            return nothing
        mask = masks[consumer.weight].to(weight.device)
        dead &= ~by_channel(mask, consumer, reader.per_channel).any(3).any(1).flatten()
    return dead


def _living(dead: Tensor, multiple_of: int) -> Tensor:
    """The neurons to keep, ascending: the living, and the first dead ones that fill up to a multiple."""
    living = int((~dead).sum())
    size = min(max(1, math.ceil(living / multiple_of)) * multiple_of, len(dead))
    # A layer whose size is no multiple itself stays whole rather than grow.
    return torch.argsort(dead.to(torch.uint8), stable=True)[:size].sort().values


def _all(weight: Tensor, dimension: int) -> Tensor:
    return torch.arange(weight.shape[dimension], device=weight.device)


def _take(tensor: Tensor, indices: Indices | None) -> Tensor:
    if indices is None:
        return tensor.clone()
    for dimension, index in enumerate(indices):
        if len(index) != tensor.shape[dimension]:
            tensor = tensor.index_select(dimension, index.to(tensor.device))
    return tensor.clone()


def _cut(network: nn.Module, name: str, indices: Indices) -> None:
    path, _, parameter = name.rpartition(".")
    module = network.get_submodule(path)
    full = module.get_parameter(parameter)
    if all(len(index) == size for index, size in zip(indices, full.shape, strict=True)):
        return
    small = nn.Parameter(_take(full.detach(), indices), requires_grad=full.requires_grad)
    setattr(module, parameter, small)
    if parameter != "weight":
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = small.shape
    elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        module.out_channels, module.in_channels = small.shape[:2]


def _grid(indices: Indices, device: torch.device) -> Indices:
    """Index tensors that broadcast against each other, one dimension each."""
    rank = len(indices)
    return tuple(
        index.to(device).view([-1 if axis == dimension else 1 for axis in range(rank)])
        for dimension, index in enumerate(indices)
    )
