"""The search for a budget: cut where a scan says it is cheapest, retrain, go back where it was too much."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol, assert_never, final

from torch import nn

from secateur.analysis.noninferiority import paired_deviation
from secateur.errors import UnreachableTargetError
from secateur.pruning.masks import Masks
from secateur.recipes.choice import Choice, Trial, cut_to_error, cut_to_price
from secateur.recipes.price import Milliseconds, Price
from secateur.recipes.run_folder import StageState
from secateur.recipes.target import (
    ErrorTarget,
    MaxBytes,
    MaxError,
    MaxErrorIncrease,
    MaxMilliseconds,
    MaxWeights,
    Search,
    SizeTarget,
)
from secateur.training.evaluation import Evaluation
from secateur.training.task import Task

# An excess of the error within so many standard errors may be noise, or what longer retraining mends.
_PLAUSIBLE = 2.0
# Rounds added where the last cut of a size budget, measured again, is still too dear.
_EXTRA_ROUNDS = 3
Choose = Callable[[nn.Module, Masks], Choice]


class Workshop(Protocol):
    """What a search can have done; whatever was done before is only read."""

    def build(self) -> nn.Module:
        """A network of the run's architecture."""

    def evaluate(self, stage: StageState) -> Evaluation:
        """A stage's network on the validation images."""

    def cut(self, name: str, before: StageState, choose: Choose) -> StageState:
        """A stage's network cut as chosen, and the choice as JSON values under ``choice`` in its notes."""

    def once(self, name: str, measure: Callable[[], float]) -> float:
        """A number that is measured once and kept."""

    def trial(self, name: str, model: nn.Module, masks: Masks) -> float:
        """The validation loss of a network that was cut so and retrained on some of the images."""

    def retrain(self, name: str, number: int, cut: StageState, *, last: bool) -> StageState:
        """A cut network retrained, with the plan's phases of the last round where it is that."""


@final
@dataclass(frozen=True)
class Attempt:
    """One network that was tried.

    Attributes:
        name: Its stage.
        price: What it costs, in the unit that the search saves.
        weights: Living weights of those under pruning.
        validation_error: In per cent.
        validation_loss: In nats.
        excess: By how many points its validation error is above the budget; None without a budget of error.
        deviation: The standard error of that, paired with the dense network.
        kept: Whether the search went on from here: the budget of error was kept, or, of a size, the network
            was no worse than when the cut was tried out.
        epochs: Of training that it took.
    """

    name: str
    price: float
    weights: int
    validation_error: float
    validation_loss: float
    excess: float | None
    deviation: float
    kept: bool
    epochs: int


@final
@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        stages: The dense network and every network that the result came from, by name and in order; the last
            one is the result.
        attempts: Everything that was tried, in order.
        met: Whether the result keeps the budget.
        statement: How near the search came, in a sentence.
        unit: Of the prices.
        limit: The budget: the highest validation error in per cent, or the highest price.
        dense_price: The dense network's price.
        reference: The dense network's validation error in per cent.
        margin: By how many points the result may be worse than the dense network; None for a budget of size
            and for one that was not met.
    """

    stages: Sequence[tuple[str, StageState]]
    attempts: Sequence[Attempt]
    met: bool
    statement: str
    unit: str
    limit: float
    dense_price: float
    reference: float
    margin: float | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values, without the networks."""
        return {
            "unit": self.unit,
            "limit": self.limit,
            "met": self.met,
            "statement": self.statement,
            "dense_price": self.dense_price,
            "dense_validation_error": self.reference,
            "result": self.stages[-1][0],
            "attempts": [asdict(attempt) for attempt in self.attempts],
        }


def search(
    target: ErrorTarget | SizeTarget,
    settings: Search,
    price: Price,
    dense: StageState,
    task: Task,
    workshop: Workshop,
) -> Found:
    """Find the smallest network within a budget of error, or the best one within a budget of size.

    Every decision is made on the validation images, and from stages that are kept: started again, a search
    finds what it did before and goes on.

    Args:
        target: The budget.
        settings: How to go about it.
        price: What is saved.
        dense: The trained dense network.
        task: Whose validation images decide.
        workshop: Cuts and retrains.

    Returns:
        What was found, the budget met or not.
    """
    hunt = _Hunt(settings, price, dense, task, workshop)
    match target:
        case MaxErrorIncrease():
            return hunt.within_error(hunt.reference.error + target.max_error_increase)
        case MaxError():
            return hunt.within_error(target.error)
        case MaxWeights():
            return hunt.within_price(target.weights)
        case MaxBytes():
            return hunt.within_price(target.bytes)
        case MaxMilliseconds():
            return hunt.within_price(target.milliseconds)
        case _:
            assert_never(target)


