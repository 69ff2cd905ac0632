"""What a compact file holds: a graph, its numbers, and how it ran best on the machines that have run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, final

from secateur.format.graph import Graph
from secateur.format.layouts import Array, PackedWeight


@final
@dataclass(frozen=True)
class KernelChoice:
    """The kernels that were fastest on one machine.

    Attributes:
        isa: Instruction set that the kernels were chosen from.
        cpu: The processor's name.
        batch: Batch size that was timed.
        threads: Threads that were used.
        kernels: Name of the kernel by layer.
        microseconds: What was measured, by layer and kernel.
    """

    isa: str
    cpu: str
    batch: int
    threads: int
    kernels: Mapping[str, str]
    microseconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


# Under this key of the provenance: how many zeros of a weight the compiler added, by the weight's name.
ADDED_ZEROS = "added_zeros"


@final
@dataclass(frozen=True, eq=False)
class Model:
    """A network ready to run.

    Attributes:
        graph: What is computed.
        weights: Packed constants by name: weights of layers.
        tensors: All other constants of the graph by name: float32 or int64.
        choices: One per machine, batch size and number of threads that were tried.
        provenance: JSON values on where the network comes from.
    """

    graph: Graph
    weights: Mapping[str, PackedWeight]
    tensors: Mapping[str, Array]
    choices: tuple[KernelChoice, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def own_weights(self, weight: str) -> int:
        """How many numbers of a weight are the network's own: all but zeros that the compiler added.

        Args:
            weight: The name of a packed weight.

        Returns:
            Its size, where the file does not say otherwise or says what cannot be.
        """
        size = prod(self.weights[weight].shape)
        told = self.provenance.get(ADDED_ZEROS)
        added = told.get(weight) if isinstance(told, dict) else None
        return size - added if isinstance(added, int) and 0 <= added < size else size
