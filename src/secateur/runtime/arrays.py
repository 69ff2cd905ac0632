"""What callers give and get: NumPy arrays and torch tensors, checked against what a network takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import InputError
from secateur.format.graph import Batch, Shape, Value

DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "int64": np.dtype(np.int64)}


def input_arrays(given: Sequence[Any], wanted: Sequence[Value]) -> list[NDArray[Any]]:
    """The inputs as C-contiguous arrays of the right types and ranks; in place where they are so already.

    Args:
        given: Arrays or tensors, one a value.
        wanted: What the network takes.

    Returns:
        An array for each.

    Raises:
        InputError: Another number of inputs, another type, or another rank.
    """
    if len(given) != len(wanted):
        names = ", ".join(f"{value.name} {shape_text(value.shape)}" for value in wanted)
        raise InputError(f"expected {len(wanted)} inputs ({names}), found {len(given)}")
    return [_array(each, value) for each, value in zip(given, wanted, strict=True)]


def batch_of(arrays: Sequence[NDArray[Any]], wanted: Sequence[Value]) -> int:
    """The batch size that makes the arrays' shapes those of the values.

    Args:
        arrays: Of the right ranks.
        wanted: What the network takes.

    Returns:
        At least 0; 1 where nothing grows with the batch.

    Raises:
        InputError: A dimension is not what it should be, or two inputs have different batch sizes.
    """
    found: dict[int, str] = {}
    for array, value in zip(arrays, wanted, strict=True):
        for axis, (size, dim) in enumerate(zip(array.shape, value.shape, strict=True)):
            whole = size % dim.multiple == 0 if isinstance(dim, Batch) else size == dim
            if not whole:
                raise InputError(
                    f"input {value.name!r}: expected shape {shape_text(value.shape)}, found "
                    f"{shape_text(array.shape)}, which differs in dimension {axis}"
                )
            if isinstance(dim, Batch):
                found.setdefault(size // dim.multiple, value.name)
    if len(found) > 1:
        sizes = ", ".join(f"{name!r} has {batch}" for batch, name in found.items())
        raise InputError(f"all inputs must have one batch size; {sizes}")
    return next(iter(found), 1)


def like(result: NDArray[Any], inputs: Sequence[Any]) -> Any:
    """A result as the caller's kind of array.

    Args:
        result: A NumPy array.
        inputs: What the caller gave.

    Returns:
        A torch tensor of the same memory where any input was one, else the array.
    """
    if any(_is_tensor(each) for each in inputs):
        # Whoever gives tensors has torch loaded; the runtime itself never imports it.
        return sys.modules["torch"].from_numpy(result)
    return result


def shape_text(shape: Shape) -> str:
    """A shape for people; a dimension that grows with the batch is ``batch`` or a multiple of it.

    Example:
        >>> shape_text((Batch(), 3, Batch(4)))
        '(batch, 3, 4*batch)'
    """
    words = [
        str(dim) if isinstance(dim, int) else "batch" if dim.multiple == 1 else f"{dim.multiple}*batch"
        for dim in shape
    ]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def _array(given: Any, value: Value) -> NDArray[Any]:
    if isinstance(given, np.ndarray):
        array = given
    elif _is_tensor(given):
        if given.requires_grad or given.device.type != "cpu":
            raise InputError(
                f"input {value.name!r}: expected a tensor on the CPU that needs no gradient, found one on "
                f"{given.device} with requires_grad={given.requires_grad}; give tensor.detach().cpu()"
            )
        try:
            array = given.numpy()
        except (TypeError, RuntimeError) as error:  # NumPy has no such type or layout
            raise InputError(
                f"input {value.name!r}: expected a dense tensor of {value.dtype}, found one of "
                f"{given.dtype}, {given.layout}"
            ) from error
    else:
        raise InputError(
            f"input {value.name!r}: expected a NumPy array or a torch tensor, found {type(given).__name__}"
        )
    expected = DTYPES[value.dtype]
    if array.dtype != expected:
        raise InputError(
            f"input {value.name!r}: expected {expected}, found {array.dtype}; "
            f"give array.astype(np.{expected})"
        )
    if array.ndim != len(value.shape):
        raise InputError(
            f"input {value.name!r}: expected shape {shape_text(value.shape)}, found {shape_text(array.shape)}"
        )
    return np.require(array, requirements=["C", "A"])  # in place where it is so already


def _is_tensor(given: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.Tensor)
