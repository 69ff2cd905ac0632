"""Which kernel is fastest for each layer: measured on this machine, in turns, on the layer's real inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secateur.compiler.allotment import Measured, is_pruned, within_memory
from secateur.compiler.turns import in_turns
from secateur.format.graph import Convolution, Graph, Linear, Value, resolve
from secateur.format.layouts import VALUE_DTYPES, Order, PackedWeight
from secateur.format.model import KernelChoice, Model
from secateur.format.packing import pack, unpack_values
from secateur.records import content_hash, cpu_name
from secateur.runtime.program import Program

Times = Mapping[str, float]  # kernel -> microseconds
WeightedNode = Convolution | Linear

# A linear layer above this density is not worth trying by columns.
_COLUMNS_BELOW = 0.7
# Of the weights' bytes in the file, for filters that Winograd's kernels transform.
_TRANSFORMED_SHARE = 0.5
# And for all that is packed anew when the file is loaded: convolutions, and the linear layers of batches.
# With what a process needs besides, that is 1.15 times the file. (Without it AlexNet held up to 1.8 times its
# file at batch 16.) No layer is kept from packing its non-zeros: kernels that do not are slow over a batch.
_PACKED_SHARE = 1.13
# Of a non-zero's index, and of the counts of runs and the places of strips, in bytes. (At 1.25 strips were
# too much at a fifth of the weights: a bitmask is small there already.)
_INDEXED = 1.3
# Bytes that count for nothing beside those of a process.
_NEGLIGIBLE = 4_000_000


@final
@dataclass(frozen=True)
class _Packed:
    """A layer's weight in one order.

    Attributes:
        name: Of the weight.
        weight: Packed.
        cold: Its times where the weights of other layers have been in the caches meanwhile.
        warm: Its times where the caches have kept it from one call to the next.
    """

    name: str
    weight: PackedWeight
    cold: Measured
    warm: Measured


@final
@dataclass(frozen=True)
class _Candidate:
    """What may be the fastest network.

    Attributes:
        model: Its weights in the orders meant.
        kernels: By layer.
        state: That of the caches which they are best in.
    """

    model: Model
    kernels: Mapping[str, str]
    state: Callable[[_Packed], Measured]

    @property
    def name(self) -> str:
        orders = {name: weight.order for name, weight in self.model.weights.items()}
        return content_hash({"kernels": self.kernels, "orders": orders})


# All layers of a network are in the same one. (To decide between them by the bytes of weights and filters
# failed: a layer near to the border ran in 1.7 times the time of the best kernel.)
_STATES: Sequence[Callable[[_Packed], Measured]] = (lambda each: each.cold, lambda each: each.warm)
# Of dense weights or of filters, which every second-level cache keeps from one call to the next: so small a
# network is never cold. (A layer of LeNet-5 alone was run by either of two kernels, as the clock fell, and by
# one of them in 1.17 times the time.)
_ALWAYS_WARM = 384_000


def tuned(
    model: Model,
    inputs: Sequence[NDArray[Any]],
    *,
    batch: int,
    threads: int,
    reorder: frozenset[str],
    remembered: dict[str, dict[str, float]],
) -> Model:
    """Time the kernels of every weighted layer and let the model keep the best that fit into memory.

    What kernels pack anew may take 1.13 times the bytes of the file's weights, filters that Winograd's
    kernels transform half of them; both may take 4 MB. Where it matters whether a cache keeps weights from
    one call to the next, the whole network is timed both ways.

    Args:
        model: Graph and packed weights.
        inputs: What the network is run on, so that each layer is timed on what really reaches it: how many
            inputs are zero decides between kernels.
        batch: The batch size of the inputs.
        threads: With how many threads.
        reorder: The layers whose weights may be packed in the other order where that is faster.
        remembered: Times of layers that were measured before, by `layer_key`, and of networks; new ones are
            added, and those of other kernels than there are now are measured again.

    Returns:
        The model with one more kernel choice, and perhaps with some weights in another order.
    """
    reaching = _reaching_layers(model, inputs, threads)
    isa = Program(model, threads=threads).isa
    pruned = is_pruned(_density(model.weights.values()))
    timed: dict[str, list[_Packed]] = {}
    keys: list[str] = []
    for node in _weighted(model.graph):
        weight = model.weights[node.weight]
        orders = _orders(node, weight) if node.name in reorder else [weight]
        layers = [_alone(model, node, each, batch) for each in orders]
        found = [layer_key(node, layer, reaching[node.source], isa=isa, threads=threads) for layer in layers]
        given = [reaching[name] for name in layers[0].graph.inputs]
        _measure(layers, node, found, given, threads, remembered)
        keys += found
        timed[node.name] = _packed(node, orders, found, remembered, among_pruned=pruned)
    states = _STATES if _most_bytes(timed) > _ALWAYS_WARM else _STATES[1:]
    chosen = _fastest([_cheapest(model, timed, each) for each in states], keys, inputs, threads, remembered)
    # Told are the times that decided. The chosen order last: of a kernel that runs both, its time counts.
    microseconds = {
        name: {
            kernel: us
            for each in sorted(orders, key=lambda each: each.weight in chosen.model.weights.values())
            for kernel, us in chosen.state(each).microseconds.items()
        }
        for name, orders in timed.items()
    }
    choice = KernelChoice(isa, cpu_name(), batch, threads, chosen.kernels, microseconds)
    return replace(chosen.model, choices=(*model.choices, choice))


def layer_key(node: WeightedNode, layer: Model, reaching: NDArray[Any], *, isa: str, threads: int) -> str:
    """A name for everything that a layer's times depend on, as far as it is known before they are measured.

    Args:
        node: The layer.
        layer: It alone, as a model.
        reaching: What it is timed on: linear layers have a kernel that skips the zeros in it.
        isa: The instruction set.
        threads: With how many threads.

    Returns:
        Text; equal for equal layers.
    """
    weight = layer.weights[node.weight]
    values = {value.name: value for value in layer.graph.values}
    live = round(float(np.count_nonzero(reaching) / reaching.size), 1) if isinstance(node, Linear) else None
    geometry = (node.strides, node.pads, node.dilations, node.groups) if isinstance(node, Convolution) else ()
    return repr(
        (
            isa,
            cpu_name(),
            threads,
            type(node).__name__,
            geometry,
            values[node.source].shape,
            weight.shape,
            weight.order,
            weight.kind,
            weight.value_type,
            weight.entries,
            node.residual is not None,
            live,
        )
    )


def _packed(
    node: WeightedNode,
    weights: Sequence[PackedWeight],
    keys: Sequence[str],
    remembered: Mapping[str, Times],
    *,
    among_pruned: bool,
) -> list[_Packed]:
    taps, stride = (weights[0].shape[-1], node.strides[-1]) if isinstance(node, Convolution) else (1, 1)
    dense = prod(weights[0].shape)

    def measured(times: str, key: str, weight: PackedWeight, *, cold: bool) -> Measured:
        return Measured(
            remembered[times],
            4 * dense,
            weight.entries / dense,
            taps=taps,
            stride=stride,
            cold=cold,
            packed=remembered[_bytes(key)],
            one_by_one=weight.entries * (VALUE_DTYPES[weight.value_type].itemsize + _INDEXED),
            among_pruned=among_pruned,
        )

    return [
        _Packed(
            node.weight,
            weight,
            cold=measured(key, key, weight, cold=True),
            warm=measured(_warm(key), key, weight, cold=False),
        )
        for key, weight in zip(keys, weights, strict=True)
    ]


def _density(weights: Collection[PackedWeight]) -> float:
    return sum(each.entries for each in weights) / max(1, sum(prod(each.shape) for each in weights))


def _most_bytes(layers: Mapping[str, Sequence[_Packed]]) -> float:
    """What the weights of a network take at most, whatever kernels run it."""
    return sum(
        max(each.warm.dense_bytes, *each.warm.packed.values(), *map(each.warm.filter_bytes, each.warm.packed))
        for each, *_ in layers.values()
    )


def _cheapest(
    model: Model, layers: Mapping[str, Sequence[_Packed]], state: Callable[[_Packed], Measured]
) -> _Candidate:
    """Every layer in the order and with the kernel that are best in a state of the caches."""
    best = {name: min(orders, key=lambda each: state(each).least) for name, orders in layers.items()}
    weights = {**model.weights, **{each.name: each.weight for each in best.values()}}
    measured = {name: state(each) for name, each in best.items()}
    whole = sum(weight.nbytes for weight in weights.values())
    needed = sum(each.needed_bytes for each in measured.values())
    limits = [
        (Measured.extra_bytes, max(_TRANSFORMED_SHARE * whole, _NEGLIGIBLE)),
        (Measured.grown_bytes, max(_PACKED_SHARE * whole, _NEGLIGIBLE) - needed),
    ]
    kernels = within_memory(measured, limits)
    return _Candidate(replace(model, weights=weights), kernels, state)


def _fastest(
    candidates: Sequence[_Candidate],
    layers: Sequence[str],
    inputs: Sequence[NDArray[Any]],
    threads: int,
    remembered: dict[str, dict[str, float]],
) -> _Candidate:
    """The one with which the whole network takes the least time, run after run."""
    named = {each.name: each for each in candidates}
    if len(named) == 1:
        return candidates[0]
    # Named by its layers: the same layers in another order take as long.
    key = f"network {content_hash({'layers': list(layers)})}"
    if set(remembered.get(key, ())) != set(named):
        contenders = {
            name: Program(each.model, threads=threads, kernels=each.kernels).timer(inputs, threads)
            for name, each in named.items()
        }
        remembered[key] = {name: timed.again for name, timed in in_turns(contenders).items()}
    times = remembered[key]
    return named[min(times, key=times.__getitem__)]


def _weighted(graph: Graph) -> list[WeightedNode]:
    return [node for node in graph.nodes if isinstance(node, Convolution | Linear)]


def _reaching_layers(model: Model, inputs: Sequence[NDArray[Any]], threads: int) -> dict[str, NDArray[Any]]:
    """What every weighted layer reads when the network runs on the inputs."""
    graph = model.graph
    reaching = dict(zip(graph.inputs, inputs, strict=True))
    wanted = dict.fromkeys(
        name
        for node in _weighted(graph)
        for name in (node.source, node.residual)
        if name is not None and name not in reaching
    )
    if wanted:
        program = Program(replace(model, graph=replace(graph, outputs=tuple(wanted))), threads=threads)
        results = program(*inputs)
        found = results if isinstance(results, tuple) else (results,)
        reaching |= dict(zip(wanted, found, strict=True))
    return reaching


def _orders(node: WeightedNode, weight: PackedWeight) -> list[PackedWeight]:
    """The weight in every order worth trying."""
    if isinstance(node, Convolution) or weight.entries > _COLUMNS_BELOW * np.prod(weight.shape):
        return [weight]
    other: Order = "rows" if weight.order == "columns" else "columns"
    return [weight, pack(unpack_values(weight), order=other)]


def _alone(model: Model, node: WeightedNode, weight: PackedWeight, batch: int) -> Model:
    """A model of one layer, at a fixed batch size."""
    values = {value.name: value for value in model.graph.values}
    inputs = tuple(dict.fromkeys(name for name in (node.source, node.residual) if name is not None))
    fixed = tuple(_fixed(values[name], batch) for name in dict.fromkeys((*inputs, node.output)))
    constants = tuple(name for name in (node.weight, node.bias) if name is not None)
    graph = Graph(inputs, (node.output,), fixed, constants, (node,))
    tensors = {name: model.tensors[name] for name in constants if name != node.weight}
    return Model(graph=graph, weights={node.weight: weight}, tensors=tensors)


def _fixed(value: Value, batch: int) -> Value:
    return replace(value, shape=resolve(value.shape, batch))


def _measure(
    layers: Sequence[Model],
    node: WeightedNode,
    keys: Sequence[str],
    given: list[NDArray[Any]],
    threads: int,
    remembered: dict[str, dict[str, float]],
) -> None:
    """Time the kernels of a layer whose weights are packed in one order or several, unless all are known.

    All orders take part in the same turns: one after the other, a noisy second chose between them.
    """
    kernels = [Program(layer, threads=threads).candidates(node.name) for layer in layers]
    if all(
        set(remembered.get(each, ())) == set(names)
        for key, names in zip(keys, kernels, strict=True)
        for each in (key, _warm(key), _bytes(key))
    ):
        return
    programs = {
        (key, kernel): Program(layer, threads=threads, kernels={node.name: kernel})
        for key, layer, names in zip(keys, layers, kernels, strict=True)
        for kernel in names
    }
    contenders = {name: program.timer(given, threads) for name, program in programs.items()}
    remembered.update({each: {} for key in keys for each in (key, _warm(key), _bytes(key))})
    for (key, kernel), program in programs.items():
        remembered[_bytes(key)][kernel] = float(program.bind(1).native.packed_bytes)  # its shapes are fixed
    for (key, kernel), timed in in_turns(contenders).items():
        remembered[key][kernel] = timed.microseconds
        remembered[_warm(key)][kernel] = timed.again


def _bytes(key: str) -> str:
    """The name of what a layer's kernels pack anew."""
    return f"bytes {key}"


def _warm(key: str) -> str:
    """The name of a layer's times with its own numbers in the caches."""
    return f"warm {key}"
