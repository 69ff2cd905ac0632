"""Who reads whose channels: the part of a network's graph that is understood well enough to remove neurons.

Between a layer and the layers that read it only *channelwise* operations are followed (see `channelwise`).
Everything else is a barrier, and what leads into a barrier counts as living.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor, fx, nn

from secateur.errors import ConfigurationError, UnsupportedModelError
from secateur.pruning.channelwise import (
    Step,
    adapts,
    asks_for_batch_size,
    asks_for_size,
    channelwise_step,
    has_hooks,
    is_reshape,
)
from secateur.pruning.layers import unwrap
from secateur.pruning.modes import evaluating
from secateur.pruning.tracing import trace

Prunable = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

# The rank of a batch that each layer works on: with another, its output channels would stand elsewhere.
_RANKS: dict[type[nn.Module], int] = {nn.Linear: 2, nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}


@final
@dataclass(frozen=True)
class Reader:
    """One layer that reads the channels of another.

    Attributes:
        consumer: The reading layer's path in the model.
        steps: The channelwise operations on the way, in order; flattening is said by ``per_channel`` alone.
        per_channel: How many consecutive inputs of the consumer hold one channel: height x width after a
            flattening, 1 otherwise.
        resizable: Whether the way still works when channels are taken out.
    """

    consumer: str
    steps: tuple[Step, ...]
    per_channel: int
    resizable: bool


@final
@dataclass(frozen=True)
class Layer:
    """One prunable layer that is called exactly once and owns its weights.

    Attributes:
        name: Its path in the model.
        module: The layer.
        out_shape: The shape of one example's output: channels, then the spatial dimensions.
        readers: Every understood reader of its output channels.
        barrier: Why its channels count as living; None when every use of them is understood.
    """

    name: str
    module: Prunable
    out_shape: tuple[int, ...]
    readers: tuple[Reader, ...]
    barrier: str | None

    @property
    def weight(self) -> str:
        """The weight's parameter name."""
        return f"{self.name}.weight"

    @property
    def bias(self) -> str:
        """The bias's parameter name, whether or not there is one."""
        return f"{self.name}.bias"

    @property
    def groups(self) -> int:
        """The number of groups of a convolution; 1 for a linear layer."""
        return 1 if isinstance(self.module, nn.Linear) else self.module.groups


@torch.no_grad()
def channel_graph(model: nn.Module, example_input_shape: tuple[int, ...]) -> dict[str, Layer]:
    """Trace a network in evaluation mode and find who reads whose channels.

    Layers that are called twice, share a parameter, carry hooks or parametrizations, or work on inputs of
    unusual rank are left out: nothing may be removed from them and all their weights count as living.

    Args:
        model: The network; its weights, buffers and training flags are left as they are.
        example_input_shape: The shape of one example, without the batch dimension: ``(1, 28, 28)``.

    Returns:
        Layer path -> layer, in the order of execution.

    Raises:
        UnsupportedModelError: The network cannot be traced.
        ConfigurationError: The network does not run on a batch of that shape.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
        >>> graph = channel_graph(model, (1, 4, 4))
        >>> [(reader.consumer, reader.per_channel) for reader in graph["0"].readers]
        [('3', 4)]
        >>> graph["3"].barrier
        "the network's output"

    Source: paper, section 3.5 (which neurons have connections left).
    """
    network = unwrap(model)
    with evaluating(network):
        try:
            traced = trace(network)
        except Exception as error:
            raise UnsupportedModelError(
                f"{type(network).__name__} cannot be traced by torch.fx, so who reads which neuron is not "
                f"known: {error}; switch the removal of dead neurons off, or take data-dependent control "
                "flow out of forward"
            ) from error
        shapes = _Shapes(traced)
        batch = zero_batch(network, example_input_shape)
        try:
            shapes.run(batch)
        except Exception as error:
            raise ConfigurationError(
                f"{type(network).__name__} does not run on a batch of shape {tuple(batch.shape)}: "
                f"{str(error).partition(chr(10))[0]}; "  # what follows is torch.fx's own trace
                "give the shape of one example, without the batch dimension"
            ) from error
    return _Builder(network, traced, shapes.found).layers()


def zero_batch(model: nn.Module, example_input_shape: tuple[int, ...]) -> Tensor:
    """Two examples of zeros, of the type and on the device of the model's first floating-point parameter.

    Two, because a batch of one cannot be told from a dimension that was squeezed or broadcast.

    Raises:
        ConfigurationError: It is no shape.
    """
    given: object = example_input_shape
    if not isinstance(given, Sequence) or not all(isinstance(size, int) and size >= 0 for size in given):
        raise ConfigurationError(
            f"expected the shape of one example, without the batch dimension, such as (1, 28, 28); "
            f"found {given!r}"
        )
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.zeros(2, *example_input_shape, dtype=like.dtype, device=like.device)


