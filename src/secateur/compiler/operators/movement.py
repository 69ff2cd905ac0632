"""What moves numbers and changes none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from secateur.compiler.builder import Builder
from secateur.compiler.network import Array
from secateur.compiler.operands import Call, Known
from secateur.format.graph import (
    Batch,
    Concat,
    Dim,
    Expand,
    Gather,
    Pad,
    Reshape,
    Shape,
    Slice,
    Transpose,
    Value,
    resolve,
)

# The largest number of 32 bits: what models write as the end of a slice that has none.
_UNREACHED = 2**31 - 1


def reshape(call: Call, build: Builder) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze, Identity, and Dropout and casts that change nothing."""
    if call.operator == "Dropout" and call.version >= 12 and call.has(2):
        training = call.array(2, "training_mode")
        if training.reshape(()):
            raise call.refused("it is in training mode", "inference; export the model in evaluation mode")
    target = call.only_output()
    source = call.value(0)
    if source.dtype != target.dtype:
        raise call.refused(f"it casts from {source.dtype} to {target.dtype}", "casts that change nothing")
    # ONNX's inference believes a written-out shape.
    for probe in call.probes:
        before, after = resolve(source.shape, probe), resolve(target.shape, probe)
        if math.prod(before) != math.prod(after):
            raise call.refused(
                f"{before} does not fit into {after} at batch size {probe}",
                "shapes that hold as many numbers at every batch size (export the model with a dynamic "
                "batch), or "
                "inputs of a fixed size",
            )
    build.add(Reshape(build.node_name(call.name), source.name, target.name))


def transpose(call: Call, build: Builder) -> None:
    """Transpose."""
    source = call.value(0)
    permutation = call.integers("perm", tuple(range(len(source.shape)))[::-1])
    build.add(Transpose(build.node_name(call.name), source.name, call.only_output().name, permutation))


def concat(call: Call, build: Builder) -> None:
    """Concat."""
    target = call.only_output()
    names = tuple(build.name(call, call.operand(position)) for position in range(len(call.inputs)))
    build.add(Concat(build.node_name(call.name), names, target.name, call.axis(1, len(target.shape))))


