"""What a pruner says of the layers it prunes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class LayerReport:
    """How much of one layer lives."""

    layer: str
    shape: tuple[int, ...]
    weights: int
    kept: int

    @property
    def density(self) -> float:
        """The fraction of weights kept, in 0..1."""
        return self.kept / self.weights


@final
@dataclass(frozen=True)
class PruningReport:
    """How much of every layer lives; printed, it is a table."""

    layers: tuple[LayerReport, ...]

    @property
    def kept(self) -> int:
        """The number of living weights."""
        return sum(row.kept for row in self.layers)

    @property
    def weights(self) -> int:
        """The number of weights, living or not."""
        return sum(row.weights for row in self.layers)

    def __str__(self) -> str:
        width = max(len("layer"), *(len(row.layer) for row in self.layers))
        lines = [f"{'layer':<{width}}  {'shape':>18}  {'weights':>12}  {'kept':>12}  {'kept %':>7}"]
        for row in self.layers:
            shape = "x".join(str(size) for size in row.shape)
            counts = f"{row.weights:>12,}  {row.kept:>12,}  {100 * row.density:>7.2f}"
            lines.append(f"{row.layer:<{width}}  {shape:>18}  {counts}")
        share = self.kept / self.weights
        lines.append(
            f"{'total':<{width}}  {'':>18}  {self.weights:>12,}  {self.kept:>12,}  {100 * share:>7.2f}"
            f"   {1 / share:.1f}x fewer"
        )
        return "\n".join(lines)