def by_channel(weight: Tensor, layer: Layer, per_channel: int = 1) -> Tensor:
    """A layer's weight (or its mask) as ``[groups, outputs per group, input channels per group, the rest]``.

    Input channel j stands at group ``j // per_group``, position ``j % per_group``.

    Args:
        weight: The weight, or a tensor of its shape.
        layer: The layer it belongs to.
        per_channel: How many consecutive inputs hold one channel (of a linear layer behind a flattening).

    Returns:
        A view where the weight is contiguous.
    """
    if isinstance(layer.module, nn.Linear):
        return weight.reshape(1, weight.shape[0], -1, per_channel)
    return weight.reshape(layer.groups, weight.shape[0] // layer.groups, weight.shape[1], -1)


@final
class _Shapes(fx.Interpreter):
    """Runs a traced network once and remembers the shape of every tensor in it."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.found: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:  # the parameter's name is torch's
        """Run one node."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found[n] = tuple(result.shape)
        return result


@final
@dataclass(frozen=True)
class _Trail:
    """What is known at one point behind a layer."""

    channels: int
    steps: tuple[Step, ...] = ()
    per_channel: int = 1
    resizable: bool = True
    branched: bool = False


@final
class _Builder:
    def __init__(
        self, network: nn.Module, traced: fx.GraphModule, shapes: Mapping[fx.Node, tuple[int, ...]]
    ) -> None:
        self._modules = dict(network.named_modules(remove_duplicate=False))
        self._parameters = dict(network.named_parameters(remove_duplicate=False))
        self._nodes = list(traced.graph.nodes)
        self._shapes = shapes

    def layers(self) -> dict[str, Layer]:
        layers = {}
        for node, module in self._eligible.items():
            readers, barrier = self._follow(node, _Trail(self._shapes[node][1]))
            name = str(node.target)
            layers[name] = Layer(name, module, self._shapes[node][1:], tuple(readers), barrier)
        return layers

    @cached_property
    def _eligible(self) -> Mapping[fx.Node, Prunable]:
        names_of = Counter(id(parameter) for parameter in self._parameters.values())
        names_of.update(  # a weight that the graph also reads directly has a second use
            id(self._parameters[str(n.target)])
            for n in self._nodes
            if n.op == "get_attr" and n.target in self._parameters
        )
        calls = Counter(id(self._modules[str(n.target)]) for n in self._nodes if n.op == "call_module")
        found: dict[fx.Node, Prunable] = {}
        for node in self._nodes:
            if node.op != "call_module":
                continue
            module = self._modules[str(node.target)]
            # The exact type: a subclass or a parametrization may compute something else with the weight.
            if not isinstance(module, Prunable) or type(module) not in _RANKS:
                continue
            if has_hooks(module) or calls[id(module)] != 1:
                continue
            ranks = [len(self._shapes.get(n, ())) for n in (node, *node.all_input_nodes)]
            if ranks == [_RANKS[type(module)]] * 2 and all(
                names_of[id(parameter)] == 1 for parameter in module.parameters()
            ):
                found[node] = module
        return MappingProxyType(found)

    def _follow(self, node: fx.Node, trail: _Trail) -> tuple[list[Reader], str | None]:
        """Every understood reader behind a node, and why (if so) not every use is understood."""
        users = [user for user in node.users if not asks_for_size(user)]
        if not users:
            return [], f"nothing reads {node.name}"
        sizes = all(asks_for_batch_size(user) for user in node.users if user not in users)
        trail = replace(trail, branched=trail.branched or len(users) > 1, resizable=trail.resizable and sizes)
        readers: list[Reader] = []
        barrier: str | None = None
        for user in users:
            if user in self._eligible:
                readers.append(Reader(str(user.target), trail.steps, trail.per_channel, trail.resizable))
                continue
            beyond = self._step(user, node, trail)
            if beyond is None:
                what = "the network's output" if user.op == "output" else f"{user.op} {user.name}"
                barrier = barrier or what
                continue
            more, reason = self._follow(user, beyond)
            readers += more
            barrier = barrier or reason
        return readers, barrier

    def _step(self, user: fx.Node, source: fx.Node, trail: _Trail) -> _Trail | None:
        """The trail behind one operation, or None where it is not understood."""
        before, after = self._shapes[source], self._shapes.get(user)
        if after is None:
            return None
        module = self._modules[str(user.target)] if user.op == "call_module" else None
        if is_reshape(user, module) and user.args[:1] == (source,):
            if after != (before[0], math.prod(before[1:])):
                return None
            resizable = trail.resizable and adapts(user)
            return replace(trail, per_channel=math.prod(before[1:]) // trail.channels, resizable=resizable)
        if user.all_input_nodes != [source] or after[:2] != before[:2]:
            return None
        step = channelwise_step(user, module, spatial=len(before) - 2)
        # In place it changes what the other users of the same memory read, which the graph does not show.
        if step is None or (step.in_place and trail.branched):
            return None
        return replace(trail, steps=(*trail.steps, step), resizable=trail.resizable and step.foldable)
