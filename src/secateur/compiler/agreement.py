"""A program beside the torch module that it was made from: what both give for the same numbers.

torch's exporter decides what forward asks of the batch size (``if x.shape[0] == 1``) once, for the batch that
it exports, and does not always say so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.compiler.network import Array
from secateur.errors import UnsupportedModelError
from secateur.runtime.program import Program

if TYPE_CHECKING:
    from torch import nn

# Of the largest number of an output: sums in another order and fast convolutions stay well below.
_TOLERANCE = 1e-3
# Below this, what is left of numbers that cancel out is no difference.
_NOISE = 1e-6
# One image, which exporters take for a special case, and an even number of them.
_SIZES = (1, 2)
# A caller's example may be a whole data set.
_MOST_ROWS = 8


def sizes_to_compare(batch: int) -> tuple[int, ...]:
    """The batch sizes at which a program and its module are compared.

    Args:
        batch: That of the caller's example.

    Returns:
        A few small ones, the example's own among them unless it is large.

    Example:
        >>> sizes_to_compare(1), sizes_to_compare(4), sizes_to_compare(60000)
        ((1, 2), (1, 2, 4), (1, 2, 8))
    """
    return tuple(sorted({*_SIZES, min(max(batch, 1), _MOST_ROWS)}))


def check_agreement(module: nn.Module, program: Program, inputs: Sequence[Array]) -> None:
    """Compare what a program and its module give.

    Args:
        module: The network; it is left as it is, its buffers and torch's random numbers included.
        program: What became of it, with weights that are not rounded.
        inputs: Of one batch size.

    Raises:
        UnsupportedModelError: They give something else. Where forward itself fails at a batch size, there is
            nothing to compare.
    """
    expected = outputs_of(module, inputs)
    if expected is None:
        return
    given = program(*(array.copy() for array in inputs))
    found = list(given) if isinstance(given, tuple) else [given]
    difference = first_difference(found, expected)
    if difference is not None and not _trembles(module, inputs, expected):
        shapes = ", ".join(str(array.shape) for array in inputs)
        raise UnsupportedModelError(
            f"{type(module).__name__}: for inputs of shape {shapes}, {difference}. Either its forward "
            "decides by the batch size (an if on x.shape[0]), which torch.onnx.export has done once and for "
            "all, or it was exported or compiled wrongly; expected a forward that does the same for every "
            "batch size. An ONNX file that you exported yourself is compiled as it is"
        )


def _trembles(module: nn.Module, inputs: Sequence[Array], expected: Sequence[Array]) -> bool:
    """Whether the module differs from itself where its inputs differ by rounding: it tells nothing then."""
    nearby = [array * array.dtype.type(1 + _NOISE) if array.dtype.kind == "f" else array for array in inputs]
    found = outputs_of(module, nearby)
    return found is not None and first_difference(found, expected) is not None


def first_difference(found: Sequence[Array], expected: Sequence[Array]) -> str | None:
    """Where two lists of outputs differ by more than rounding.

    Args:
        found: By the program.
        expected: By the module.

    Returns:
        Words, or None where they are the same; not-a-number is equal to itself.

    Example:
        >>> first_difference([np.array([1.0, 2.5])], [np.array([1.0, 2.0])])
        'the program gives 2.5 where the module gives 2 (output 1, place (1,))'
        >>> first_difference([np.array([1.0, 2.0001])], [np.array([1.0, 2.0])]) is None
        True
    """
    if len(found) != len(expected):
        return f"the program gives {len(found)} outputs where the module gives {len(expected)}"
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True), 1):
        if ours.shape != theirs.shape:
            return f"output {number} of the program is {ours.shape} where the module's is {theirs.shape}"
        largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
        near = np.isclose(ours, theirs, rtol=0.0, atol=_TOLERANCE * largest + _NOISE, equal_nan=True)
        if not near.all():
            place = tuple(int(axis[0]) for axis in np.nonzero(~near))
            return (
                f"the program gives {ours[place]:.6g} where the module gives {theirs[place]:.6g} (output "
                f"{number}, place {place})"
            )
    return None


def outputs_of(module: nn.Module, inputs: Sequence[Array]) -> list[Array] | None:
    """What a torch module gives in evaluation mode, its tensors in the order in which they are exported.

    Args:
        module: The network; it runs on copies of its parameters and buffers, which it may write to.
        inputs: What forward takes; copies are given.

    Returns:
        The outputs, or None where forward fails on them.
    """
    import torch  # noqa: PLC0415  # the compiler works where torch is not installed
    from torch.utils._pytree import tree_leaves  # noqa: PLC0415  # by which torch.export orders outputs

    from secateur.pruning.modes import evaluating  # noqa: PLC0415  # needs torch

    tensors = [torch.from_numpy(array.copy()) for array in inputs]
    state = {
        name: each.detach().clone() for name, each in chain(module.named_parameters(), module.named_buffers())
    }
    # What torch.compile made of a module would be compiled for its own sake.
    stance = getattr(torch.compiler, "set_stance", None)
    eager: Any = nullcontext() if stance is None else stance("force_eager")
    random = torch.random.fork_rng(devices=[])
    with evaluating(module), torch.no_grad(), random, eager, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter has run forward, too, and what it says has been said
        try:
            given = torch.func.functional_call(module, state, tuple(tensors))
        except Exception:  # noqa: BLE001  # forward is the caller's own code
            return None
    return [leaf.detach().numpy() for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]
