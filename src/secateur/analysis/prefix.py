"""A network in two parts: what comes before a layer runs once, what comes from it on as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from torch import Tensor, fx, nn

from secateur.errors import UnsupportedModelError
from secateur.pruning.layers import prunable_weights, unwrap
from secateur.pruning.tracing import trace

Values = Mapping[fx.Node, Any]
Rest = Callable[[], Any]


@final
@dataclass(frozen=True)
class State:
    """How far a batch has come: everything that the rest of the network still reads.

    Attributes:
        position: How many operations are done.
        values: What they left behind, by operation.
    """

    position: int
    values: Values

    @property
    def bytes(self) -> int:
        """Bytes of memory that it holds, parameters and views of the same memory not counted twice."""
        memory: dict[int, tuple[int, int]] = {}
        for tensor in _tensors(self.values.values()):
            if not isinstance(tensor, nn.Parameter):
                storage = tensor.untyped_storage()
                _, seen = memory.get(storage.data_ptr(), (0, 0))
                memory[storage.data_ptr()] = storage.nbytes(), seen + tensor.nbytes
        # A batch may be a part of a larger tensor, and views of one memory may be read side by side.
        return sum(min(whole, seen) for whole, seen in memory.values())


@final
class DividedNetwork:
    """A network whose operations are known in their order, so that it can stop before any layer and go on.

    The operations are those of the network itself, in its own order, on the same tensors: what comes out is
    bit for bit what the network gives. Call it in evaluation mode and without gradients.

    Args:
        model: The network, in evaluation mode; the weights are shared and not copied.

    Raises:
        UnsupportedModelError: torch.fx cannot trace it.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
        >>> divided, images = DividedNetwork(model), torch.ones(1, 4)
        >>> with torch.no_grad():
        ...     before = divided.advance(divided.start(images), divided.positions["2.weight"])
        ...     torch.equal(divided.finish(before), model(images))
        True
    """

    def __init__(self, model: nn.Module) -> None:
        network = unwrap(model)
        try:
            traced = trace(network)
        except Exception as error:
            # Whatever somebody else's forward raises on values that are not there.
            first_line = str(error).partition("\n")[0]
            raise UnsupportedModelError(
                f"{type(network).__name__} cannot be traced by torch.fx, so nothing of it can be reused: "
                f"{first_line}; take data-dependent control flow out of forward"
            ) from error
        self._nodes = tuple(traced.graph.nodes)
        self._interpreter = fx.Interpreter(traced, garbage_collect_values=False)
        index = {node: place for place, node in enumerate(self._nodes)}
        # The place of an operation's last reader: from there on nobody needs its result.
        self._needed_until = {
            node: max((index[user] for user in node.users), default=index[node]) for node in self._nodes
        }
        self._first = sum(node.op == "placeholder" for node in self._nodes)
        self.positions: Mapping[str, int] = _first_uses(network, traced, self._nodes)

    def start(self, images: Tensor) -> State:
        """A batch before the first operation."""
        self._interpreter.args_iter = iter((images,))
        values = {node: self._interpreter.run_node(node) for node in self._nodes[: self._first]}
        return State(self._first, values)

    def advance(self, state: State, position: int) -> State:
        """The same batch further on.

        Args:
            state: Where it is.
            position: How many operations shall be done, at least as many as are; see `positions`.

        Returns:
            A new state; the old one is as it was, unless an operation writes over its input.
        """
        values = dict(state.values)
        for place in range(state.position, position):
            self._interpreter.env = values
            node = self._nodes[place]
            values[node] = self._interpreter.run_node(node)
            for read in (*node.all_input_nodes, node):
                if self._needed_until[read] <= place and node.op != "output":
                    values.pop(read, None)
        self._interpreter.env = {}
        return State(position, values)

    def finish(self, state: State) -> Any:
        """What the network gives for a batch that has come so far.

        Raises:
            UnsupportedModelError: An operation wrote over what the state holds, which therefore cannot be
                used again.
        """
        held = [(tensor, tensor._version) for tensor in _tensors(state.values.values())]
        last = self.advance(state, self.end)
        if any(tensor._version != version for tensor, version in held):
            raise UnsupportedModelError("an operation writes over what comes before the layer")
        return self.output(last)

    @property
    def end(self) -> int:
        """How many operations there are."""
        return len(self._nodes)

    def output(self, state: State) -> Any:
        """What the network gives, of a state at its end."""
        return state.values[self._nodes[-1]]


@final
class Route:
    """The way of many batches through a network, up to the layer whose turn it is.

    Args:
        model: The network, in evaluation mode.
        parts: Batches of images, on its device.
        whole: What the network gives for the first and for the last of them.
        memory: Bytes of results of earlier layers that may be held; where they do not suffice for all
            batches, these are taken in groups, and each group starts again for each layer.

    Attributes:
        note: Why nothing can be reused; empty if something can.
    """

    def __init__(self, model: nn.Module, parts: list[Tensor], whole: tuple[Any, Any], memory: int) -> None:
        self._model = model
        self._parts = parts
        self._held: list[State] = []
        self._divided: DividedNetwork | None = None
        self._group = len(parts)
        self.note = ""
        try:
            divided = DividedNetwork(model)
            ends = {
                id(part): (part, output) for part, output in zip((parts[0], parts[-1]), whole, strict=True)
            }
            largest = max(self._checked(divided, *end) for end in ends.values())
            self._group = max(1, min(len(parts), memory // largest))
            self._divided = divided
        except UnsupportedModelError as error:
            self.note = str(error)

    def in_order(self, parameters: list[str]) -> list[str]:
        """The layers in the order in which they run, where that is known."""
        positions = {} if self._divided is None else self._divided.positions
        return sorted(parameters, key=lambda name: positions.get(name, -1))

    def from_layer(self, parameter: str) -> Iterator[list[Rest]]:
        """What runs the network from a layer on: a function a batch, group after group of batches.

        Args:
            parameter: The canonical name of the layer's weight.

        Raises:
            UnsupportedModelError: Nothing of what comes before it can be reused.
        """
        divided = self._divided
        if divided is None:
            raise UnsupportedModelError(self.note)
        if parameter not in divided.positions:
            raise UnsupportedModelError(f"the trace does not show where {parameter} is read")
        position = divided.positions[parameter]
        for first in range(0, len(self._parts), self._group):
            states = self._held
            if not states or self._group < len(self._parts) or states[0].position > position:
                states = [divided.start(part) for part in self._parts[first : first + self._group]]
            for place, state in enumerate(states):  # one at a time, so that the one before can go
                states[place] = divided.advance(state, position)
            self._held = states
            yield [partial(divided.finish, state) for state in states]

    def from_start(self) -> Iterator[list[Rest]]:
        """What runs the whole network: a function a batch. What was held for later layers is let go."""
        self._held = []
        yield [partial(self._model, part) for part in self._parts]

    def _checked(self, divided: DividedNetwork, part: Tensor, expected: Any) -> int:
        """The most bytes that a batch holds on its way, whose end is compared with what the network gives."""
        state, largest = divided.start(part), 1
        for position in sorted(set(divided.positions.values())):
            state = divided.advance(state, position)
            largest = max(largest, state.bytes)
        found = divided.output(divided.advance(state, divided.end))
        if not (isinstance(found, Tensor) and isinstance(expected, Tensor) and found.equal(expected)):
            raise UnsupportedModelError(
                f"traced by torch.fx, {type(unwrap(self._model)).__name__} gives other results than itself; "
                "does it draw at random, keep a state or carry hooks?"
            )
        return largest


def _first_uses(network: nn.Module, traced: fx.GraphModule, nodes: tuple[fx.Node, ...]) -> dict[str, int]:
    """Where each weight is read for the first time, by canonical parameter name."""
    names = {id(weight.parameter): weight.name for weight in prunable_weights(network)}
    found: dict[str, int] = {}
    for place, node in enumerate(nodes):
        for parameter in _parameters_of(node, traced):
            if id(parameter) in names:
                found.setdefault(names[id(parameter)], place)
    return found


def _parameters_of(node: fx.Node, traced: fx.GraphModule) -> Iterator[nn.Parameter]:
    match node.op:
        case "call_module":
            yield from traced.get_submodule(str(node.target)).parameters()
        case "get_attr":
            holder: Any = traced
            for part in str(node.target).split("."):
                holder = getattr(holder, part)
            if isinstance(holder, nn.Parameter):
                yield holder
        case _:
            return


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from _tensors(value.values())
        elif isinstance(value, tuple | list):
            yield from _tensors(value)
