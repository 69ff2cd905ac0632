"""What the compiler makes of a model: a graph and the numbers of its constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secateur.format.graph import Graph

Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Network:
    """A graph and its constants.

    Attributes:
        graph: What is computed.
        constants: An array for each of ``graph.constants``: float32, or int64 for the indices of a Gather.
    """

    graph: Graph
    constants: Mapping[str, np.ndarray]
