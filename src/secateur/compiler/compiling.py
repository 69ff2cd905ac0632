"""The compiler's front door: a network, as a torch module or an ONNX file, becomes a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from secateur.compiler.agreement import check_agreement, sizes_to_compare
from secateur.compiler.builder import unused
from secateur.compiler.remembering import default_cache, read_times, write_times
from secateur.compiler.tuning import tuned
from secateur.errors import ConfigurationError, MissingExtraError, StorageError
from secateur.format.graph import Convolution, Graph, Linear, reads, renamed, resolve
from secateur.format.layouts import Order, PackedWeight, ValueType
from secateur.format.model import ADDED_ZEROS, KernelChoice, Model
from secateur.format.packing import pack
from secateur.format.stored import RESERVED, names_of_weight
from secateur.format.values import round_values
from secateur.records import cpu_name
from secateur.runtime.arrays import DTYPES, batch_of, input_arrays
from secateur.runtime.choosing import fixed_kernels
from secateur.runtime.program import Program

# Above this density a linear layer starts out by rows; measuring may turn it round.
_COLUMNS_BELOW = 0.5
# The kernels of linear layers that run in one order alone.
_ORDERS: Mapping[str, Order] = {
    "inputs": "columns",
    "outputs": "rows",
    "bitmask": "rows",
    "strips": "rows",
    "dense": "rows",
}


def compile(  # the field's word; nobody needs the built-in beside it
    source: Any,
    example_inputs: Any = None,
    *,
    batch: int | Sequence[int] = 1,
    threads: int | None = None,
    values: ValueType = "float32",
    measure: bool = True,
    kernels: Mapping[str, str] | None = None,
    cache: str | Path | None = None,
) -> Program:
    """Turn a network into a program that needs no PyTorch.

    Constants and batch normalisation are folded, activations and residual sums fused; every weight is packed
    into the layout of the fewest bytes; for every layer the kernels, dense ones included, are timed on this
    machine and the fastest is kept.

    Args:
        source: A torch module, the path of an ONNX file, or an ONNX model.
        example_inputs: What the network takes, as an array or tensor or a tuple of them: needed for a torch
            module; for ONNX it is drawn at random if left out. Layers are timed on it, so real data (with
            their zeros) give the best choice; one of a single repeated number is taken for a shape.
        batch: The batch size to be fastest at, or several; the first decides how weights are laid out. The
            program takes any.
        threads: How many threads it will run with; all processors of the process if left out.
        values: ``float32`` (exact), or ``float16`` or ``bfloat16``: half the bytes, rounded to nearest.
        measure: False takes kernels by rule of thumb: the same on every machine, and no time spent.
        kernels: Kernels by layer name that shall be taken whatever is measured; ``Program.candidates`` names
            them.
        cache: The file that remembers what was measured; by default one in the user's cache folder.

    Returns:
        The program; `Program.save` writes it as a compact file.

    Raises:
        UnsupportedModelError: An operator or attribute is not supported; the message names its node. Or the
            program gives something else than the module, whose forward decides by the batch size.
        ConfigurationError: A batch size or threads below 1, a kernel that cannot run its layer, or a source
            or example of another kind.
        InputError: The example does not fit the network.
        MissingExtraError: The package ``onnx`` (for a torch module also ``onnxscript``) is not installed.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU())
        >>> program = compile(model, torch.ones(1, 8), measure=False)
        >>> program(torch.ones(3, 8)).shape
        torch.Size([3, 4])
    """
    try:
        from secateur.compiler.reading import load_network, network_of_module  # noqa: PLC0415  # needs onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f'compiling needs {error.name!r}, which is not installed: pip install "secateur[compile]"'
        ) from error
    batches = _batches(batch)
    if values not in get_args(ValueType):
        raise ConfigurationError(f"values must be one of {', '.join(get_args(ValueType))}; found {values!r}")
    given = _examples(example_inputs)
    if _is_module(source):
        if given is None:
            raise ConfigurationError(
                "a torch module is compiled from an example of its input: give example_inputs, a tensor or a "
                "tuple of tensors"
            )
        network = network_of_module(source, given)
    else:
        network = load_network(source)
    asked = fixed_kernels(kernels)
    model = packed(network.graph, network.constants, values=values, batch=batches[0], kernels=asked)
    added = {name: count for name, count in network.added.items() if name in model.weights}
    if added:
        model = replace(model, provenance={**model.provenance, ADDED_ZEROS: added})
    if given is not None:
        wanted = Program(model, threads=threads).inputs
        rows = batch_of(input_arrays(given, wanted), wanted)
        if _is_module(source):
            # What rounded weights change is what the caller asked for.
            exact = (
                model
                if values == "float32"
                else packed(network.graph, network.constants, values="float32", batch=batches[0])
            )
            compared = Program(exact, threads=threads)
            for size in sizes_to_compare(rows):
                check_agreement(source, compared, examples_at(exact.graph, given, size))
    if measure:
        path = default_cache() if cache is None else Path(cache)
        remembered = read_times(path)
        known = {layer: dict(times) for layer, times in remembered.items()}
        for turn, size in enumerate(batches):
            inputs = examples_at(model.graph, given, size)
            model = tuned(
                model,
                inputs,
                batch=size,
                threads=Program(model, threads=threads).threads,
                reorder=_free(model.graph, asked) if turn == 0 else frozenset(),
                remembered=remembered,
            )
        if remembered != known:
            # A cache folder that cannot be written costs time alone; a file that was asked for is an order.
            with suppress(*(() if cache is not None else (StorageError,))):
                write_times(path, remembered)
    program = Program(decided(model, asked, batches[0], threads), threads=threads, kernels=kernels)
    program.bind(batches[0])
    return program


def decided(model: Model, kernels: Mapping[str, str], batch: int, threads: int | None) -> Model:
    """A model that keeps kernels which were asked for, whatever was measured: a file of it has them too.

    Args:
        model: Graph, weights and choices.
        kernels: Kernels by layer name.
        batch: The batch size they are for, where nothing was measured.
        threads: The number of threads, likewise.

    Returns:
        The same model where no kernels were asked for.
    """
    if not kernels:
        return model
    measured = Program(model, threads=threads)
    choices = model.choices or (KernelChoice(measured.isa, cpu_name(), batch, measured.threads, {}),)
    return replace(
        model, choices=tuple(replace(each, kernels={**each.kernels, **kernels}) for each in choices)
    )


def packed(
    graph: Graph,
    constants: Mapping[str, NDArray[Any]],
    *,
    values: ValueType,
    batch: int,
    kernels: Mapping[str, str] | None = None,
) -> Model:
    """Pack the weights of a network.

    Args:
        graph: What is computed.
        constants: Its numbers.
        values: What the weights' values are rounded to.
        batch: The batch size that it shall be fastest at: it decides whether linear weights start out by
            rows or by columns.
        kernels: Kernels by layer name that shall run: their weights are laid out as these want them.

    Returns:
        The model, without kernel choices.
    """
    graph, constants = _storable(*_told_apart(graph, constants))
    weights: dict[str, PackedWeight] = {}
    vanished = 0
    for node in graph.nodes:
        if isinstance(node, Convolution | Linear) and node.weight not in weights:
            numbers = constants[node.weight]
            rounded = round_values(np.ascontiguousarray(numbers, np.float32), values, node.weight)
            vanished += rounded.vanished
            order = _order(node, numbers, batch, (kernels or {}).get(node.name))
            weights[node.weight] = pack(rounded.values, order=order)
    tensors = {name: np.asarray(array, order="C") for name, array in constants.items() if name not in weights}
    provenance = {"vanished": vanished} if vanished else {}
    return Model(graph=graph, weights=weights, tensors=tensors, provenance=provenance)


def examples_at(graph: Graph, given: Sequence[NDArray[Any]] | None, batch: int) -> list[NDArray[Any]]:
    """Inputs of a batch size: the caller's examples repeated or cut, or numbers drawn at random.

    Args:
        graph: What is computed.
        given: The caller's examples, if any.
        batch: At least 1.

    Returns:
        An array for every input of the graph; random ones are normally distributed, indices are zero.
        Examples of one repeated number each, such as ``torch.zeros(1, 3, 224, 224)``, only tell the shape:
        timed on zeros, kernels that skip zeros would win everywhere.
    """
    draw = np.random.default_rng(0)
    values = {value.name: value for value in graph.values}
    wanted = [(resolve(values[name].shape, batch), values[name].dtype) for name in graph.inputs]
    examples = [
        np.resize(example, shape).astype(DTYPES[dtype])
        for example, (shape, dtype) in zip(given or (), wanted, strict=False)
    ]
    numbers = [example for example in examples if example.dtype == np.float32]
    shapes_alone = all(_says_its_shape_alone(example) for example in numbers)
    arrays: list[NDArray[Any]] = []
    for place, (shape, dtype) in enumerate(wanted):
        if place < len(examples) and not (dtype == "float32" and shapes_alone):
            arrays.append(examples[place])
        elif dtype == "float32":
            arrays.append(draw.standard_normal(shape).astype(np.float32))
        else:
            arrays.append(np.zeros(shape, DTYPES[dtype]))
    return arrays


def _says_its_shape_alone(example: NDArray[Any]) -> bool:
    return example.size > 1 and bool((example == example.flat[0]).all())


def _told_apart(
    graph: Graph, constants: Mapping[str, NDArray[Any]]
) -> tuple[Graph, Mapping[str, NDArray[Any]]]:
    """Give what a layer and another node both read two names: one is packed and the other is plain.

    So it is with an embedding that is tied to the last layer.
    """
    weighted = {node.weight for node in graph.nodes if isinstance(node, Convolution | Linear)}
    plain = {
        name
        for node in graph.nodes
        for name in (
            (node.source, node.bias, node.residual) if isinstance(node, Convolution | Linear) else reads(node)
        )
        if name is not None
    }
    taken = {*constants, *(value.name for value in graph.values)}
    names: dict[str, str] = {}
    for name in sorted(weighted & plain):
        names[name] = unused(f"{name}.packed", taken)
        taken.add(names[name])
    if not names:
        return graph, constants
    nodes = tuple(
        replace(node, weight=names.get(node.weight, node.weight))
        if isinstance(node, Convolution | Linear)
        else node
        for node in graph.nodes
    )
    both = {**constants, **{new: constants[old] for old, new in names.items()}}
    return replace(graph, nodes=nodes, constants=(*graph.constants, *names.values())), both


def _storable(
    graph: Graph, constants: Mapping[str, NDArray[Any]]
) -> tuple[Graph, Mapping[str, NDArray[Any]]]:
    """Give constants another name where theirs is that of a weight's array in the file, or reserved."""
    weighted = {node.weight for node in graph.nodes if isinstance(node, Convolution | Linear)}
    claimed = {RESERVED, *(name for weight in weighted for name in names_of_weight(weight))}
    taken = {*claimed, *constants, *(value.name for value in graph.values)}
    names: dict[str, str] = {}
    for name in graph.constants:
        if name in claimed:
            names[name] = unused(name.replace(":", ".").strip("_"), taken)
            taken.add(names[name])
    if not names:
        return graph, constants
    nodes = tuple(renamed(node, names) for node in graph.nodes)
    told = tuple(names.get(name, name) for name in graph.constants)
    # A weight that has a new name claims others: once more, and no new name is claimed, as none has a colon.
    return _storable(
        replace(graph, nodes=nodes, constants=told),
        {names.get(name, name): array for name, array in constants.items()},
    )


