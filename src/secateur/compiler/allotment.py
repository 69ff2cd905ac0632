"""What weights may take once they are loaded: some kernels trade memory for time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

# Outputs a side of what each transformed filter computes at once: (side + taps - 1)^2 products stand for the
# taps^2 weights of a filter; of a stride, for each of stride^2 filters of every stride-th tap.
_TRANSFORMED: Mapping[str, int] = {"winograd": 2, "winograd4": 4, "winograd_256": 2, "winograd4_256": 4}
# Read from main memory in a microsecond. A layer that is timed alone finds its filters in the caches; in a
# network others have been there meanwhile. (Without this AlexNet took 62 MB instead of 38 and 63 ms to load
# instead of 35, and was no faster.)
_BYTES_READ = 16_000
# Above this density a layer is as good as dense, and dense engines hold such filters without being asked.
_PRUNED_BELOW = 0.5


@final
@dataclass(frozen=True)
class Measured:
    """A layer whose kernels were timed.

    Attributes:
        microseconds: By kernel.
        dense_bytes: What its weight takes as a dense float32 array.
        density: The fraction of it that is not zero, 0..1.
        taps: Weights a side of its filters.
        stride: Inputs from one output to the next.
        cold: Whether its transformed filters are read from main memory at every call.
        packed: Bytes that a kernel packs anew when the network is loaded, by kernel; others use the file's.
        one_by_one: What the non-zeros take, packed with an index each.
        among_pruned: Whether the network as a whole lost most of its weights: what a layer packs counts then,
            though this layer kept most of them.
    """

    microseconds: Mapping[str, float]
    dense_bytes: int
    density: float
    taps: int = 3
    stride: int = 1
    cold: bool = True
    packed: Mapping[str, float] = field(default_factory=dict)
    one_by_one: float = 0.0
    among_pruned: bool = False

    def cost(self, kernel: str) -> float:
        """Microseconds in a network: those measured, and the reading of transformed filters."""
        return self.microseconds[kernel] + (self.filter_bytes(kernel) / _BYTES_READ if self.cold else 0.0)

    @property
    def cheapest(self) -> str:
        """The kernel of the least cost."""
        return min(self.microseconds, key=self.cost)

    @property
    def least(self) -> float:
        """What that costs."""
        return self.cost(self.cheapest)

    def extra_bytes(self, kernel: str) -> float:
        """Memory that a kernel takes for filters which pruning made small; 0 for those that keep them so."""
        return self.filter_bytes(kernel) if self._pruned else 0.0

    @property
    def needed_bytes(self) -> float:
        """What the non-zeros alone take of the cheapest kernel's packing; 0 if memory does not count."""
        return min(self.packed.get(self.cheapest, 0.0), self.one_by_one) if self._counts else 0.0

    def grown_bytes(self, kernel: str) -> float:
        """What a kernel packs beyond the non-zeros alone; 0 where neither layer nor network was pruned."""
        return max(0.0, self.packed.get(kernel, 0.0) - self.one_by_one) if self._counts else 0.0

    @property
    def _pruned(self) -> bool:
        return is_pruned(self.density)

    @property
    def _counts(self) -> bool:
        return self._pruned or self.among_pruned

    def filter_bytes(self, kernel: str) -> float:
        """Memory that a kernel takes for transformed filters."""
        if kernel not in _TRANSFORMED:
            return 0.0
        of_a_phase = -(-self.taps // self.stride)
        if self.stride > 1 and of_a_phase == 4:  # filled up with zeros
            of_a_phase = 5
        points = (_TRANSFORMED[kernel] + of_a_phase - 1) ** 2 * self.stride**2
        return self.dense_bytes * points / self.taps**2


def is_pruned(density: float) -> bool:
    """Whether a layer or a network lost so many of its weights that memory is what it was pruned for."""
    return density < _PRUNED_BELOW


# What a layer's kernel takes, in bytes.
Memory = Callable[[Measured, str], float]


def within_memory(layers: Mapping[str, Measured], limits: Sequence[tuple[Memory, float]]) -> dict[str, str]:
    """The cheapest kernels that fit into limits of memory.

    Every layer starts with its cheapest kernel. While ``sum m > limit``, the one change of a kernel is made
    that loses the least time for the memory it saves, ``min (c' - c) / (m - m')``; one limit after the other.

    Args:
        layers: Those that were timed, by name.
        limits: What counts, and its limit in bytes; of one that nothing keeps to, the least is taken. A
            change that saves of a later one must not take more of an earlier one.

    Returns:
        A kernel by layer name.

    Example:
        >>> layer = Measured({"winograd4": 1.0, "sparse_columns": 2.0}, dense_bytes=900, density=0.3)
        >>> within_memory({"conv": layer}, [(Measured.extra_bytes, 3600)])
        {'conv': 'winograd4'}
        >>> within_memory({"conv": layer}, [(Measured.extra_bytes, 3599)])
        {'conv': 'sparse_columns'}
    """
    kernels = {name: layer.cheapest for name, layer in layers.items()}
    for memory, limit in limits:
        while sum(memory(layer, kernels[name]) for name, layer in layers.items()) > limit:
            swaps = [
                ((layer.cost(kernel) - layer.cost(now)) / saved, name, kernel)
                for name, layer in layers.items()
                for now in (kernels[name],)
                for kernel in layer.microseconds
                if (saved := memory(layer, now) - memory(layer, kernel)) > 0
            ]
            if not swaps:  # layers that nothing else can run
                break
            _, name, kernel = min(swaps)
            kernels[name] = kernel
    return kernels