def split(call: Call, build: Builder) -> None:
    """Split: one slice for each part that is used."""
    source = call.value(0)
    axis = call.axis(0, len(source.shape))
    if isinstance(source.shape[axis], Batch):
        raise call.refused("it splits the batch", "splits of other dimensions")
    size = call.fixed_dims(source.shape[axis : axis + 1], "its dimension")[0]
    if call.version >= 13 and call.has(1):
        sizes = [int(number) for number in call.array(1, "split")]
    else:
        parts = call.integer("num_outputs", len(call.outputs))
        each = -(-size // parts)
        sizes = list(call.integers("split", (each,) * (parts - 1) + (size - each * (parts - 1),)))
    starts = np.cumsum([0, *sizes[:-1]])
    for start, output in zip(starts, call.outputs, strict=True):
        if output is not None:
            begin = [0] * len(source.shape)
            begin[axis] = int(start)
            name = build.node_name(call.name)
            build.add(Slice(name, source.name, output.name, tuple(begin), (1,) * len(begin)))


def slice_(call: Call, build: Builder) -> None:
    """Slice; starts, ends, axes and steps are attributes before operator set 10 and inputs since."""
    source, target = call.value(0), call.only_output()
    rank = len(source.shape)
    if call.version < 10:
        given = call.integers("starts", ())
        starts_at = [list(given)] * len(call.probes)
        ends_at = [list(call.integers("ends", ()))] * len(call.probes)
        axes = call.integers("axes", tuple(range(len(given))))
        steps_at = (1,) * len(given)
    else:
        starts_at, ends_at = _limits(call, 1, "starts"), _limits(call, 2, "ends")
        count = len(starts_at[0])
        axes = _integers(call.optional_array(3, "axes"), tuple(range(count)))
        steps_at = _integers(call.optional_array(4, "steps"), (1,) * count)
    starts, steps = [0] * rank, [1] * rank
    for index, (axis, step) in enumerate(zip(axes, steps_at, strict=True)):
        front = call.from_front(axis, rank)
        dim = source.shape[front]
        begins, ends = [each[index] for each in starts_at], [each[index] for each in ends_at]
        if isinstance(dim, Batch):
            if step != 1 or not _is_whole(begins, ends, [dim.multiple * probe for probe in call.probes]):
                raise call.refused(
                    f"it takes a part of the batch: from {_text(begins)} to {_text(ends)} by {step}, along "
                    f"axis {front}",
                    "parts of other dimensions, and all of the batch; take the part before the network runs",
                )
            continue
        found = {_start(begin, step, dim) for begin in begins}
        if len(found) > 1:
            raise call.refused("it starts where the batch size says", "starts that do not depend on it")
        starts[front], steps[front] = found.pop(), step
    build.add(Slice(build.node_name(call.name), source.name, target.name, tuple(starts), tuple(steps)))


def _limits(call: Call, position: int, role: str) -> list[list[int]]:
    operand = call.operand(position)
    if not isinstance(operand, Known):
        raise call.refused(f"its {role} ({operand.name!r}) are computed at run time", f"constant {role}")
    return [[int(number) for number in array] for array in operand.at]


def _is_whole(begins: Sequence[int], ends: Sequence[int], sizes: Sequence[int]) -> bool:
    # Whatever the batch size: a limit that does not grow with it must be one that no batch reaches.
    fixed_begin, fixed_end = len(set(begins)) == 1, len(set(ends)) == 1
    from_first = all(
        begin == 0 or begin <= (-_UNREACHED if fixed_begin else -size)
        for begin, size in zip(begins, sizes, strict=True)
    )
    return from_first and all(
        end >= (_UNREACHED if fixed_end else size) for end, size in zip(ends, sizes, strict=True)
    )


def _text(limits: Sequence[int]) -> str:
    return str(limits[0]) if len(set(limits)) == 1 else "a limit that depends on its size"


def _integers(array: Array | None, default: tuple[int, ...]) -> tuple[int, ...]:
    return default if array is None else tuple(int(number) for number in array)


def _start(start: int, step: int, size: int) -> int:
    counted = start + size if start < 0 else start
    return min(max(counted, 0), size if step > 0 else size - 1)


def pad(call: Call, build: Builder) -> None:
    """Pad, cutting off where a pad is negative."""
    source, target = call.value(0), call.only_output()
    rank = len(source.shape)
    mode = call.text("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise call.refused(f"mode is {mode!r}", "constant, reflect and edge")
    if call.version < 11:
        pads, value = call.integers("pads", ()), call.number("value", 0.0)
        axes: tuple[int, ...] = tuple(range(rank))
    else:
        pads = _integers(call.array(1, "pads"), ())
        fill = call.optional_array(2, "constant_value")
        value = 0.0 if fill is None or fill.size == 0 else float(fill.reshape(()))
        axes = _integers(call.optional_array(3, "axes"), tuple(range(rank)))
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        front = call.from_front(axis, rank)
        before[front], after[front] = pads[index], pads[index + len(axes)]
    name = source.name
    if min(before + after, default=0) < 0:
        name = _cut(call, build, before, after)
    build.add(
        Pad(
            build.node_name(call.name),
            name,
            target.name,
            tuple(max(count, 0) for count in before),
            "reflect" if mode == "reflect" else "edge" if mode == "edge" else "constant",
            value,
        )
    )


def _cut(call: Call, build: Builder, before: list[int], after: list[int]) -> str:
    source = call.value(0)
    shape: list[Dim] = []
    for dim, first, last in zip(source.shape, before, after, strict=True):
        less = min(first, 0) + min(last, 0)
        if less and isinstance(dim, Batch):
            raise call.refused("it cuts the batch", "other dimensions")
        shape.append(dim + less if isinstance(dim, int) else dim)
    cut = build.temporary(f"{call.name}.cut", tuple(shape))
    starts = tuple(max(-first, 0) for first in before)
    build.add(Slice(build.node_name(f"{call.name}.cut"), source.name, cut.name, starts, (1,) * len(starts)))
    return cut.name


def gather(call: Call, build: Builder) -> None:
    """Gather; one constant index is a slice."""
    data, target = call.operand(0), call.only_output()
    name = build.name(call, data)
    shape = build.shape(name)
    axis = call.axis(0, len(shape))
    if isinstance(shape[axis], Batch):
        raise call.refused("it picks from the batch", "other dimensions")
    size = call.fixed_dims(shape[axis : axis + 1], "its dimension")[0]
    indices = call.operand(1)
    fixed = indices.fixed if isinstance(indices, Known) else None
    if fixed is None:
        given = build.indices(build.name(call, indices))
        found = build.temporary(f"{call.name}.found", (*shape[:axis], *given.shape, *shape[axis + 1 :]))
        build.add(Gather(build.node_name(call.name), name, given.name, found.name, axis))
        build.add(Reshape(build.node_name(f"{call.name}.shape"), found.name, target.name))
        return
    if fixed.size and not (-size <= fixed.min() and fixed.max() < size):
        raise call.refused(f"an index is outside of {-size} to {size - 1}", "indices into its input")
    if fixed.size == 1:
        starts = [0] * len(shape)
        starts[axis] = int(fixed.reshape(())) % size
        part = build.temporary(f"{call.name}.part", (*shape[:axis], 1, *shape[axis + 1 :]))
        build.add(Slice(build.node_name(call.name), name, part.name, tuple(starts), (1,) * len(starts)))
        build.add(Reshape(build.node_name(f"{call.name}.shape"), part.name, target.name))
        return
    constant = build.constant(fixed.astype(np.int64), call.label(1))
    build.add(Gather(build.node_name(call.name), name, constant, target.name, axis))


def expand(call: Call, build: Builder) -> None:
    """Expand."""
    source = build.name(call, call.operand(0))
    build.add(Expand(build.node_name(call.name), source, call.only_output().name))


def tile(call: Call, build: Builder) -> None:
    """Tile: the tensor after itself along one dimension after another."""
    source, target = call.value(0), call.only_output()
    repeats = [int(count) for count in call.array(1, "repeats")]
    name, shape = source.name, list(source.shape)
    if any(isinstance(dim, Batch) and count > 1 for dim, count in zip(shape, repeats, strict=True)):
        raise call.refused("it repeats the batch", "other dimensions")
    for axis, count in enumerate(repeats):
        if count == 1:
            continue
        shape[axis] = target.shape[axis]
        result = build.temporary(f"{call.name}.tile", tuple(shape))
        build.add(Concat(build.node_name(call.name), (name,) * count, result.name, axis))
        name = result.name
    build.add(Reshape(build.node_name(f"{call.name}.shape"), name, target.name))


def depth_to_space(call: Call, build: Builder) -> None:
    """DepthToSpace: blocks of channels become pixels."""
    source, target = call.value(0), call.only_output()
    batch, *rest = source.shape
    channels, height, width = call.fixed_dims(tuple(rest), "its images")
    block = call.integer("blocksize", 1)
    inner = channels // block**2
    if call.text("mode", "DCR") == "DCR":
        split_shape, order = (batch, block, block, inner, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split_shape, order = (batch, inner, block, block, height, width), (0, 1, 4, 2, 5, 3)
    regroup(call, build, split_shape, order, source.name, target.name)


def space_to_depth(call: Call, build: Builder) -> None:
    """SpaceToDepth: blocks of pixels become channels."""
    source, target = call.value(0), call.only_output()
    batch, *rest = source.shape
    channels, height, width = call.fixed_dims(tuple(rest), "its images")
    block = call.integer("blocksize", 1)
    shape = (batch, channels, height // block, block, width // block, block)
    order = (0, 3, 5, 1, 2, 4) if call.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    regroup(call, build, shape, order, source.name, target.name)


def phases_to_pixels(call: Call, build: Builder, made: Value, strides: tuple[int, ...], whole: Value) -> None:
    """Append what puts phases side by side: of each channel, one for each place in a block of pixels.

    Args:
        call: The node that it is of.
        build: Where.
        made: N x (channels x phases) x spatial dimensions, N being the second's or a multiple of it.
        strides: The size of a block along each spatial dimension.
        whole: N x channels x spatial dimensions, each of them its stride times as large.
    """
    rank = len(strides)
    shape = (*whole.shape[:2], *strides, *made.shape[2:])
    order = (0, 1, *(axis for each in range(2, 2 + rank) for axis in (each + rank, each)))
    regroup(call, build, shape, order, made.name, whole.name)


def regroup(
    call: Call, build: Builder, shape: Shape, order: tuple[int, ...], source: str, target: str
) -> None:
    """Append what parts the dimensions of a value, turns the parts and joins them to the target's.

    Args:
        call: The node that it is of.
        build: Where.
        shape: The source's numbers, parted.
        order: A permutation of that shape.
        source: The name of the value.
        target: The name of the value that is written.
    """
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        build.add(Reshape(build.node_name(call.name), source, target))
        return
    parted = build.temporary(f"{call.name}.parted", shape)
    turned = build.temporary(f"{call.name}.turned", tuple(shape[axis] for axis in order))
    build.add(Reshape(build.node_name(f"{call.name}.parted"), source, parted.name))
    build.add(Transpose(build.node_name(call.name), parted.name, turned.name, order))
    build.add(Reshape(build.node_name(f"{call.name}.shape"), turned.name, target))
