"""A program: a compact network that runs."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from threading import Lock
from typing import Any, final

import numpy as np

from secateur.errors import ConfigurationError, FormatError, InputError, SecateurError
from secateur.format.graph import Convolution, Graph, Linear, Value, resolve
from secateur.format.model import Model
from secateur.format.structure import BATCHES
from secateur.format.writer import write_model
from secateur.runtime.arrays import DTYPES, batch_of, input_arrays, like, shape_text
from secateur.runtime.building import Builder
from secateur.runtime.choosing import Fixed, chooser, fixed_kernels, nearest
from secateur.runtime.indices import check_indices, looked_up
from secateur.runtime.kernels import KnownCalls, NativeProgram, best_isa
from secateur.runtime.weights import bound_weight

_MOST_THREADS = 2**31 - 1
_LARGEST_BATCH = 2**31 - 1
_BATCHES_KEPT = 16  # packed weights and memory of each


@final
@dataclass(frozen=True)
class LayerKernel:
    """Which kernel runs a layer.

    Attributes:
        layer: Its name.
        kernel: The kernel's name.
        reason: Why this one.
    """

    layer: str
    kernel: str
    reason: str


@final
@dataclass(frozen=True)
class Bound:
    """A program for one batch size."""

    native: NativeProgram
    kernels: tuple[LayerKernel, ...]
    candidates: Mapping[str, Sequence[str]]


@final
class Program:
    """A compact network, ready to run: NumPy arrays or torch tensors in, the same out.

    It may be called from several threads at once; each call has memory of its own, and the interpreter lock
    is released while it runs. For every batch size that it meets, it plans its memory once, and keeps that
    for the sixteen sizes that were used last.

    Args:
        model: Graph and packed weights, from a file or the compiler.
        threads: How many threads a call takes, unless it says so itself; all processors of the process if
            left out.
        kernels: Kernels by layer name, where the file's choice shall not count.

    Raises:
        FormatError: A packed weight is not what the file format allows.
        ConfigurationError: Threads < 1, a kernel for a layer that is not there, or ``SECATEUR_ISA`` cannot be
            honoured.

    Example:
        >>> program = Program(model)  # doctest: +SKIP
        >>> program(np.zeros((1, 784), np.float32)).shape  # doctest: +SKIP
        (1, 10)
    """

    def __init__(self, model: Model, *, threads: int | None = None, kernels: Fixed | None = None) -> None:
        self._model = model
        self._threads = checked_threads(threads)
        self._fixed = fixed_kernels(kernels)
        for layer in self._fixed:
            _check_layer(model.graph, layer)
        self._isa = best_isa()
        self._weights = {name: bound_weight(name, weight) for name, weight in model.weights.items()}
        self._inputs = _named(model.graph, model.graph.inputs)
        self._outputs = _named(model.graph, model.graph.outputs)
        self._looked_up = looked_up(model)
        self._bound: dict[int, Bound] = {}
        self._used: dict[int, int] = {}
        self._turns = itertools.count()
        self._known = KnownCalls()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Callable[..., Program], tuple[Model, int, Fixed]]:
        # What the native core holds is built again where the copy is: a pickle carries the packed weights.
        return _again, (self._model, self._threads, self._fixed)

    def __repr__(self) -> str:
        takes, gives = (
            ", ".join(f"{value.name} {shape_text(value.shape)}" for value in values)
            for values in (self._inputs, self._outputs)
        )
        return f"Program({takes} -> {gives}; {len(self._weights)} packed weights, {self._isa})"

    @property
    def graph(self) -> Graph:
        """What is computed."""
        return self._model.graph

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What a call takes, in this order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What a call gives, in this order."""
        return self._outputs

    @property
    def isa(self) -> str:
        """The instruction set it runs on."""
        return self._isa

    @property
    def threads(self) -> int:
        """How many threads a call takes unless it says so itself."""
        return self._threads

    @property
    def model(self) -> Model:
        """The graph and the packed weights."""
        return self._model

    def kernels(self, batch: int = 1) -> tuple[LayerKernel, ...]:
        """Which kernel runs each weighted layer, and why.

        Args:
            batch: The batch size asked about.

        Returns:
            One entry a convolution or linear layer, in the order in which they run.
        """
        return self.bind(batch).kernels

    def density(self, weight: str) -> float:
        """The fraction of a weight that is not zero, of what is the network's own.

        Args:
            weight: The name of a weighted layer's weight.

        Returns:
            0..1.

        Raises:
            ConfigurationError: There is no such weight.
        """
        if weight not in self._weights:
            raise ConfigurationError(
                f"weight {weight!r} is not in this program; expected one of {', '.join(self._weights)}"
            )
        # A file may say anything of what was added.
        return min(self._weights[weight].matrix.nonzeros / max(self._model.own_weights(weight), 1), 1.0)

    def measured_microseconds(self, layer: str, kernel: str, batch: int = 1) -> float | None:
        """What a kernel took when the network was compiled, if the file says so.

        Args:
            layer: A convolution's or linear layer's name.
            kernel: The kernel's name.
            batch: The batch size asked about.

        Returns:
            Microseconds; None where this was not measured on this instruction set at this batch size.
        """
        choice = nearest(self._model.choices, isa=self._isa, batch=batch)
        if choice is None or choice.batch != batch:
            return None
        return choice.microseconds.get(layer, {}).get(kernel)

    def save(self, path: str | Path) -> None:
        """Write the compact file; see ``docs/format.md``.

        Args:
            path: Where. A file that is there is replaced when the new one is whole.

        Raises:
            StorageError: The file system refused.
        """
        write_model(Path(path), self._model)

    def __call__(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run the network.

        Args:
            inputs: One array a graph input, float32 (int64 for indices), of the shapes that `inputs` says.
                C-contiguous arrays are read in place; others are copied.
            threads: How many threads this call takes.

        Returns:
            The output, or a tuple of them where there are several: torch tensors if any input was one.

        Raises:
            InputError: The number, a type or a shape of the inputs is not what the network takes, or an index
                is outside what it is looked up in.
            ConfigurationError: Threads < 1.
        """
        count = self._threads if threads is None else checked_threads(threads)
        if len(inputs) == 1:
            # A small network runs in less time than the checks below take: an array like one that passed them
            # before passes them again.
            result = self._known.run(inputs[0], count)
            if result is not None:
                return result
        arrays = input_arrays(inputs, self._inputs)
        batch = batch_of(arrays, self._inputs)
        check_indices(arrays, self._inputs, self._looked_up, batch)
        results = [np.empty(resolve(value.shape, batch), DTYPES[value.dtype]) for value in self._outputs]
        if batch == 0 and any(result.size for result in results):
            raise InputError("an empty batch: an output is over the whole batch; expected one at least")
        if batch > 0:
            bound = self.bind(batch)
            bound.native.run(arrays, results, count)
            if [value.dtype for value in (*self._inputs, *self._outputs)] == ["float32", "float32"]:
                with self._lock:
                    if self._bound.get(batch) is bound:  # not let go of meanwhile, for those of other calls
                        self._known.add(bound.native, arrays[0].shape, results[0].shape)
        given = [like(result, inputs) for result in results]
        return given[0] if len(given) == 1 else tuple(given)

    def bind(self, batch: int) -> Bound:
        """The native program for a batch size, built when it is first asked for.

        Raises:
            ConfigurationError: The batch size is below 1 or too large for the core, or a kernel that was
                asked for cannot run its layer.
            FormatError: The network breaks a rule of the file format that only the core checks.
        """
        found = self._bound.get(batch)
        if found is not None:  # without the lock: others may be building
            self._used[batch] = next(self._turns)
            return found
        try:
            batch = index(batch)
        except TypeError as error:
            raise ConfigurationError(f"batch must be a whole number, found {batch!r}") from error
        if not 1 <= batch <= _LARGEST_BATCH:
            expected = "at least 1" if batch < 1 else f"at most {_LARGEST_BATCH}"
            raise ConfigurationError(f"batch must be {expected}, found {batch}")
        with self._lock:
            try:
                found = self._bound.get(batch) or self._build(batch)
            except SecateurError:
                raise
            except ValueError as error:  # of the core, whose sizes have limits
                if batch <= max(BATCHES):  # at these the file's own shapes are checked
                    raise FormatError(f"the network cannot be run: {error}") from error
                raise ConfigurationError(
                    f"the network cannot be run at batch {batch}: {error}; expected a smaller batch"
                ) from error
            self._used[batch] = next(self._turns)
            self._bound[batch] = found
            if len(self._bound) > _BATCHES_KEPT:
                oldest = min(self._bound, key=self._used.__getitem__)
                del self._bound[oldest], self._used[oldest]
                # Calls that were known did not count: those that are still made are seen again now.
                self._known.clear()
            return found

    def timer(self, inputs: Sequence[Any], threads: int) -> Callable[[int], Sequence[int]]:
        """What measures whole runs, inside the core: no Python between them.

        Args:
            inputs: As for a call.
            threads: How many threads a run takes.

        Returns:
            A function of a number of runs that gives the nanoseconds of each.
        """
        arrays = input_arrays(inputs, self._inputs)
        batch = batch_of(arrays, self._inputs)
        results = [np.empty(resolve(value.shape, batch), DTYPES[value.dtype]) for value in self._outputs]
        native = self.bind(batch).native
        return lambda repeats: native.time(arrays, results, threads, repeats)

    def candidates(self, layer: str, batch: int = 1) -> list[str]:
        """The kernels that can run a layer.

        Args:
            layer: A convolution's or linear layer's name.
            batch: The batch size asked about.

        Returns:
            Names, for ``kernels``.

        Raises:
            ConfigurationError: There is no such layer.
        """
        _check_layer(self.graph, layer)
        return list(self.bind(batch).candidates[layer])

    def _build(self, batch: int) -> Bound:
        native = NativeProgram(self._isa)
        constants = {name: native.constant(tensor) for name, tensor in self._model.tensors.items()}
        shapes = {name: tensor.shape for name, tensor in self._model.tensors.items()}
        choose = chooser(self._model.choices, self._fixed, isa=self._isa, batch=batch)
        reasons: dict[str, str] = {}
        candidates: dict[str, list[str]] = {}

        def chosen(builder: Builder, node: Convolution | Linear) -> str:
            candidates[node.name] = builder.candidates(node)
            choice = choose(builder, node, candidates[node.name])
            reasons[node.name] = choice.reason
            return choice.kernel

        builder = Builder(self.graph, batch, self._weights, constants, shapes, native, chosen)
        builder.build(self._threads)
        return Bound(
            native,
            tuple(LayerKernel(name, kernel, reasons[name]) for name, kernel in builder.kernels.items()),
            candidates,
        )


def checked_threads(threads: int | None) -> int:
    """A number of threads, by default as many as processors that this process may use.

    Raises:
        ConfigurationError: It is no whole number, below 1, or more than the core can count.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        count = index(threads)
    except TypeError as error:
        raise ConfigurationError(f"threads must be a whole number, found {threads!r}") from error
    if not 1 <= count <= _MOST_THREADS:
        expected = "at least 1" if count < 1 else f"at most {_MOST_THREADS}"
        raise ConfigurationError(f"threads must be {expected}, found {count}")
    return count


def _check_layer(graph: Graph, layer: str) -> None:
    layers = [node.name for node in graph.nodes if isinstance(node, Convolution | Linear)]
    if layer not in layers:
        raise ConfigurationError(
            f"there is no convolution or linear layer {layer!r}; there are {', '.join(layers) or 'none'}"
        )


def _again(model: Model, threads: int, kernels: Fixed) -> Program:
    return Program(model, threads=threads, kernels=kernels)


def _named(graph: Graph, names: Sequence[str]) -> tuple[Value, ...]:
    values = {value.name: value for value in graph.values}
    return tuple(values[name] for name in names)
