"""Which of several contenders is fastest: they take turns, so that what disturbs one disturbs all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar, final

import numpy as np

Name = TypeVar("Name")
# Runs something some times and returns the nanoseconds of each.
Timer = Callable[[int], Sequence[int]]

# Rounds of short bursts: long enough for the clock, short enough to be interleaved.
_ROUNDS = 7
# As many again for those this near to the best, which a noisy minute might have put in the wrong order.
_CLOSE = 1.2
_BURST_SECONDS = 2e-3
_MAX_REPEATS = 50
# A contender this much slower than the best has one burst more, as a neighbour may have had its core, and
# then none. (One run more was not enough: small layers lost their best kernel to a neighbour of a few runs.)
_HOPELESS = 3.0


@final
@dataclass(frozen=True)
class Timed:
    """How long a contender takes.

    Attributes:
        microseconds: A run in a burst of 2 ms: what takes longer finds in the caches what others left there.
        again: A run right after another, which finds what that one left; as above where there was none.
    """

    microseconds: float
    again: float


def in_turns(
    contenders: Mapping[Name, Timer], *, rounds: int = _ROUNDS, hopeless: float = _HOPELESS
) -> dict[Name, Timed]:
    """Lower quartiles of contenders that take turns.

    A disturbance only ever adds time, and on a shared machine more than half of all runs may be disturbed: by
    medians the kernel chosen was once 1.4 times slower than the best.

    Args:
        contenders: By name, functions that run something some times and return nanoseconds a time.
        rounds: How many turns each has, at least 1.
        hopeless: A contender so many times slower than the best is let go; infinity for none, where all times
            count and not the best alone.

    Returns:
        Times by name; of those that fell far behind, by what they ran until then.

    Example:
        >>> in_turns({"short": lambda times: [1000] * times, "long": lambda times: [2900, 2000][:times]})
        {'short': Timed(microseconds=1.0, again=1.0), 'long': Timed(microseconds=2.0, again=2.0)}
    """
    bursts: dict[Name, list[Sequence[int]]] = {}
    repeats: dict[Name, int] = {}
    for name, run in contenders.items():
        run(1)  # the first run touches memory for the first time
        first = run(1)
        bursts[name] = [first]
        repeats[name] = max(1, min(_MAX_REPEATS, int(_BURST_SECONDS * 1e9 / max(first[0], 1))))
    best = min(_least(each) for each in bursts.values())
    for turn in range(rounds):
        for name, run in contenders.items():
            behind = _least(bursts[name]) > hopeless * best
            if behind and turn == 0:
                bursts[name].append(run(repeats[name]))
            elif not behind:
                bursts[name].append(run(max(2, repeats[name])))
            best = min(best, *bursts[name][-1])
    found = {name: _timed(each, repeats[name]) for name, each in bursts.items()}
    fastest = min(each.microseconds for each in found.values())
    fastest_again = min(each.again for each in found.values())
    close = [
        name
        for name, each in found.items()
        if each.microseconds <= _CLOSE * fastest or each.again <= _CLOSE * fastest_again
    ]
    if len(close) > 1:
        for _ in range(rounds):
            for name in close:
                bursts[name].append(contenders[name](max(2, repeats[name])))
        found |= {name: _timed(bursts[name], repeats[name]) for name in close}
    return found


def _least(bursts: Iterable[Sequence[int]]) -> int:
    return min(chain.from_iterable(bursts))


def _timed(bursts: Sequence[Sequence[int]], repeats: int) -> Timed:
    within = [each for burst in bursts for each in burst[:repeats]]
    again = [each for burst in bursts for each in burst[1:]]
    return Timed(_lower_quartile(within), _lower_quartile(again or within))


def _lower_quartile(nanoseconds: Sequence[int]) -> float:
    return float(np.quantile(nanoseconds, 0.25)) / 1e3
