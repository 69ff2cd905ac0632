"""What an ONNX node works on while it is translated: tensors known now, and values known at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from secateur.compiler.network import Array
from secateur.errors import UnsupportedModelError
from secateur.format.graph import Batch, Dim, Shape, Value


@final
@dataclass(frozen=True)
class Known:
    """A tensor that is known while compiling, for each batch size that is tried.

    Attributes:
        at: One array for each batch size; all one object where the tensor does not depend on it.
        label: The name that it had in the model, or of the initialiser that it was made from.
    """

    at: tuple[Array, ...]
    label: str

    @property
    def fixed(self) -> Array | None:
        """The tensor, unless it depends on the batch."""
        return self.at[0] if all(array is self.at[0] for array in self.at) else None


Operand = Known | Value


def known(arrays: Sequence[Array], label: str) -> Known:
    """A known tensor; equal arrays become one.

    Args:
        arrays: One for each batch size that is tried.
        label: Its name.

    Returns:
        The tensor.

    Example:
        >>> known([np.array([1, 3]), np.array([2, 3])], "shape").fixed is None
        True
        >>> int(known([np.array(3), np.array(3)], "channels").fixed)
        3
    """
    first = arrays[0]
    if all(array is first or _same(array, first) for array in arrays[1:]):
        return Known((first,) * len(arrays), label)
    return Known(tuple(arrays), label)


def _same(array: Array, other: Array) -> bool:
    return array.dtype == other.dtype and np.array_equal(array, other)


@final
@dataclass(frozen=True)
class Call:
    """One ONNX node with what it is applied to.

    Attributes:
        name: The node's own name, or that of its first output.
        operator: Its op_type.
        version: The opset version in which this operator's present definition appeared.
        inputs: None where an optional input is left out.
        outputs: With the shapes that ONNX infers; None where an optional output is left out.
        attributes: Those that are given.
        probes: The batch sizes that are tried.
        module: The path of the torch module that the node was exported for, where the model says so.
    """

    name: str
    operator: str
    version: int
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    probes: tuple[int, ...]
    module: str | None = None

    def refused(self, found: str, expected: str) -> UnsupportedModelError:
        """The error that this node cannot be translated: what was found, and what is supported."""
        return UnsupportedModelError(f"node {self.name!r} ({self.operator}): {found}; supported: {expected}")

    @property
    def output(self) -> Value:
        """The first output."""
        output = self.outputs[0]
        if output is None:
            raise self.refused("its first output is left out", "nodes with a first output")
        return output

    def only_output(self) -> Value:
        """The first output, where no other may be asked for."""
        if any(output is not None for output in self.outputs[1:]):
            raise self.refused("more than its first output is used", "the first output alone")
        return self.output

    def has(self, position: int) -> bool:
        """Whether an input is given."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def operand(self, position: int) -> Operand:
        """An input that must be given."""
        operand = self.inputs[position] if position < len(self.inputs) else None
        if operand is None:
            raise self.refused(f"its input {position} is left out", "this input given")
        return operand

    def value(self, position: int) -> Value:
        """An input that is computed at run time."""
        operand = self.operand(position)
        if isinstance(operand, Known):
            raise self.refused(
                f"its input {position} ({operand.label!r}) is a constant", "an input that is computed"
            )
        return operand

    def array(self, position: int, role: str) -> Array:
        """An input that must be a constant, the same for every batch size."""
        operand = self.operand(position)
        fixed = operand.fixed if isinstance(operand, Known) else None
        if fixed is None:
            name = operand.label if isinstance(operand, Known) else operand.name
            raise self.refused(
                f"its {role} ({name!r}) is computed while the network runs", f"a constant {role}"
            )
        return fixed

    def optional_array(self, position: int, role: str) -> Array | None:
        """An input that must be a constant where it is given."""
        return self.array(position, role) if self.has(position) else None

    def label(self, position: int) -> str:
        """The name of an input."""
        operand = self.operand(position)
        return operand.label if isinstance(operand, Known) else operand.name

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        return tuple(int(number) for number in self.attributes.get(name, default))

    def integer(self, name: str, default: int) -> int:
        """An attribute that is an integer."""
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """An attribute that is a float."""
        return float(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """An attribute that is a string."""
        found = self.attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else str(found)

    def axis(self, default: int, rank: int) -> int:
        """The attribute ``axis`` counted from the front."""
        return self.from_front(self.integer("axis", default), rank)

    def from_front(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < max(rank, 1):
            raise self.refused(f"axis {axis} of an input with {rank} dimensions", "an axis of its input")
        return axis % rank if rank else 0

    def fixed_dims(self, shape: Shape, of: str) -> tuple[int, ...]:
        """Dimensions that must not grow with the batch."""
        if any(isinstance(dim, Batch) for dim in shape):
            raise self.refused(f"{of} grow with the batch", "batches along the first dimension")
        return tuple(dim for dim in shape if isinstance(dim, int))


def dims_of(sizes: Sequence[int], probes: Sequence[int]) -> Dim | None:
    """The dimension that has these sizes at the probed batch sizes.

    Args:
        sizes: One for each probe.
        probes: Batch sizes.

    Returns:
        An integer, a multiple of the batch, or None where it is neither.

    Example:
        >>> dims_of((4, 8, 28), (1, 2, 7)), dims_of((4, 4, 4), (1, 2, 7)), dims_of((4, 5, 10), (1, 2, 7))
        (Batch(multiple=4), 4, None)
    """
    if len(set(sizes)) == 1:
        return sizes[0]
    multiple, rest = divmod(sizes[0], probes[0])
    if rest == 0 and all(size == multiple * probe for size, probe in zip(sizes, probes, strict=True)):
        return Batch(multiple)
    return None


def growing(arrays: Sequence[Array], probes: Sequence[int]) -> Shape | None:
    """The shape that a tensor has at the probed batch sizes.

    Args:
        arrays: The tensor at each of them.
        probes: Batch sizes.

    Returns:
        Integers and multiples of the batch, or None where a dimension is neither or the rank differs.

    Example:
        >>> growing([np.ones((1, 3)), np.ones((2, 3))], (1, 2))
        (Batch(multiple=1), 3)
    """
    if len({array.ndim for array in arrays}) > 1:
        return None
    dims = [dims_of(sizes, probes) for sizes in zip(*(array.shape for array in arrays), strict=True)]
    shape = tuple(dim for dim in dims if dim is not None)
    return shape if len(shape) == len(dims) else None


def once(arrays: Sequence[Array], shape: Shape) -> Array | None:
    """What is repeated along the batch in a tensor.

    Args:
        arrays: The tensor at each batch size.
        shape: What ``growing`` makes of them.

    Returns:
        The numbers of which all arrays are repetitions, with a 1 for every dimension that grows; or None
        where they differ.

    Example:
        >>> once([np.array([[1, 2]]), np.array([[1, 2], [1, 2]])], (Batch(), 2))
        array([[1, 2]])
    """
    base = arrays[0][tuple(slice(1) if isinstance(dim, Batch) else slice(None) for dim in shape)]
    return base if all(_repeats(array, base, shape) for array in arrays) else None


def _repeats(array: Array, base: Array, shape: Shape) -> bool:
    # A tensor at a batch of millions is a view whose rows are one and the same: one of them is looked at.
    rows = tuple(
        slice(1) if isinstance(dim, Batch) and stride == 0 else slice(None)
        for dim, stride in zip(shape, array.strides, strict=True)
    )
    distinct = array[rows]
    return np.array_equal(distinct, np.broadcast_to(base, distinct.shape))
