"""Choosing the next cut: ways to share weights out among layers, tried side by side.

A scan knows what a cut does to the network as it is, and not how much of that retraining mends; and that
differs between layers: on LeNet-300-100, at a sixteenth of the weights, a moment of retraining left 14 % of
the harm in the first layer and 42 % in the last. So every layer is cut alone and retrained on some images,
and the scan's harms are scaled by what was left of them (``recovery``). That, the plain scan and one ranking
of all weights by LAMP and by magnitude (``global``) are tried out in the same way, and the one with the
lowest validation loss is taken: each of them was the best in some round of some run.

Within a layer the squared weight times its Fisher information was tried as well. Such a cut did less harm
than one by magnitude, and after retraining the loss was a fifth higher at a fortieth of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch
from torch import nn

from secateur.analysis.sensitivity import Sensitivity, scan_counts
from secateur.errors import UnreachableTargetError
from secateur.pruning.layers import layer_name, select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.scores import Score, lamp, magnitude
from secateur.pruning.selection import keep_highest, keep_highest_globally
from secateur.recipes.ladder import Counts, Ladder, Offer, descend, make_ladder, reach
from secateur.recipes.price import Milliseconds, Price, layer_prices
from secateur.training.evaluation import evaluate
from secateur.training.task import Task, in_chunks

Trial = Callable[[Masks], float]
_PROBED = 0.7  # of a layer's living weights are kept at most when it is cut alone
_NOISE = 0.004  # of the loss: what two trials may differ by for no reason
# Of a layer's living weights. Close together at the top, where the first cuts of small layers are made. The
# first cut of a large one goes to the foot: with nothing below 0.05, LeNet-5's fc1 kept too much of it, and
# the convolutions too little.
_FRACTIONS = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)


@final
@dataclass(frozen=True)
class Choice:
    """A cut, and how it came about.

    Attributes:
        masks: Which weights live after it.
        price: What the network costs then.
        scan: What pruning each layer alone would have done to the network before the cut.
        by: Whose allocation it is: ``scan``, ``recovery``, ``lamp`` or ``global``.
        trials: Validation loss of each allocation after it was tried out; empty where there was no choice.
        left: Layer -> which part of the harm that the scan saw was left after retraining.
    """

    masks: Masks
    price: float
    scan: Sensitivity
    by: str = "scan"
    trials: Mapping[str, float] = field(default_factory=dict)
    left: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What a run keeps of it, as plain JSON values."""
        return {
            "price": self.price,
            "by": self.by,
            "trials": dict(self.trials),
            "left": dict(self.left),
            "scan": self.scan.to_json(),
            "kept": {layer_name(name): self.masks.kept_of(name) for name in self.masks},
        }


def cut_to_price(
    model: nn.Module, alive: Masks, task: Task, price: Price, limit: float, trial: Trial | None = None
) -> Choice:
    """The cut to a price that harms least: by what a scan says, or by what trials say.

    Args:
        model: The network; it is left as it was.
        alive: Which of its weights live.
        task: Whose validation images decide.
        price: In which unit.
        limit: The most that the network may cost afterwards.
        trial: Retrains the network for a moment under given masks and gives its validation loss; without it
            the scan decides.

    Returns:
        The cut. Where even the lowest points of all layers cost more than the limit, it is those.

    Raises:
        UnreachableTargetError: No layer has a weight left to cut.
    """
    return _least_harmful(model, alive, price, limit, trial, *_offers(model, alive, task, price))


def cut_to_error(
    model: nn.Module,
    alive: Masks,
    task: Task,
    price: Price,
    increase: float,
    least: float = 0.0,
    trial: Trial | None = None,
) -> Choice:
    """A first cut: how far to go is the least after which the network, not retrained, errs by so much more.

    That is asked along the scan's own ladder; what is then cut to that price, `cut_to_price` says how it is
    chosen.

    Args:
        model: The network; it is left as it was.
        alive: Which of its weights live.
        task: Whose validation images decide.
        price: In which unit harm is weighed.
        increase: Of the validation error, in points; above 0.
        least: The cut goes no further than to this price.
        trial: As in `cut_to_price`.

    Returns:
        The cut.

    Raises:
        UnreachableTargetError: No layer has a weight left to cut.
    """
    offers, scan = _offers(model, alive, task, price)
    images, labels = task.sample()
    weights = select_weights(model)
    before = {name: weights[name].detach().clone() for name in alive}

    @torch.no_grad()
    def errs_enough(counts: Counts) -> bool:
        _masks(model, counts, alive).apply_(model)
        error = evaluate(model, in_chunks(images, labels)).error
        for name, values in before.items():
            weights[name].copy_(values)
        return error >= scan.error + increase

    _refuse_if_nothing_is_cheaper(offers, alive, price)
    masks = _masks(model, descend(make_ladder(offers), errs_enough), alive)
    by_scan = Choice(masks, price.of(model, masks), scan)
    if trial is None and by_scan.price >= least:
        return by_scan
    if isinstance(price, Milliseconds) and by_scan.price >= price.of(model, alive):
        return by_scan  # few zeros may save no time yet: other cuts of that time would be no cuts
    return _least_harmful(model, alive, price, max(by_scan.price, least), trial, offers, scan)


