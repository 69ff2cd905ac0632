"""The compiled core: programs of steps over planned memory. Thin over the C interface; see native/bindings.

A ``Ref`` says where a tensor lies: ``(space, index)`` with space 0 none, 1 arena (index: an offset in bytes,
a multiple of 64), 2 input, 3 output, 4 constant. An ``Activation`` is ``(kind, alpha, beta)``: kind 0 is
none, then come ``secateur.format.graph.ActivationKind`` in their order. Tensors are float32 and C-contiguous;
sizes are in elements where their name does not say bytes. What cannot be is a ``ValueError`` that names it.
"""

from collections.abc import Sequence
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

Ref = tuple[int, int]
Activation = tuple[int, float, float]
Array = NDArray[Any]
Sizes = Sequence[int]
Isa = Literal["scalar", "avx2", "avx512"]

def isa() -> Isa:
    """What programs run on: what ``SECATEUR_ISA`` names, or else the best there is."""

def isas() -> list[Isa]:
    """What this build and this processor have, the best last."""

@final
class Matrix:
    """A view of packed weights, checked in full when it is made; it keeps its arrays alive.

    Args:
        layout: 0 dense, 1 bitmask, 2 gap8, 3 index16.
        type: 0 float32, 1 float16, 2 bfloat16 (as uint16: NumPy has none).
        lines: Rows of the packed matrix.
        length: Positions in each.
        values: Of the type.
        indices: The mask (uint8), the gaps (uint8) or the positions (uint16).
        starts: uint32, lines + 1, for gap8 and index16.
    """

    def __init__(
        self,
        layout: int,
        type: int,
        lines: int,
        length: int,
        values: Array,
        indices: Array | None,
        starts: Array | None,
    ) -> None: ...
    @property
    def entries(self) -> int:
        """Stored values, fillers included."""
    @property
    def nonzeros(self) -> int:
        """Stored values that are not zero."""
    def to_dense(self) -> NDArray[np.float32]:
        """All of it, (lines, length)."""

