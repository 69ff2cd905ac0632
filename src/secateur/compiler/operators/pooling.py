"""Pools, of windows and of whole maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from secateur.compiler.builder import Builder
from secateur.compiler.operands import Call
from secateur.compiler.operators.windows import Windows, windows
from secateur.format.graph import Pool, Reduce, Reshape


def pool(kind: Literal["max", "average"]) -> Callable[[Call, Builder], None]:
    """A translator of MaxPool or AveragePool; rounding the number of windows up is in the output's shape."""

    def translate(call: Call, build: Builder) -> None:
        source, target = call.value(0), call.only_output()
        kernel = call.integers("kernel_shape", ())
        at = windows(call, source, kernel)
        count_padding = bool(call.integer("count_include_pad", 0))
        if len(kernel) in (1, 2):
            build.add(
                Pool(
                    build.node_name(call.name),
                    kind,
                    source.name,
                    target.name,
                    kernel,
                    at.strides,
                    at.pads,
                    at.dilations,
                    count_padding,
                )
            )
            return
        deep = (
            (kernel[0], 1),
            (at.strides[0], 1),
            (at.pads[0], 0, at.pads[len(kernel)], 0),
            (at.dilations[0], 1),
        )
        flat = Windows(
            at.strides[1:], at.pads[1 : len(kernel)] + at.pads[len(kernel) + 1 :], at.dilations[1:]
        )
        if set(kernel[1:]) != {1} or set(flat.strides) != {1} or any(flat.pads):
            raise call.refused(
                f"its kernel is {kernel}",
                "kernels of one or two dimensions, and of more that are 1 but in the first",
            )
        _first_dimension(call, build, kind, deep, count_padding=count_padding)

    return translate


def _first_dimension(
    call: Call,
    build: Builder,
    kind: Literal["max", "average"],
    window: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    *,
    count_padding: bool,
) -> None:
    # torch writes local response normalisation with such a pool: the other dimensions are as good as one.
    source, target = call.value(0), call.only_output()
    before, after = (
        build.temporary(
            f"{call.name}.{part}",
            (*value.shape[:3], math.prod(call.fixed_dims(value.shape[3:], "its spatial dimensions"))),
        )
        for part, value in (("flat", source), ("pool", target))
    )
    build.add(Reshape(build.node_name(f"{call.name}.flat"), source.name, before.name))
    build.add(
        Pool(build.node_name(call.name), kind, before.name, after.name, *window, count_padding=count_padding)
    )
    build.add(Reshape(build.node_name(f"{call.name}.shape"), after.name, target.name))


def global_pool(kind: Literal["max", "mean"]) -> Callable[[Call, Builder], None]:
    """A translator of GlobalMaxPool or GlobalAveragePool."""

    def translate(call: Call, build: Builder) -> None:
        source = call.value(0)
        axes = tuple(range(2, len(source.shape)))
        build.add(Reduce(build.node_name(call.name), kind, source.name, call.only_output().name, axes))

    return translate