def _least_harmful(
    model: nn.Module,
    alive: Masks,
    price: Price,
    limit: float,
    trial: Trial | None,
    offers: Mapping[str, list[Offer]],
    scan: Sensitivity,
) -> Choice:
    # A time is measured once: another time would say otherwise. Every way ranks a layer's weights by
    # magnitude, so that how many are kept says which.
    measured: dict[tuple[int, ...], float] = {}

    def price_of(masks: Masks) -> float:
        kept = tuple(masks.kept_of(name) for name in masks)
        if kept not in measured:
            measured[kept] = price.of(model, masks)
        return measured[kept]

    def to_limit(ladder: Ladder) -> Masks:
        return _masks(model, reach(ladder, lambda at: price_of(_masks(model, at, alive)), limit), alive)

    _refuse_if_nothing_is_cheaper(offers, alive, price)
    masks = to_limit(make_ladder(offers))
    by_scan = Choice(masks, price_of(masks), scan)
    if trial is None or by_scan.price > limit or masks == alive:
        return by_scan
    left = _left_after_retraining(alive, by_scan.masks, model, offers, trial)
    scaled = {
        name: [replace(offer, harm=offer.harm * left[name]) for offer in points]
        for name, points in offers.items()
    }
    allocations = {"scan": by_scan.masks, "recovery": to_limit(make_ladder(scaled))}
    if not isinstance(price, Milliseconds):  # a ranking's cut to a price is found by asking for many prices
        for name, score in (("lamp", lamp), ("global", magnitude)):
            ranked = _ranked_masks(model, alive, price, limit, score)
            if all(ranked.kept_of(layer) for layer in ranked):
                allocations[name] = ranked
    trials = {name: trial(masks) for name, masks in allocations.items()}
    best = min(trials, key=trials.__getitem__)
    shares = {layer_name(name): share for name, share in left.items()}
    return Choice(allocations[best], price_of(allocations[best]), scan, best, trials, shares)


def _offers(
    model: nn.Module, alive: Masks, task: Task, price: Price
) -> tuple[dict[str, list[Offer]], Sensitivity]:
    counts = {
        name: [max(1, round(fraction * alive.kept_of(name))) for fraction in (1.0, *_FRACTIONS)]
        for name in alive
    }
    scan = scan_counts(model, *task.sample(), counts, alive=alive, score=magnitude)
    prices = layer_prices(price, model, alive, scan.layers, magnitude)
    offers = {
        layer.parameter: [
            Offer(point.kept, prices[layer.parameter][point.kept], point.loss - scan.loss)
            for point in layer.points
        ]
        for layer in scan.layers
    }
    return offers, scan


def _left_after_retraining(
    alive: Masks, cut: Masks, model: nn.Module, offers: Mapping[str, list[Offer]], trial: Trial
) -> dict[str, float]:
    """Which part of each layer's harm is left when it alone is cut and the network retrained for a moment."""
    uncut = trial(alive)
    left: dict[str, float] = {}
    for name, points in offers.items():
        # A layer that the scan would hardly touch is cut all the same: its harm may be what retraining mends.
        kept = min(cut.kept_of(name), max(1, round(_PROBED * alive.kept_of(name))))
        alone = _masks(model, {name: kept}, Masks({name: alive[name]}))
        seen = sorted(points, key=lambda offer: offer.kept)
        harm = float(np.interp(kept, [offer.kept for offer in seen], [offer.harm for offer in seen]))
        noise = _NOISE * uncut
        left[name] = max(trial(Masks({**alive, **alone})) - uncut, noise) / max(harm, noise)
    return left


def _refuse_if_nothing_is_cheaper(offers: Mapping[str, list[Offer]], alive: Masks, price: Price) -> None:
    """Refuse a network that no cut makes cheaper; one that is within the limit already may stay."""
    if make_ladder(offers).rungs:
        return
    layers = f"{', '.join(layer_name(name) for name in alive)} keep {alive.kept:,} weights between them"
    if isinstance(price, Milliseconds) and any(
        len({offer.kept for offer in points}) > 1 for points in offers.values()
    ):
        raise UnreachableTargetError(f"no layer was measured to be any faster with fewer weights: {layers}")
    raise UnreachableTargetError(f"no layer has a weight left to cut: {layers}")


def _ranked_masks(model: nn.Module, alive: Masks, price: Price, limit: float, score: Score) -> Masks:
    """The most weights that one ranking over all layers can keep within a price."""
    weights = {name: weight for name, weight in select_weights(model).items() if name in alive}
    most, least = alive.kept, 0
    found = keep_highest_globally(weights, score, least, alive)
    while most - least > max(1, alive.kept // 10_000):
        middle = (most + least) // 2
        masks = keep_highest_globally(weights, score, middle, alive)
        if price.of(model, masks) <= limit:
            least, found = middle, masks
        else:
            most = middle
    return found


def _masks(model: nn.Module, counts: Counts, alive: Masks) -> Masks:
    weights = select_weights(model)
    return Masks(
        {
            name: keep_highest(magnitude(name, weights[name]), counts[name], mask)
            for name, mask in alive.items()
        }
    )
