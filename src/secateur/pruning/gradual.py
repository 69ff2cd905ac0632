"""A cut that grows inside one training run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from secateur.errors import ConfigurationError
from secateur.pruning.criteria import Criterion, GlobalDensity
from secateur.pruning.schedules import Schedule


@final
@dataclass(frozen=True)
class Gradual:
    """A cut that grows inside one training run.

    After step ``begin`` and until step ``end``, every ``every`` steps, the criterion is asked with the value
    that the schedule has at ``(step - begin) / (end - begin)``.

    Args:
        schedule: Progress -> density (or quality, for a criterion that takes one).
        begin: Optimizer step (counted by the pruner from its creation) after which it starts.
        end: Optimizer step at which the final value is reached.
        every: Steps between two cuts.
        criterion: Value of the schedule -> criterion.

    Raises:
        ConfigurationError: Not 0 <= begin < end, or ``every`` below 1.

    Source: Zhu and Gupta, arXiv 1710.01878, with `secateur.pruning.schedules.Cubic`.
    """

    schedule: Schedule
    begin: int
    end: int
    every: int = 1
    criterion: Callable[[float], Criterion] = GlobalDensity

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end or self.every < 1:
            raise ConfigurationError(
                "a gradual cut needs 0 <= begin < end and every >= 1; found "
                f"begin={self.begin}, end={self.end}, every={self.every}"
            )

    def criterion_at(self, step: int) -> Criterion | None:
        """What to cut after a step, if anything."""
        due = self.begin < step <= self.end and ((step - self.begin) % self.every == 0 or step == self.end)
        if not due:
            return None
        return self.criterion(self.schedule((step - self.begin) / (self.end - self.begin)))
