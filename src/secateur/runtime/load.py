"""Loading a compact file: mapped, checked once at the door, ready to run."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

from secateur.errors import FormatError
from secateur.format.layouts import Array, PackedWeight, arrays
from secateur.format.model import Model
from secateur.format.reader import read_model
from secateur.runtime.program import Program


def load(
    path: str | Path,
    *,
    batch: int = 1,
    threads: int | None = None,
    kernels: Mapping[str, str] | None = None,
) -> Program:
    """Load a compact file.

    Args:
        path: Of a file that `Program.save` wrote. It is mapped: replace it, but do not change it in place
            while the program lives.
        batch: The batch size to be ready for; others are prepared when they are first met.
        threads: How many threads a call takes, unless it says so itself; all processors of the process if
            left out.
        kernels: Kernels by layer name, where the file's choice shall not count.

    Returns:
        The program. Its dense weights never exist in memory.

    Raises:
        FormatError: It is no compact file, it is damaged, or it is of a newer version.
        ConfigurationError: A batch size or threads below 1, a kernel that cannot run its layer, or
            ``SECATEUR_ISA`` asks for what this processor has not.

    Example:
        >>> program = load("lenet.secateur")  # doctest: +SKIP
        >>> program(np.zeros((1, 1, 28, 28), np.float32)).argmax()  # doctest: +SKIP
        3
    """
    # The core checks every index itself when it is given the weights: once is enough.
    model = read_model(Path(path), validate=_left_to_the_core)
    try:
        program = Program(model, threads=threads, kernels=kernels)
        program.bind(batch)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    _forget_pages(model)
    return program


def _left_to_the_core(name: str, weight: PackedWeight) -> None:
    del name, weight


def _forget_pages(model: Model) -> None:
    """Let go of pages that were read to be checked and packed; what runs in place comes back when it runs."""
    for mapped in {id(found): found for found in _maps(model)}.values():
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def _maps(model: Model) -> list[mmap.mmap]:
    found = [_map_of(array) for weight in model.weights.values() for array in arrays(weight.layout).values()]
    return [each for each in found if each is not None]


def _map_of(array: Array) -> mmap.mmap | None:
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base