def _order(node: Convolution | Linear, numbers: NDArray[Any], batch: int, kernel: str | None) -> Order:
    if isinstance(node, Convolution):
        return "rows"
    if kernel is not None and kernel in _ORDERS:
        return _ORDERS[kernel]
    sparse = np.count_nonzero(numbers) < _COLUMNS_BELOW * numbers.size
    return "columns" if sparse and batch == 1 else "rows"


def _free(graph: Graph, kernels: Mapping[str, str]) -> frozenset[str]:
    """The layers whose weights may be laid out anew: nobody asked for their kernel or shares them."""
    nodes = [node for node in graph.nodes if isinstance(node, Convolution | Linear)]
    readers = Counter(node.weight for node in nodes)
    return frozenset(node.name for node in nodes if node.name not in kernels and readers[node.weight] == 1)


def _batches(batch: int | Sequence[int]) -> tuple[int, ...]:
    try:
        batches = tuple(index(size) for size in (batch if isinstance(batch, Iterable) else (batch,)))
    except TypeError:
        batches = ()
    if not batches or min(batches) < 1:
        raise ConfigurationError(f"batch must be at least 1, or several such sizes; found {batch!r}")
    return batches


def _examples(given: Any) -> list[Any] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        raise ConfigurationError(
            f"example_inputs: expected tensors or arrays in the order of the network's inputs, found a "
            f"{type(given).__name__} by name; give a tuple of its values"
        )
    examples = list(given) if isinstance(given, tuple | list) else [given]
    return [each.detach() if hasattr(each, "detach") else each for each in examples]  # tensors, without torch


def _is_module(source: Any) -> bool:
    # Without importing torch: whoever has a module has loaded it.
    return any(
        base.__module__ == "torch.nn.modules.module" and base.__name__ == "Module"
        for base in type(source).__mro__
    )
