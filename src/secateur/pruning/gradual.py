"""A cut that grows inside one training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import final

from torch import Tensor

from secateur.errors import ConfigurationError, UnreachableTargetError
from secateur.pruning.criteria import (
    Criterion,
    GlobalDensity,
    check_criterion,
    check_leaves_something,
    check_reachable,
    is_reached,
)
from secateur.pruning.masks import Masks
from secateur.pruning.schedules import GrowingQuality, Schedule


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
        ConfigurationError: Not 0 <= begin < end, ``every`` below 1, the schedule or the criterion cannot be
            called, or a schedule of quality is given to a criterion of density.

    Source: Zhu and Gupta, arXiv 1710.01878, with `secateur.pruning.schedules.Cubic`.
    """

    schedule: Schedule
    begin: int
    end: int
    every: int = 1
    criterion: Callable[[float], Criterion] = GlobalDensity

    def __post_init__(self) -> None:
        for what, value, such_as in (
            ("schedule", self.schedule, "Cubic(0.1)"),
            ("criterion", self.criterion, "the class GlobalDensity or a function of one value"),
        ):
            if not callable(value):
                raise ConfigurationError(
                    f"a gradual cut's {what} is something to be called, such as {such_as}; found {value!r}"
                )
        if isinstance(self.schedule, GrowingQuality) and self.criterion is GlobalDensity:
            raise ConfigurationError(
                "GrowingQuality is a schedule of the quality parameter, and GlobalDensity would take it for "
                "a density; say criterion=StdThreshold"
            )
        whole = all(isinstance(each, Integral) for each in (self.begin, self.end, self.every))
        if not whole or not 0 <= self.begin < self.end or self.every < 1:
            raise ConfigurationError(
                "a gradual cut needs whole numbers of steps, 0 <= begin < end and every >= 1; found "
                f"begin={self.begin}, end={self.end}, every={self.every}"
            )

    def criterion_at(self, step: int) -> Criterion | None:
        """What to cut after a step, if anything."""
        due = self.begin < step <= self.end and ((step - self.begin) % self.every == 0 or step == self.end)
        if not due:
            return None
        return self.criterion(self.schedule((step - self.begin) / (self.end - self.begin)))

    def next_step(self, done: int) -> int | None:
        """The step after which the next cut is due.

        Args:
            done: Steps done.

        Returns:
            A step above ``done``, or None where the last cut was before.

        Example:
            >>> gradual = Gradual(schedule=lambda progress: 1 - progress / 2, begin=2, end=6, every=3)
            >>> [gradual.next_step(done) for done in (0, 4, 5, 6)]
            [5, 5, 6, None]
        """
        if done >= self.end:
            return None
        start = max(done, self.begin)
        return min(self.end, self.begin + self.every * ((start - self.begin) // self.every + 1))


def check_gradual(
    gradual: object, done: int, weights: Mapping[str, Tensor], alive: Masks, names: Mapping[str, str]
) -> None:
    """Refuse a gradual cut that would fail at its first cut or its last or, being over, never cut at all.

    One that is over and has reached its end is welcome: a run taken up again asks for it once more.

    Args:
        gradual: What shall be a `Gradual`.
        done: Optimizer steps that the pruner has seen.
        weights: The weights under pruning.
        alive: Their masks so far.
        names: Every name of a layer -> canonical parameter name.

    Raises:
        ConfigurationError: It is no `Gradual`, it does not give criteria, or its steps are over.
        UnreachableTargetError: The first cut asks for more weights than are alive, or the last leaves a layer
            none.
    """
    if not isinstance(gradual, Gradual):
        raise ConfigurationError(
            f"expected Gradual(schedule, begin, end) or None, found {gradual!r}; for example "
            "Gradual(Cubic(0.1), begin=0, end=1000)"
        )
    due = gradual.next_step(done)
    criterion = check_criterion(gradual.criterion_at(gradual.end if due is None else due))
    if due is None:
        if is_reached(weights, criterion, alive, names):
            return
        raise ConfigurationError(
            f"this gradual cut ends after step {gradual.end}, but the pruner has seen {done} steps already, "
            f"so it would never cut; steps count from the pruner's creation: begin={done}, "
            f"end={done + gradual.end - gradual.begin} starts it now"
        )
    check_leaves_something(weights, check_criterion(gradual.criterion_at(gradual.end)), names)
    try:
        check_reachable(weights, criterion, alive, names)
    except UnreachableTargetError as error:
        # A density in every layer can start no higher than at the layer that has the least.
        now = alive.density if isinstance(criterion, GlobalDensity) else _lowest(alive)
        raise UnreachableTargetError(
            f"the first cut of this gradual one, after step {due}, cannot be had: {error}; start the "
            f"schedule where the network is, for example Cubic(final, initial={now:.6g})"
        ) from error


def _lowest(alive: Masks) -> float:
    return min(alive.kept_of(name) / mask.numel() for name, mask in alive.items())
