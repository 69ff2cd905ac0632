"""Dead neurons: those that nothing feeds or nobody reads, removed with all connections they have left.

The paper lets regularisation and the next threshold do this slowly and ignores biases. Here it is done at
once and exactly: a neuron that nothing feeds is a constant, and its constant is moved into its readers'
biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor, nn

from secateur.errors import UnreachableTargetError
from secateur.pruning.channel_graph import Layer, Reader, by_channel, channel_graph
from secateur.pruning.layers import unwrap
from secateur.pruning.masks import Masks


@final
class Obstacle(Enum):
    """Why the constant of a neuron without inputs cannot be moved into its readers exactly."""

    BARRIER = "not every use of its output is understood"
    NO_MASK = "a reader is not being pruned"
    NORMALISED = "batch normalisation makes another constant of it in training than in evaluation"
    UNEVEN = "it is no longer constant after pooling over padding"
    PADDED = "a reading convolution pads with zeros, so its border sees another constant"
    NO_BIAS = "a reader has no bias to take it"
    PRUNED_BIAS = "a reader's bias is itself pruned"


@final
@dataclass(frozen=True)
class DeadNeurons:
    """The neurons of one layer at the end of a sweep.

    Attributes:
        without_inputs: Those with no living incoming weight.
        without_outputs: Those that no living weight reads; none where a reader is not understood.
        total: All of them.
    """

    without_inputs: int
    without_outputs: int
    total: int


@final
@dataclass(frozen=True)
class KeptConstant:
    """Neurons without inputs whose constants had to stay.

    Attributes:
        layer: Their layer's path.
        neurons: How many.
        obstacle: Why.
        where: The reader or the operation that is in the way.
    """

    layer: str
    neurons: int
    obstacle: Obstacle
    where: str


@final
@dataclass(frozen=True)
class Sweep:
    """What a sweep did.

    Attributes:
        masks: The new masks; a subset of the old ones, under the same names.
        dead: Layer path -> its dead neurons, for every understood layer that has a mask.
        removed_weights: How many weights the sweep removed.
        folded: How many non-zero constants were moved into their readers' biases.
        kept_constant: The constants that had to stay.
    """

    masks: dict[str, Tensor]
    dead: Mapping[str, DeadNeurons]
    removed_weights: int
    folded: int
    kept_constant: tuple[KeptConstant, ...]


@torch.no_grad()
def sweep_dead_neurons(
    model: nn.Module, masks: Mapping[str, Tensor], example_input_shape: tuple[int, ...]
) -> Sweep:
    """Remove every connection of neurons that nothing feeds or nobody reads, until no more are found.

    The function that the network computes in evaluation mode stays the same. **The model is changed in
    place**: masked parameters become zero, readers' biases take the constants of neurons without inputs, and
    the biases of removed neurons become zero. On an error nothing is changed. An optimizer's moments are the
    caller's to clear.

    Weights without a mask all live and stay as they are. The network's outputs are never removed.

    Args:
        model: The network.
        masks: Parameter name -> boolean mask, True where the weight lives.
        example_input_shape: The shape of one example, without the batch dimension.

    Returns:
        The new masks and what was found.

    Raises:
        MaskError: A mask does not fit.
        UnreachableTargetError: A layer would lose its last weight: the network is cut through.
        UnsupportedModelError: The network cannot be traced.
        ConfigurationError: The network does not run on that shape.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> masks = {"0.weight": torch.tensor([[True, True], [False, False]]),
        ...          "2.weight": torch.tensor([[True, True]])}
        >>> sweep = sweep_dead_neurons(model, masks, (2,))
        >>> sweep.masks["2.weight"], sweep.removed_weights, sweep.dead["0"]
        (tensor([[ True, False]]), 1, DeadNeurons(without_inputs=1, without_outputs=1, total=2))

    Source: paper, section 3.5; the constants are ours (the paper ignores biases).
    """
    network = unwrap(model)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    before = Masks(masks)
    before.check_fits(parameters)
    draft = _Draft(channel_graph(network, example_input_shape), before, parameters)
    folded = draft.run()
    after = Masks({name: mask.to(masks[name].device) for name, mask in draft.masks.items()})
    _refuse_empty(before, after)
    after.apply_(parameters)
    for name, bias in draft.biases.items():
        parameters[name].copy_(bias)
    return Sweep(
        masks=after.state_dict(),
        dead=MappingProxyType(draft.dead()),
        removed_weights=before.kept - after.kept,
        folded=folded,
        kept_constant=tuple(draft.kept_constant()),
    )


def _refuse_empty(before: Masks, after: Masks) -> None:
    emptied = [
        name
        for name in before
        if name.endswith("weight") and before.kept_of(name) and not after.kept_of(name)
    ]
    if emptied:
        first = emptied[0]
        raise UnreachableTargetError(
            f"layer {first.removesuffix('.weight')!r}: none of its {before.kept_of(first)} living weights "
            f"(of {before[first].numel()}) lies on a path of living weights through the network, so removing "
            "dead neurons would leave it empty; keep more weights in it and in the layers around it"
        )


@final
@dataclass(frozen=True)
class _Constants:
    """What one reader makes of some neurons without inputs."""

    reads: Tensor  # whether it has a living weight for the neuron
    values: Tensor  # the constant that arrives there; zero where it is not read
    even: Tensor  # whether it is a constant at all


@final
class _Draft:
    """Masks and biases under change; the model is only read."""

    def __init__(
        self, graph: Mapping[str, Layer], masks: Masks, parameters: Mapping[str, nn.Parameter]
    ) -> None:
        self._graph = graph
        self._parameters = parameters
        self.masks = {
            name: mask.to(parameters[name].device).contiguous() for name, mask in masks.state_dict().items()
        }
        # Only layers under pruning may change. Double precision, so that folding rounds once, at the end.
        changing = [
            layer.bias for layer in graph.values() if layer.weight in masks and layer.bias in parameters
        ]
        self.biases = {name: parameters[name].double().clone() for name in changing}
        for name in self.biases.keys() & self.masks.keys():
            self.biases[name][~self.masks[name]] = 0

    def run(self) -> int:
        """Sweep until nothing changes; the number of constants that were folded."""
        folded = 0
        changed = True
        while changed:
            changed = False
            for layer in self._graph.values():
                if layer.weight in self.masks and layer.barrier is None:
                    changed |= self._remove_unread(layer)
                    removed, nonzero = self._fold(layer)
                    changed |= removed
                    folded += nonzero
        return folded

    def dead(self) -> dict[str, DeadNeurons]:
        found = {}
        for layer in self._graph.values():
            if layer.weight in self.masks:
                fed, read = self._fed(layer), self._read(layer)
                found[layer.name] = DeadNeurons(int((~fed).sum()), int((~read).sum()), len(fed))
        return found

    def kept_constant(self) -> list[KeptConstant]:
        found = []
        for layer in self._graph.values():
            if layer.weight not in self.masks:
                continue
            index = torch.nonzero(~self._fed(layer) & self._read(layer)).flatten()
            if len(index) and layer.barrier is not None:
                found.append(KeptConstant(layer.name, len(index), Obstacle.BARRIER, layer.barrier))
                continue
            counted = torch.zeros_like(index, dtype=torch.bool)
            for reader in layer.readers if len(index) else ():
                for obstacle, stuck in self._obstacles(reader, self._constants(layer, reader, index)):
                    new = stuck & ~counted
                    counted |= new
                    if bool(new.any()):
                        found.append(KeptConstant(layer.name, int(new.sum()), obstacle, reader.consumer))
        return found

    def _fed(self, layer: Layer) -> Tensor:
        return self.masks[layer.weight].flatten(1).any(1)

    def _read(self, layer: Layer) -> Tensor:
        read = torch.zeros_like(self._fed(layer))
        if layer.barrier is not None:
            return ~read
        for reader in layer.readers:
            consumer = self._graph[reader.consumer]
            mask = self.masks.get(consumer.weight)
            if mask is None:
                return torch.ones_like(read)
            read |= by_channel(mask, consumer, reader.per_channel).any(3).any(1).flatten()
        return read

    def _remove_unread(self, layer: Layer) -> bool:
        unread = ~self._read(layer)
        changed = bool((unread & self._fed(layer)).any())
        self.masks[layer.weight][unread] = False
        self._silence(layer, unread)
        return changed

    def _silence(self, layer: Layer, neurons: Tensor) -> None:
        if layer.bias in self.biases:
            self.biases[layer.bias][neurons] = 0
        if layer.bias in self.masks:
            self.masks[layer.bias][neurons] = False

    def _fold(self, layer: Layer) -> tuple[bool, int]:
        """Move the constants of neurons without inputs on; whether any was, and how many were not zero."""
        index = torch.nonzero(~self._fed(layer) & self._read(layer)).flatten()
        if not len(index):
            return False, 0
        arriving = [self._constants(layer, reader, index) for reader in layer.readers]
        free = torch.ones_like(index, dtype=torch.bool)
        for reader, constants in zip(layer.readers, arriving, strict=True):
            for _, stuck in self._obstacles(reader, constants):
                free &= ~stuck
        nonzero = torch.zeros_like(free)
        for reader, constants in zip(layer.readers, arriving, strict=True):
            self._move(reader, index[free], constants.values[free])
            nonzero |= free & constants.reads & (constants.values != 0)
        silent = torch.zeros_like(self._fed(layer))
        silent[index[free]] = True
        self._silence(layer, silent)
        return bool(free.any()), int(nonzero.sum())

    def _constants(self, layer: Layer, reader: Reader, index: Tensor) -> _Constants:
        consumer = self._graph[reader.consumer]
        mask = self.masks.get(consumer.weight)
        if mask is None:
            reads = torch.ones_like(index, dtype=torch.bool)
        else:
            group, place = _places(by_channel(mask, consumer, reader.per_channel), index)
            reads = by_channel(mask, consumer, reader.per_channel)[group, :, place].flatten(1).any(1)
        if not all(step.foldable for step in reader.steps):
            return _Constants(reads, torch.zeros(len(index), device=index.device), reads.clone())
        biases = self.biases.get(layer.bias)
        values = (
            torch.zeros(len(index), dtype=torch.float64, device=index.device)
            if biases is None
            else biases[index]
        )
        spatial = layer.out_shape[1:]
        channels = values.view(1, -1, *(1 for _ in spatial)).expand(1, len(index), *spatial).clone()
        for step in reader.steps:
            channels = step(channels)
        flat = channels.reshape(len(index), -1)
        # Averaging equal numbers may round: equal is meant up to that.
        even = (flat.amax(1) - flat.amin(1)) <= 1e-12 * flat.abs().amax(1)
        return _Constants(reads, torch.where(reads, flat[:, 0], 0.0), even)

    def _obstacles(self, reader: Reader, constants: _Constants) -> list[tuple[Obstacle, Tensor]]:
        """What is in the way of folding into one reader, each with the neurons that it stops."""
        consumer = self._graph[reader.consumer]
        reads = constants.reads
        nonzero = reads & (constants.values != 0)
        nothing = torch.zeros_like(reads)
        bias_mask = self.masks.get(consumer.bias)
        pruned_bias = bias_mask is not None and not bool(bias_mask.all())
        return [
            (Obstacle.NO_MASK, reads if consumer.weight not in self.masks else nothing),
            (Obstacle.NORMALISED, nothing if all(step.foldable for step in reader.steps) else reads),
            (Obstacle.UNEVEN, reads & ~constants.even),
            (Obstacle.PADDED, nonzero if _pads_with_zeros(consumer) else nothing),
            (Obstacle.NO_BIAS, nothing if consumer.bias in self._parameters else nonzero),
            (Obstacle.PRUNED_BIAS, nonzero if pruned_bias else nothing),
        ]

    def _move(self, reader: Reader, index: Tensor, values: Tensor) -> None:
        consumer = self._graph[reader.consumer]
        if consumer.weight not in self.masks or not len(index):
            return
        mask = by_channel(self.masks[consumer.weight], consumer, reader.per_channel)
        group, place = _places(mask, index)
        if consumer.bias in self.biases:
            weight = by_channel(self._parameters[consumer.weight].detach(), consumer, reader.per_channel)
            living = torch.where(mask[group, :, place], weight[group, :, place].double(), 0.0)
            given = living.sum(2) * values[:, None]
            self.biases[consumer.bias].view(mask.shape[0], -1).index_add_(0, group, given)
        mask[group, :, place] = False


def _places(weight: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Where input channels stand in a weight that is arranged `by_channel`: group and place within it."""
    return index // weight.shape[2], index % weight.shape[2]


def _pads_with_zeros(layer: Layer) -> bool:
    module = layer.module
    if isinstance(module, nn.Linear) or module.padding_mode != "zeros":
        return False
    if isinstance(module.padding, str):
        return module.padding == "same" and any(size > 1 for size in module.kernel_size)
    return any(pad > 0 for pad in module.padding)
