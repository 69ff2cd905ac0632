"""What a node gives where all that it reads is known: ONNX's reference evaluator, asked while compiling.

It is asked once for each of the batch sizes that are tried. What would be too much at a large batch is
continued from the small ones where it can be nothing but the same numbers more often, and else refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from secateur.compiler.inference import Opsets, types_at
from secateur.compiler.network import Array
from secateur.compiler.operands import Call, Known, dims_of, growing, known, once
from secateur.errors import UnsupportedModelError
from secateur.format.graph import resolve

# Inputs of which the result takes the shape or the type alone, so that it is known though they are not.
_NUMBERS_UNREAD = {"Shape": 0, "Size": 0, "CastLike": 1}
# Inputs that are the sizes of the result: what is in proportion there is in proportion in the result.
_SIZES = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1, "Tile": 1}
_RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
# Up to this batch size everything is computed, as a model of this batch size would.
_COMPUTED = 7
# Above it, tensors that grow with the batch are computed up to this many numbers: a class token of 1000
# images is one of them, a mask of a million images is not.
_MOST_NUMBERS = 1 << 20


def folds(call: Call) -> bool:
    """Whether a node can be computed while compiling.

    Args:
        call: The node; its outputs are not looked at.

    Returns:
        True where every number that it reads is known.

    Raises:
        UnsupportedModelError: It draws random numbers.
    """
    if call.operator in _RANDOM:
        raise call.refused("it draws random numbers", "networks that give the same for the same input")
    unread = _NUMBERS_UNREAD.get(call.operator)
    return all(
        operand is None or isinstance(operand, Known) or position == unread
        for position, operand in enumerate(call.inputs)
    )


def fold(call: Call, node: onnx.NodeProto, opsets: Opsets) -> tuple[Known | None, ...]:
    """Compute a node with ONNX's reference evaluator, once for each batch size that matters.

    Args:
        call: A node of which ``folds`` says True.
        node: The same node as ONNX has it.
        opsets: Of the model.

    Returns:
        One tensor for each output that has a name.

    Raises:
        UnsupportedModelError: The evaluator cannot compute the node, or its result is too large to be
            computed at a large batch and may depend on the batch otherwise than by its size.
    """
    if all(
        operand is None or (isinstance(operand, Known) and operand.fixed is not None)
        for operand in call.inputs
    ):
        results = [_evaluated(call, node, opsets, 0)] * len(call.probes)
    else:
        results = []
        for probe in range(len(call.probes)):
            shapes = _too_large(call, node, opsets, probe)
            results.append(
                _evaluated(call, node, opsets, probe)
                if shapes is None
                else _continued(call, node, results, shapes)
            )
    label = _origin(call)
    return tuple(
        known([result[position] for result in results], label or name) if name else None
        for position, name in enumerate(node.output)
    )


def _origin(call: Call) -> str | None:
    # What only moves an initialiser's numbers keeps its name: it is what users know the layer by.
    moved = call.operator in ("Transpose", "Identity", "Reshape", "Cast", "Squeeze", "Unsqueeze", "Flatten")
    return call.label(0) if moved else None


def _evaluated(call: Call, node: onnx.NodeProto, opsets: Opsets, probe: int) -> list[Array]:
    feeds: dict[str, Array] = {}
    for name, operand in zip(node.input, call.inputs, strict=True):
        if isinstance(operand, Known):
            feeds[name] = operand.at[probe]
        elif operand is not None:
            # No memory: every place of the stand-in is one and the same number.
            feeds[name] = np.broadcast_to(
                np.zeros((), operand.dtype), resolve(operand.shape, call.probes[probe])
            )
    try:
        results = ReferenceEvaluator(node, opsets=dict(opsets.versions)).run(None, feeds)
    except Exception as error:  # the evaluator's operators raise whatever NumPy does
        raise call.refused(
            f"it works on constants alone, but cannot be computed from them ({type(error).__name__}: "
            f"{error})",
            "nodes on constants that ONNX's reference evaluator computes",
        ) from error
    return [np.asarray(result) for result in results]


def _too_large(
    call: Call, node: onnx.NodeProto, opsets: Opsets, probe: int
) -> list[tuple[int, ...] | None] | None:
    """The shapes of a node's outputs where it reads or writes too much to be computed at a batch size."""
    if call.probes[probe] <= _COMPUTED or call.operator in ("Shape", "Size"):
        return None
    types = types_at(call, node, opsets, probe)
    shapes = [_shape(types[name]) if name in types else None for name in node.output]
    written = (math.prod(shape) for shape in shapes if shape is not None)
    read = (
        operand.at[probe].size
        for operand in call.inputs
        if isinstance(operand, Known) and operand.fixed is None
    )
    return shapes if max((*written, *read), default=0) > _MOST_NUMBERS else None


def _shape(kind: onnx.TypeProto) -> tuple[int, ...] | None:
    shape = kind.tensor_type.shape
    open_ = not kind.tensor_type.HasField("shape") or not all(dim.HasField("dim_value") for dim in shape.dim)
    return None if open_ else tuple(dim.dim_value for dim in shape.dim)


def _continued(
    call: Call,
    node: onnx.NodeProto,
    before: Sequence[list[Array]],
    shapes: Sequence[tuple[int, ...] | None],
) -> list[Array]:
    """The results at the next batch size from those before: the same numbers, repeated more often."""
    for position, operand in enumerate(call.inputs):
        if isinstance(operand, Known) and not _repeats(call, position, operand):
            raise _depends(call, operand.label)
    probes = call.probes[: len(before)]
    results: list[Array] = []
    for position, (name, shape) in enumerate(zip(node.output, shapes, strict=True)):
        arrays = [each[position] for each in before]
        dims = growing(arrays, probes)
        base = None if dims is None else once(arrays, dims)
        if not name:
            results.append(arrays[0])  # nobody reads it
        elif dims is None or base is None or resolve(dims, call.probes[len(before)]) != shape:
            raise _depends(call, name)
        else:
            results.append(np.broadcast_to(base, shape))
    return results


def _repeats(call: Call, position: int, operand: Known) -> bool:
    # Whether the batch decides nothing but how often something is repeated.
    dims = growing(operand.at, call.probes)
    if dims is None:
        return False
    if position != _SIZES.get(call.operator):
        return once(operand.at, dims) is not None
    sizes = zip(*(array.reshape(-1).tolist() for array in operand.at), strict=True)
    return all(dims_of(each, call.probes) is not None for each in sizes)


def _depends(call: Call, label: str) -> UnsupportedModelError:
    return call.refused(
        f"the numbers in {label!r} depend on the batch size",
        "constants, and constants repeated along the batch",
    )
