"""What a pruner says of the layers it prunes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class LayerReport:
    """How much of one layer lives.

    Attributes:
        layer: The layer's name.
        shape: The weight's shape.
        weights: The number of weights, living or not.
        kept: The number of living weights, by the mask.
        revived: The number of pruned weights that are not zero; 0 while the pruner watches whatever changes
            them.
    """

    layer: str
    shape: tuple[int, ...]
    weights: int
    kept: int
    revived: int = 0

    @property
    def density(self) -> float:
        """The fraction of weights kept, in 0..1."""
        return self.kept / self.weights if self.weights else 1.0


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

    @property
    def revived(self) -> int:
        """The number of pruned weights that are not zero."""
        return sum(row.revived for row in self.layers)

    @property
    def warning(self) -> str | None:
        """What is wrong, where it is and what to do; None if all pruned weights are zero."""
        if not self.revived:
            return None
        where = ", ".join(f"{row.layer} ({row.revived:,})" for row in self.layers if row.revived)
        return (
            f"{self.revived:,} pruned weights are not zero, in {where}: they were loaded, or trained by an "
            "optimizer that the pruner does not watch; call pruner.enforce(), or pruner.attach(optimizer) "
            "with the optimizer that trains them"
        )

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
        if self.warning is not None:
            lines.append(f"WARNING: {self.warning}")
        return "\n".join(lines)