@dataclass
class _Hunt:
    settings: Search
    price: Price
    dense: StageState
    task: Task
    workshop: Workshop
    attempts: list[Attempt] = field(default_factory=list)
    chain: list[tuple[str, StageState]] = field(default_factory=list)
    tried: dict[str, StageState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chain.append(("dense", self.dense))
        self.model = self.workshop.build()
        self.model.load_state_dict(dict(self.dense.model))
        self.reference = self.workshop.evaluate(self.dense)

        def measure() -> float:
            return self.price.of(self.model, self.dense.masks)

        is_time = isinstance(self.price, Milliseconds)
        self.whole = self.workshop.once("dense-price", measure) if is_time else measure()

    def within_error(self, limit: float) -> Found:
        """Steps that get finer where the budget was not kept; the last network that kept it is the result."""
        settings = self.settings
        at, failed, step = self.whole, 0.0, settings.step
        for number in range(1, settings.rounds + 1):
            wanted = math.sqrt(at * failed) if failed else at * step  # half the way, as ratios go
            if wanted > at * settings.finest:
                break
            choose = self._to_price(number, wanted)
            if number == 1 and settings.first > 0:
                choose = self._to_error(number, settings.first)
            try:
                cut = self.workshop.cut(f"cut-{number:02d}", self.chain[-1][1], choose)
            except UnreachableTargetError:
                break
            if self._price(cut) <= failed:  # there is no network between the two
                break
            if self._keeps_budget(number, cut, limit):
                at = self._price(cut)
                if math.sqrt(at * failed) > at * settings.finest:
                    # What failed was reached in larger steps, or by bad luck: once more from here.
                    failed, step = 0.0, settings.finest
            else:
                failed = self._price(cut)
        return self._found_within_error(limit)

    def _keeps_budget(self, number: int, cut: StageState, limit: float) -> bool:
        """Retrain a cut network, for longer where that may help; whether it is the next link of the chain."""
        attempt = self._try(f"round-{number:02d}", number, cut, limit=limit)
        if not attempt.kept and (attempt.excess or 0.0) <= _PLAUSIBLE * attempt.deviation:
            longer, state = f"{attempt.name}-longer", self.tried[attempt.name]
            attempt = self._try(longer, number, state, limit=limit, price=attempt.price, last=True)
        if attempt.kept:
            self.chain.append((attempt.name, self.tried[attempt.name]))
        return attempt.kept

    def within_price(self, limit: float) -> Found:
        """Equal steps down to the budget, each the least harmful, after a first one as far as is harmless.

        Nothing that is cut comes back: a network that its whole retraining leaves worse than a moment of it
        did was cut too far, and half the way is taken instead. (One LeNet-5 of ten lost a point of error in
        its first cut, and half a point to the end.)
        """
        settings = self.settings
        at, failed, number, stopped = self.whole, 0.0, 0, ""
        while at > limit and number < settings.rounds + _EXTRA_ROUNDS:
            number += 1
            last = number >= settings.rounds
            left = max(settings.rounds - number + 1, 1)
            wanted = math.sqrt(at * failed) if failed else at * (limit / at) ** (1 / left)
            wanted = limit if last else wanted
            choose = self._to_price(number, wanted)
            if number == 1 and settings.first > 0 and not last:
                choose = self._to_error(number, settings.first, least=limit)
            try:
                cut = self.workshop.cut(f"cut-{number:02d}", self.chain[-1][1], choose)
            except UnreachableTargetError as error:
                stopped = f"; {error}"
                break
            last = last or self._price(cut) <= limit
            tried_out = () if last else cut.notes["choice"]["trials"].values()
            most = min(tried_out, default=math.inf)
            attempt = self._try(f"round-{number:02d}", number, cut, most_loss=most, last=last)
            if not attempt.kept:
                failed = attempt.price
                continue
            self.chain.append((attempt.name, self.tried[attempt.name]))
            at, failed = attempt.price, 0.0
        unit = self.price.unit
        statement = f"{_said(at, unit)}, within {_said(limit, unit)}"
        if at > limit:
            statement = (
                f"the budget of {_said(limit, unit)} was not met: the nearest is {self.chain[-1][0]} with "
                f"{_said(at, unit)}, from {_said(self.whole, unit)}{stopped}"
            )
        return self._found(limit, met=at <= limit, statement=statement)

    def _found_within_error(self, limit: float) -> Found:
        unit, margin = self.price.unit, max(limit - self.reference.error, 0.0)
        if len(self.chain) > 1:
            best = next(each for each in self.attempts if each.name == self.chain[-1][0])
            said = f"{_said(best.price, unit)} at a validation error of {best.validation_error:.2f} %"
            return self._found(limit, met=True, statement=f"{said}, within {limit:.2f} %", margin=margin)
        nearest = min(
            self.attempts, key=lambda each: (each.validation_error, each.validation_loss), default=None
        )
        met = self.reference.error <= limit
        said = "nothing was tried"
        if nearest is not None:
            said = (
                f"the nearest is {nearest.name} with a validation error of {nearest.validation_error:.2f} % "
                f"at {_said(nearest.price, unit)}"
            )
            if not met:
                self.chain.append((nearest.name, self.tried[nearest.name]))
        if met:
            statement = f"no smaller network kept the budget of {limit:.2f} %: {said}"
            return self._found(limit, met=True, statement=statement, margin=margin)
        # "No worse than dense" would say nothing of a budget that the dense network misses as well.
        return self._found(limit, met=False, statement=f"the budget of {limit:.2f} % was not met: {said}")

    def _found(self, limit: float, *, met: bool, statement: str, margin: float | None = None) -> Found:
        return Found(
            stages=self.chain,
            attempts=self.attempts,
            met=met,
            statement=statement,
            unit=self.price.unit,
            limit=limit,
            dense_price=self.whole,
            reference=self.reference.error,
            margin=margin,
        )

    def _trial(self, number: int, model: nn.Module) -> Trial | None:
        return partial(self.workshop.trial, f"trial-{number:02d}", model) if self.settings.trial else None

    def _to_price(self, number: int, wanted: float) -> Choose:
        def choose(model: nn.Module, alive: Masks) -> Choice:
            return cut_to_price(model, alive, self.task, self.price, wanted, self._trial(number, model))

        return choose

    def _to_error(self, number: int, increase: float, least: float = 0.0) -> Choose:
        def choose(model: nn.Module, alive: Masks) -> Choice:
            trial = self._trial(number, model)
            return cut_to_error(model, alive, self.task, self.price, increase, least, trial)

        return choose

    def _try(
        self,
        name: str,
        number: int,
        cut: StageState,
        *,
        limit: float | None = None,
        most_loss: float = math.inf,
        price: float | None = None,
        last: bool = False,
    ) -> Attempt:
        state = self.workshop.retrain(name, number, cut, last=last)
        found = self.workshop.evaluate(state)
        excess = None if limit is None else found.error - limit
        attempt = Attempt(
            name=name,
            price=self._price(cut) if price is None else price,
            weights=state.masks.kept,
            validation_error=found.error,
            validation_loss=found.loss,
            excess=excess,
            deviation=paired_deviation(self.reference.wrong.numpy(), found.wrong.numpy()),
            kept=found.loss <= most_loss and (excess is None or excess <= 0.0),
            epochs=len(state.history),
        )
        self.attempts.append(attempt)
        self.tried[name] = state
        return attempt

    def _price(self, cut: StageState) -> float:
        if isinstance(self.price, Milliseconds):  # measured once: another time would decide otherwise
            return float(cut.notes["choice"]["price"])
        return self.price.of(self.model, cut.masks)  # less what a sweep removed


def _said(price: float, unit: str) -> str:
    return f"{price:,.3g} {unit}" if unit == "milliseconds" else f"{price:,.0f} {unit}"
