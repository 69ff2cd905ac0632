"""Which kernel is fastest for each layer: measured on this machine, in turns, on the layer's real inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from secateur.compiler.allotment import Measured, allotments
from secateur.format.graph import Convolution, Graph, Linear, Value, resolve
from secateur.format.layouts import Order, PackedWeight
from secateur.format.model import KernelChoice, Model
from secateur.format.packing import pack, unpack_values
from secateur.records import content_hash, cpu_name
from secateur.runtime.program import Program

Times = Mapping[str, float]  # kernel -> microseconds
WeightedNode = Convolution | Linear
Name = TypeVar("Name")

# Rounds of short bursts: long enough for the clock, short enough to be interleaved.
_ROUNDS = 7
# As many again for those this near to the best, which a noisy minute might have put in the wrong order.
_CLOSE = 1.2
_BURST_SECONDS = 2e-3
_MAX_REPEATS = 50
# A kernel this much slower than the best is timed once more, as a neighbour may have had its core, and then
# no longer.
_HOPELESS = 3.0
# A linear layer above this density is not worth trying by columns.
_COLUMNS_BELOW = 0.7
# Of the packed weights' bytes. Convolutions are packed anew when a file is loaded, linear layers stay in it:
# with this much besides, AlexNet and VGG-16 are loaded in less than 1.15 times their files.
_TRANSFORMED_SHARE = 0.5
# Bytes that count for nothing beside those of a process.
_NEGLIGIBLE = 4_000_000


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

    Filters that Winograd's kernels transform may take half the bytes of all packed weights, or 4 MB. Where
    it matters whether a cache keeps them from one call to the next, the whole network is timed both ways.

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
    measured: dict[str, Measured] = {}
    microseconds: dict[str, Times] = {}
    weights = dict(model.weights)
    keys: list[str] = []
    isa = Program(model, threads=threads).isa
    for node in _weighted(model.graph):
        orders = _orders(node, weights[node.weight]) if node.name in reorder else [weights[node.weight]]
        layers = [_alone(model, node, weight, batch) for weight in orders]
        found = [layer_key(node, layer, reaching[node.source], isa=isa, threads=threads) for layer in layers]
        given = [reaching[name] for name in layers[0].graph.inputs]
        _measure(layers, node, found, given, threads, remembered)
        keys += found
        # The fastest last: of a kernel that runs both orders, its time is the one that is told.
        ranked = sorted(zip(found, orders, strict=True), key=lambda each: -min(remembered[each[0]].values()))
        microseconds[node.name] = {
            kernel: us for each, _ in ranked for kernel, us in remembered[each].items()
        }
        key, weight = ranked[-1]
        weights[node.weight] = weight
        dense = prod(weight.shape)
        taps = weight.shape[-1] if isinstance(node, Convolution) else 1
        measured[node.name] = Measured(remembered[key], 4 * dense, weight.entries / dense, taps)
    limit = max(_TRANSFORMED_SHARE * sum(weight.nbytes for weight in weights.values()), _NEGLIGIBLE)
    model = replace(model, weights=weights)
    kernels = _fastest(model, allotments(measured, limit), keys, inputs, threads, remembered)
    choice = KernelChoice(isa, cpu_name(), batch, threads, kernels, microseconds)
    return replace(model, choices=(*model.choices, choice))


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


def in_turns(
    contenders: Mapping[Name, Callable[[int], Sequence[int]]], *, rounds: int = _ROUNDS
) -> dict[Name, float]:
    """Lower quartiles of contenders that take turns, so that what disturbs one disturbs all.

    A disturbance only ever adds time, and on a shared machine more than half of all runs may be disturbed: by
    medians the kernel chosen was once 1.4 times slower than the best.

    Args:
        contenders: By name, functions that run something some times and return nanoseconds a time.
        rounds: How many turns each has, at least 1.

    Returns:
        Microseconds by name; of those that fell far behind twice, by these two runs.

    Example:
        >>> in_turns({"a": lambda times: [1000] * times, "b": lambda times: [2000] * times})
        {'a': 1.0, 'b': 2.0}
    """
    samples: dict[Name, list[int]] = {}
    repeats: dict[Name, int] = {}
    for name, run in contenders.items():
        run(1)  # the first run touches memory for the first time
        first = list(run(1))
        samples[name] = first
        repeats[name] = max(1, min(_MAX_REPEATS, int(_BURST_SECONDS * 1e9 / max(first[0], 1))))
    best = min(min(each) for each in samples.values())
    for turn in range(rounds):
        for name, run in contenders.items():
            hopeless = min(samples[name]) > _HOPELESS * best
            if hopeless and turn == 0:
                samples[name] += run(1)
            elif not hopeless:
                samples[name] += run(repeats[name])
            best = min(best, *samples[name])
    found = {name: _lower_quartile(each) for name, each in samples.items()}
    close = [name for name in contenders if found[name] <= _CLOSE * min(found.values())]
    if len(close) > 1:
        for _ in range(rounds):
            for name in close:
                samples[name] += contenders[name](repeats[name])
        found |= {name: _lower_quartile(samples[name]) for name in close}
    return {name: time / 1e3 for name, time in found.items()}


def _fastest(
    model: Model,
    candidates: Sequence[Mapping[str, str]],
    layers: Sequence[str],
    inputs: Sequence[NDArray[Any]],
    threads: int,
    remembered: dict[str, dict[str, float]],
) -> Mapping[str, str]:
    """The kernels with which the whole network takes the least time."""
    if len(candidates) == 1:
        return candidates[0]
    named = {content_hash(kernels): kernels for kernels in candidates}
    # Named by its layers: the same layers in another order take as long.
    key = f"network {content_hash({'layers': list(layers)})}"
    if set(remembered.get(key, ())) != set(named):
        remembered[key] = in_turns(
            {
                name: Program(model, threads=threads, kernels=kernels).timer(inputs, threads)
                for name, kernels in named.items()
            }
        )
    times = remembered[key]
    return named[min(times, key=times.__getitem__)]


def _lower_quartile(samples: list[int]) -> float:
    return float(np.quantile(samples, 0.25))


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
    if all(set(remembered.get(key, ())) == set(names) for key, names in zip(keys, kernels, strict=True)):
        return
    contenders = {
        (key, kernel): Program(layer, threads=threads, kernels={node.name: kernel}).timer(given, threads)
        for key, layer, names in zip(keys, layers, kernels, strict=True)
        for kernel in names
    }
    remembered.update({key: {} for key in keys})
    for (key, kernel), microseconds in in_turns(contenders).items():
        remembered[key][kernel] = microseconds