@final
class Program:
    """Steps in the order in which they run. Built by one thread, finished, then run by any number at once."""

    def __init__(self, isa: Isa | None = None) -> None: ...
    @property
    def isa(self) -> Isa: ...
    def constant(self, array: Array) -> int:
        """Keep an array (float32, or int64 for indices) and give its index for a Ref."""

    def finish(self, arena_bytes: int, threads: int = 1) -> None:
        """No more steps come: weights are packed, on so many threads.

        Refuses steps that leave an arena of so many bytes.
        """

    def run(self, inputs: list[Array], outputs: list[Array], threads: int) -> None:
        """Run all steps without the interpreter's lock. Lengths are checked, types are not."""

    def time(self, inputs: list[Array], outputs: list[Array], threads: int, repeats: int) -> list[int]:
        """Nanoseconds of each of so many runs."""

    def time_steps(
        self, inputs: list[Array], outputs: list[Array], threads: int, repeats: int
    ) -> list[list[int]]:
        """For each step the nanoseconds of each of so many runs."""

    @property
    def steps(self) -> list[str]: ...
    @property
    def packed_bytes(self) -> int:
        """Memory of weights that were packed anew; the others are used where they are."""
    @property
    def input_bytes(self) -> list[int]:
        """What the steps read of each input."""
    @property
    def output_bytes(self) -> list[int]:
        """What the steps write of each output."""

    def convolution(
        self,
        kernel: str,
        weights: Matrix,
        source: Ref,
        output: Ref,
        bias: Ref,
        residual: Ref,
        activation: Activation,
        *,
        images: int = 1,
        in_channels: int = 1,
        in_height: int = 1,
        in_width: int = 1,
        out_channels: int = 1,
        out_height: int = 1,
        out_width: int = 1,
        kernel_height: int = 1,
        kernel_width: int = 1,
        stride_height: int = 1,
        stride_width: int = 1,
        pad_top: int = 0,
        pad_left: int = 0,
        dilation_height: int = 1,
        dilation_width: int = 1,
        groups: int = 1,
        pool_height: int = 1,
        pool_width: int = 1,
    ) -> None: ...
    def convolution_kernels(
        self,
        *,
        images: int = 1,
        in_channels: int = 1,
        in_height: int = 1,
        in_width: int = 1,
        out_channels: int = 1,
        out_height: int = 1,
        out_width: int = 1,
        kernel_height: int = 1,
        kernel_width: int = 1,
        stride_height: int = 1,
        stride_width: int = 1,
        pad_top: int = 0,
        pad_left: int = 0,
        dilation_height: int = 1,
        dilation_width: int = 1,
        groups: int = 1,
        pool_height: int = 1,
        pool_width: int = 1,
    ) -> list[str]:
        """The kernels that can compute this shape, with its pool windows."""

    def linear(
        self,
        kernel: str,
        weights: Matrix,
        columns: bool,
        source: Ref,
        output: Ref,
        bias: Ref,
        residual: Ref,
        activation: Activation,
        workspace: Ref,
        rows: int,
    ) -> None: ...
    def linear_kernels(self, weights: Matrix, columns: bool, rows: int) -> list[str]:
        """The kernels that can use these weights with a batch of so many rows."""

    def linear_workspace(self, kernel: str, weights: Matrix, columns: bool, rows: int) -> int:
        """Bytes of arena that the layer needs for itself."""

    def elementwise(self, source: Ref, output: Ref, count: int, activation: Activation) -> None: ...
    def binary(
        self,
        kind: str,
        left: Ref,
        right: Ref,
        output: Ref,
        left_shape: Sizes,
        right_shape: Sizes,
        output_shape: Sizes,
        activation: Activation,
    ) -> None: ...
    def pool(
        self,
        kind: str,
        source: Ref,
        output: Ref,
        images: int,
        channels: int,
        in_h: int,
        in_w: int,
        out_h: int,
        out_w: int,
        kernel: tuple[int, int],
        strides: tuple[int, int],
        pads: tuple[int, int],
        dilations: tuple[int, int],
        count_padding: bool,
        pads_end: tuple[int, int],
    ) -> None: ...
    def softmax(self, source: Ref, output: Ref, outer: int, size: int, inner: int) -> None: ...
    def log_softmax(self, source: Ref, output: Ref, outer: int, size: int, inner: int) -> None: ...
    def layer_norm(
        self, source: Ref, output: Ref, scale: Ref, bias: Ref, outer: int, size: int, epsilon: float
    ) -> None: ...
    def local_response_norm(
        self,
        source: Ref,
        output: Ref,
        images: int,
        channels: int,
        plane: int,
        size: int,
        alpha: float,
        beta: float,
        k: float,
    ) -> None: ...
    def concat(self, sources: Sequence[Ref], sizes: Sizes, output: Ref, outer: int) -> None: ...
    def slice(
        self,
        source: Ref,
        output: Ref,
        shape_in: Sizes,
        starts: Sizes,
        steps: Sizes,
        shape_out: Sizes,
    ) -> None: ...
    def pad(
        self,
        source: Ref,
        output: Ref,
        shape_in: Sizes,
        before: Sizes,
        shape_out: Sizes,
        mode: str,
        value: float,
    ) -> None: ...
    def transpose(self, source: Ref, output: Ref, shape_in: Sizes, permutation: Sizes) -> None: ...
    def reduce(self, kind: str, source: Ref, output: Ref, shape_in: Sizes, axes: Sizes) -> None: ...
    def expand(self, source: Ref, output: Ref, shape_in: Sizes, shape_out: Sizes) -> None: ...
    def gather(
        self, source: Ref, indices: Ref, output: Ref, outer: int, size: int, inner: int, count: int
    ) -> None:
        """An index out of range gives NaN."""

    def matmul(
        self,
        left: Ref,
        right: Ref,
        output: Ref,
        left_shape: Sizes,
        right_shape: Sizes,
        output_shape: Sizes,
    ) -> None: ...
    def copy(self, source: Ref, output: Ref, count: int) -> None: ...

@final
class KnownCalls:
    """Programs of one float32 input and output, by the input's shape: tiny calls without Python's checks."""

    def __init__(self) -> None: ...
    def add(self, program: Program, input_shape: Sizes, output_shape: Sizes) -> None:
        """How to run an array of that shape from now on. That both are float32 is the caller's to know."""

    def clear(self) -> None: ...
    def run(self, array: object, threads: int) -> NDArray[np.float32] | None:
        """The output; None for anything but a plain NumPy array of float32 and of a shape that was added."""
