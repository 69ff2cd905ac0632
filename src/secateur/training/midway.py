"""An epoch between two of its steps: what must be kept so that it goes on with the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from secateur.training.keeper import Keeper
from secateur.training.processes import Processes

_NEVER = 1 << 62


@final
@dataclass(frozen=True, eq=False)
class Midway:
    """How far an epoch is.

    Order, crops and flips are functions of the epoch and need nothing here. Dropout draws from torch's global
    generators, step after step, so their states are kept.

    Attributes:
        step: Steps that are done.
        seconds: What they took.
        totals: float32 [processes], the sum of losses that each process has so far.
        generators: The states of each process's generators.
    """

    step: int
    seconds: float
    totals: Tensor
    generators: list[list[Tensor]]

    def state_dict(self) -> dict[str, Any]:
        """The same as tensors and values."""
        return dict(vars(self))

    def total(self, processes: Processes) -> Tensor:
        """This process's sum of losses, on its device.

        On another number of processes than it was kept by, the first one takes over everybody's.
        """
        if len(self.totals) == processes.count:
            return self.totals[processes.rank].to(processes.device, copy=True)
        whole = self.totals.sum() if processes.is_first else torch.zeros(())
        return whole.to(processes.device)

    def take_up(self, processes: Processes) -> None:
        """Put this process's generators where they were; those of a process that was not there are left."""
        if processes.rank < len(self.generators):
            _set_generators(processes.device, self.generators[processes.rank])


def midway(state: Mapping[str, Any] | None) -> Midway:
    """What `Midway.state_dict` gave; the beginning of an epoch where there is nothing."""
    return Midway(0, 0.0, torch.zeros(1), []) if state is None else Midway(**state)


@final
class Looks:
    """When an unfinished epoch is kept.

    The first process has the clock, and keeping takes all of them. So they look at it together: one process
    after every step, several at steps that the first one sets, the sooner the nearer the time has come.

    Args:
        begun: Where the epoch was taken up.
        processes: Who trains.
        keeper: Writes, and knows when it is time.
        keep: What to do then.
    """

    def __init__(
        self, begun: Midway, processes: Processes, keeper: Keeper, keep: Callable[[Midway], None]
    ) -> None:
        self._begun = begun
        self._processes = processes
        self._keeper = keeper
        self._keep = keep
        self._since = time.monotonic()
        self._next = begun.step + 1

    def after(self, step: int, total: Tensor) -> None:
        """Keep the epoch if it is time.

        Args:
            step: Steps that are done.
            total: This process's sum of losses.
        """
        if step < self._next:
            return
        is_time, self._next = self._processes.of_first(lambda: self._look(step))
        if is_time:
            own = (total.cpu(), _generators(self._processes.device))
            told = self._processes.gather(own)
            seconds = self._begun.seconds + time.monotonic() - self._since
            self._keep(Midway(step, seconds, torch.stack([t for t, _ in told]), [g for _, g in told]))

    def _look(self, step: int) -> tuple[bool, int]:
        left = self._keeper.seconds_left
        if left == float("inf"):
            return False, _NEVER
        if self._processes.count == 1 or left <= 0:
            return left <= 0, step + 1
        each = (time.monotonic() - self._since) / (step - self._begun.step)
        return False, step + max(1, int(left / each / 2))


def _generators(device: torch.device) -> list[Tensor]:
    own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *own]


def _set_generators(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:  # what was kept on a CPU has no state for it
        torch.cuda.set_rng_state(states[1], device)
