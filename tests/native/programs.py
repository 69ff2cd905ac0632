"""Programs of one step, made for a test and run on every instruction set and thread count."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from secateur import _native

Floats = NDArray[np.float32]
NONE = (0, 0)
NO_ACTIVATION = (0, 0.0, 0.0)
INPUT = (2, 0)
OUTPUT = (3, 0)
EPSILON = float(np.finfo(np.float32).eps)

Build = Callable[[_native.Program], None]


def run(build: Build, inputs: Sequence[Floats], shape: Sequence[int], isa: str, threads: int = 1) -> Floats:
    """One program's one output, after checking that nothing is written beside it."""
    program = _native.Program(isa)  # type: ignore[arg-type]
    build(program)
    program.finish(0)
    guard = 16
    count = int(np.prod(shape))
    memory = np.full(count + 2 * guard, -77.0, dtype=np.float32)
    output = memory[guard : guard + count]
    program.run([np.ascontiguousarray(x) for x in inputs], [output], threads)
    assert (memory[:guard] == -77.0).all()
    assert (memory[guard + count :] == -77.0).all()
    return output.reshape(shape).copy()


def integers(shape: Sequence[int], seed: int = 0) -> Floats:
    """Small ones: every sum and product of a few of them is exact in float32."""
    return np.random.default_rng(seed).integers(-8, 9, size=tuple(shape)).astype(np.float32)


def normal(shape: Sequence[int], seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(np.float32)
