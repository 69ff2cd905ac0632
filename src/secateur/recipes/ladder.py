"""Water-filling: of several layers' offers, the ones that save most for the least harm come first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

Counts = Mapping[str, int]

_BISECTIONS = 40
_STEP = 1e-4  # of a ladder's height: what is taken at least where the offers promised too much
# A time hardly falls while dense kernels are the fastest, and then falls steeply: the step that keeps a limit
# may go far beyond it. What lies between is halved, at most so often and until the price is so near.
_RETURNS = 6
_NEAR = 0.02


@final
@dataclass(frozen=True)
class Offer:
    """One layer with so many weights kept.

    Attributes:
        kept: How many of its weights live.
        price: What it costs then: weights, bytes or milliseconds.
        harm: By how much the loss is higher than with all its living weights.
    """

    kept: int
    price: float
    harm: float


@final
@dataclass(frozen=True)
class Rung:
    """A piece of one layer's way down, with the same harm for each unit of price saved.

    Attributes:
        layer: Whose.
        kept_from: Weights at its upper end.
        kept_to: Weights at its lower end.
        saved: Price saved by going all of it.
        rate: Harm a unit of price.
    """

    layer: str
    kept_from: int
    kept_to: int
    saved: float
    rate: float


@final
@dataclass(frozen=True)
class Ladder:
    """All layers' rungs, cheapest first.

    Attributes:
        top: Weights kept at the top, by layer.
        rungs: In the order in which they are taken.
    """

    top: Counts
    rungs: Sequence[Rung]

    @property
    def height(self) -> float:
        """Price saved at the bottom."""
        return sum(rung.saved for rung in self.rungs)

    def counts(self, saved: float) -> dict[str, int]:
        """How many weights each layer keeps where so much is saved.

        Args:
            saved: 0 keeps everything, `height` or more takes every rung.

        Returns:
            Layer -> weights kept; no layer keeps more where more is saved.
        """
        counts = dict(self.top)
        left = saved
        for rung in self.rungs:
            if left <= 0:
                break
            share = min(1.0, left / rung.saved)
            # Rounded so that at least this much is saved, but not for the last digit of a division.
            gone = math.ceil(share * (rung.kept_from - rung.kept_to) - 1e-6)
            counts[rung.layer] = rung.kept_from - gone
            left -= rung.saved
        return counts


def make_ladder(offers: Mapping[str, Sequence[Offer]]) -> Ladder:
    """Order what layers offer by harm for each unit of price saved.

    Only the lower convex hull of a layer's offers counts: an offer above the line between two others is worse
    than a mixture of them. So every layer's rungs get dearer on the way down, and taking the cheapest of all
    layers first is the best that any choice of points on the hulls can do. Harms are added up, which is what
    a scan of one layer at a time can know.

    Args:
        offers: Layer -> its offers in any order, all its living weights among them.

    Returns:
        The ladder.

    Example:
        >>> ladder = make_ladder({
        ...     "fc1": [Offer(100, 100.0, 0.0), Offer(50, 50.0, 0.1)],
        ...     "fc2": [Offer(10, 10.0, 0.0), Offer(5, 5.0, 0.5)],
        ... })
        >>> ladder.counts(25.0), ladder.counts(52.5)
        ({'fc1': 75, 'fc2': 10}, {'fc1': 50, 'fc2': 7})
    """
    rungs: list[Rung] = []
    for layer, points in offers.items():
        hull = _lower_hull(points)
        rungs += [
            Rung(layer, above.kept, below.kept, above.price - below.price, _rate(above, below))
            for above, below in pairwise(hull)
        ]
    # Stable, so that a layer's rungs of one rate stay in their order.
    rungs.sort(key=lambda rung: rung.rate)
    return Ladder({layer: max(point.kept for point in points) for layer, points in offers.items()}, rungs)


def reach(ladder: Ladder, price: Callable[[Counts], float], limit: float) -> dict[str, int]:
    """The place on a ladder from which on the price is within a limit; its foot, where it never is.

    Args:
        ladder: The ladder.
        price: The exact price of the whole network for weights kept by layer. It may differ somewhat from
            what the offers say, which are exact at their own points only.
        limit: The most that it may be.

    Returns:
        Layer -> weights kept.
    """
    failed, saved = 0.0, min(max(0.0, price(ladder.top) - limit), ladder.height)
    counts = ladder.counts(saved)
    spare = limit - price(counts)
    while saved < ladder.height and spare < 0:
        failed, saved = saved, min(saved + max(-spare, ladder.height * _STEP), ladder.height)
        counts = ladder.counts(saved)
        spare = limit - price(counts)
    for _ in range(_RETURNS):
        if spare <= _NEAR * limit or failed >= saved:
            break
        middle = (failed + saved) / 2
        higher = ladder.counts(middle)
        left = limit - price(higher)
        if left >= 0:
            saved, counts, spare = middle, higher, left
        else:
            failed = middle
    return counts


def descend(ladder: Ladder, is_enough: Callable[[Counts], bool]) -> dict[str, int]:
    """The highest place on a ladder from which on something holds; its foot, where it never does.

    Args:
        ladder: The ladder.
        is_enough: False at the top and true from some place on.

    Returns:
        Layer -> weights kept.
    """
    high, low = 0.0, ladder.height
    found, previous = ladder.counts(low), None
    if is_enough(ladder.counts(high)):
        return ladder.counts(high)
    for _ in range(_BISECTIONS):
        middle = (high + low) / 2
        counts = ladder.counts(middle)
        if counts == previous:
            break
        previous = counts
        if is_enough(counts):
            low, found = middle, counts
        else:
            high = middle
    return found


def _lower_hull(points: Sequence[Offer]) -> list[Offer]:
    """The points below which no mixture lies, from the dearest to the cheapest."""
    hull: list[Offer] = []
    for point in sorted(points, key=lambda each: (-each.price, each.harm)):
        if hull and point.price == hull[-1].price:  # saves nothing and harms no less
            continue
        while len(hull) > 1 and _rate(hull[-2], hull[-1]) >= _rate(hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _rate(above: Offer, below: Offer) -> float:
    return (below.harm - above.harm) / (above.price - below.price)
