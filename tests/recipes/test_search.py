"""The search alone, against a workshop that makes networks of a known error without training any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.datasets.augment import ShiftedImages
from secateur.errors import ConfigurationError
from secateur.pruning.masks import Masks
from secateur.recipes.choice import Choice
from secateur.recipes.price import Milliseconds, Price, Weights
from secateur.recipes.run_folder import StageState
from secateur.recipes.search import Choose, Found, search
from secateur.recipes.target import (
    ErrorTarget,
    MaxError,
    MaxErrorIncrease,
    MaxMilliseconds,
    MaxWeights,
    Search,
    SizeTarget,
)
from secateur.training.evaluation import Evaluation, evaluate
from secateur.training.task import ImagesInMemory

IMAGES = 200


class Wrong(nn.Module):
    """Has 1,000 weights that can be cut, and is wrong on as many images as a buffer says."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1000, bias=False)
        self.register_buffer("wrong", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        # An image is its own number; the output does depend on the weights, but by nothing that matters.
        first = (x[:, 0] >= self.wrong).float() + 1e-9 * self.layer(x).sum(dim=1)
        return torch.stack([first, 1 - first], dim=1)


def numbered_task() -> ImagesInMemory:
    images = torch.arange(float(IMAGES))[:, None]
    labels = torch.zeros(IMAGES, dtype=torch.int64)
    return ImagesInMemory(
        images=ShiftedImages(images[:, None, None], 0, fill=0.0),
        labels=labels,
        train=torch.arange(IMAGES),
        validation_images=images,
        validation_labels=labels,
        test_images=images,
        test_labels=labels,
        classes=2,
        source="numbers",
    )


TASK = numbered_task()
ErrorOf = Callable[[int, bool], int]


@dataclass
class Bench:
    """A workshop whose retrained networks are wrong on ``error_of(weights kept, long retraining)`` images."""

    error_of: ErrorOf
    trial_loss: Callable[[int], float] = float
    kept: dict[str, StageState] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    trials: list[str] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)

    def build(self) -> Wrong:
        torch.manual_seed(0)
        return Wrong()

    def dense(self) -> StageState:
        model = self.build()
        return self._state(model, Masks.full({"layer.weight": model.layer.weight}), last=False)

    def evaluate(self, stage: StageState) -> Evaluation:
        model = self.build()
        model.load_state_dict(dict(stage.model))
        return evaluate(model, TASK.validation())

    def cut(self, name: str, before: StageState, choose: Choose) -> StageState:
        def make() -> StageState:
            model = self.build()
            model.load_state_dict(dict(before.model))
            choice: Choice = choose(model, before.masks)
            return StageState(before.model, choice.masks, [], {"choice": choice.to_json()})

        return self._once(name, make)

    def once(self, name: str, measure: Callable[[], float]) -> float:
        if name not in self.measured:
            self.measured[name] = measure()
        return self.measured[name]

    def trial(self, name: str, model: nn.Module, masks: Masks) -> float:
        del model
        self.trials.append(name)
        return self.trial_loss(masks.kept)

    def retrain(self, name: str, number: int, cut: StageState, *, last: bool) -> StageState:
        del number
        return self._once(name, lambda: self._state(self.build(), cut.masks, last=last))

    def _state(self, model: Wrong, masks: Masks, *, last: bool) -> StageState:
        model.wrong.fill_(self.error_of(masks.kept, last))
        return StageState(model.state_dict(), masks, [{"epoch": 1}] * (3 if last else 1), {})

    def _once(self, name: str, make: Callable[[], StageState]) -> StageState:
        if name not in self.kept:
            self.made.append(name)
            self.kept[name] = make()
        return self.kept[name]


def run(
    target: ErrorTarget | SizeTarget, error_of: ErrorOf, price: Price | None = None, **settings: Any
) -> tuple[Found, Bench]:
    bench = Bench(error_of)
    given = Search(**{"first": 0.0, "step": 0.5, "trial": 0, **settings})
    return search(target, given, price or Weights(), bench.dense(), TASK, bench), bench


def cliff(at: int, longer: int | None = None) -> ErrorOf:
    """4 images wrong down to so many weights, 60 below; long retraining moves the cliff."""
    return lambda kept, last: 4 if kept >= (longer if last and longer is not None else at) else 60


def test_it_comes_down_to_the_cliff_from_above() -> None:
    found, _ = run(MaxErrorIncrease(max_error_increase=0.0), cliff(120))
    assert found.met
    assert 120 <= found.stages[-1][1].masks.kept < 140
    prices = [attempt.price for attempt in found.attempts]
    assert prices[:3] == [500, 250, 125]
    assert [attempt.kept for attempt in found.attempts[:4]] == [True, True, True, False]
    assert found.statement == (
        f"{found.stages[-1][1].masks.kept} weights at a validation error of 2.00 %, within 2.00 %"
    )
    assert found.margin == 0.0
    # The stages are the chain that led there, not what was tried and left.
    kept = [attempt.name for attempt in found.attempts if attempt.kept]
    assert [name for name, _ in found.stages] == ["dense", *kept]


@pytest.mark.parametrize("at", [990, 333, 17, 2])
def test_wherever_the_cliff_is_it_is_found_to_within_two_of_the_finest_steps(at: int) -> None:
    found, _ = run(MaxErrorIncrease(max_error_increase=0.5), cliff(at), rounds=60)
    kept = found.stages[-1][1].masks.kept
    assert at <= kept <= at / 0.95**2 + 1
    assert len(found.attempts) < 20


def test_after_a_failure_it_goes_back_and_takes_half_the_way() -> None:
    found, bench = run(MaxErrorIncrease(max_error_increase=0.0), cliff(600))
    prices = [attempt.price for attempt in found.attempts]
    assert prices[:2] == [500, 707]  # sqrt(0.5) of 1,000
    assert bench.kept["cut-02"].masks.kept == 707


def test_a_failure_that_may_be_noise_is_retrained_for_longer() -> None:
    def slightly_worse(kept: int, last: bool) -> int:
        return 4 if kept >= 400 or last else 5  # one image more: half a point

    found, _ = run(MaxErrorIncrease(max_error_increase=0.0), slightly_worse, rounds=2)
    assert [attempt.name for attempt in found.attempts] == ["round-01", "round-02", "round-02-longer"]
    assert [attempt.kept for attempt in found.attempts] == [True, False, True]
    assert found.attempts[2].price == found.attempts[1].price == 250
    assert found.attempts[1].excess == 0.5
    assert [attempt.epochs for attempt in found.attempts] == [1, 1, 3]


def test_a_failure_that_is_none_is_not() -> None:
    found, _ = run(MaxErrorIncrease(max_error_increase=0.0), cliff(400, longer=10), rounds=2)
    assert [attempt.name for attempt in found.attempts] == ["round-01", "round-02"]


def test_an_absolute_error_is_a_budget_too() -> None:
    found, _ = run(MaxError(error=30.0), cliff(120))
    assert found.met
    assert found.stages[-1][1].masks.kept < 120  # 60 of 200 images wrong are within 30 %
    assert found.margin == 28.0


def test_an_error_that_nothing_reaches_says_how_near_it_came() -> None:
    found, _ = run(MaxError(error=1.0), cliff(120), rounds=4)
    assert not found.met
    assert found.statement == (
        "the budget of 1.00 % was not met: the nearest is round-01 with a validation error of 2.00 % "
        "at 500 weights"
    )
    assert [name for name, _ in found.stages] == ["dense", "round-01"]
    assert found.margin is None


def test_a_dense_network_that_nothing_smaller_matches_is_the_result() -> None:
    found, _ = run(MaxErrorIncrease(max_error_increase=0.0), cliff(1000), rounds=3)
    assert found.met
    assert [name for name, _ in found.stages] == ["dense"]
    assert found.statement.startswith("no smaller network kept the budget of 2.00 %: the nearest is round-01")


def test_a_number_of_weights_is_reached_in_equal_steps_and_the_last_retrains_longer() -> None:
    found, _ = run(MaxWeights(weights=125), cliff(0), rounds=3)
    assert [attempt.price for attempt in found.attempts] == [500, 250, 125]
    assert [attempt.epochs for attempt in found.attempts] == [1, 1, 3]
    assert (found.met, found.margin, found.statement) == (True, None, "125 weights, within 125 weights")
    assert found.attempts[0].excess is None


def damaged_at(at: int) -> ErrorOf:
    """A loss of 0.33, but 0.61 at so many weights."""
    return lambda kept, last: 60 if kept == at and not last else 4


def search_for(weights: int, error_of: ErrorOf, trial_loss: float, **settings: Any) -> tuple[Found, Bench]:
    bench = Bench(error_of, lambda _: trial_loss)
    given = Search(**{"first": 0.0, "trial": 10, "rounds": 3, **settings})
    return search(MaxWeights(weights=weights), given, Weights(), bench.dense(), TASK, bench), bench


def test_of_a_cut_that_turned_out_worse_than_it_was_tried_out_half_is_taken() -> None:
    found, _ = search_for(125, damaged_at(500), trial_loss=0.5)
    assert [attempt.price for attempt in found.attempts] == [500, 707, 125]
    assert [attempt.kept for attempt in found.attempts] == [False, True, True]
    assert [name for name, _ in found.stages] == ["dense", "round-02", "round-03"]
    assert found.met


def test_twice_too_far_is_three_quarters_back() -> None:
    found, _ = search_for(125, lambda kept, _: 60 if kept in (594, 770) else 4, trial_loss=0.5, rounds=4)
    assert [attempt.price for attempt in found.attempts] == [594, 770, 877, 125]
    assert [attempt.kept for attempt in found.attempts] == [False, False, True, True]


@pytest.mark.parametrize(("loss", "trial"), [(0.7, 10), (0.1, 0)])
def test_a_cut_as_good_as_tried_out_or_not_tried_out_at_all_stays(loss: float, trial: int) -> None:
    found, _ = search_for(125, damaged_at(500), trial_loss=loss, trial=trial)
    assert [attempt.price for attempt in found.attempts] == [500, 250, 125]


def test_behind_the_last_cut_there_is_nothing_to_go_back_for() -> None:
    found, _ = search_for(500, lambda *_: 60, trial_loss=0.5, rounds=1)
    assert (found.met, [attempt.kept for attempt in found.attempts]) == (True, [True])


def test_a_size_that_the_dense_network_has_already_is_met_by_it() -> None:
    found, bench = run(MaxWeights(weights=2000), cliff(0))
    assert (found.met, bench.made) == (True, [])


def test_a_time_that_cannot_be_had_says_how_near_it_came() -> None:
    def timer(model: nn.Module, example: Tensor, threads: int) -> float:
        del example, threads
        return 0.5 + int(model.get_parameter("layer.weight").count_nonzero()) / 1000

    price = Milliseconds(torch.zeros(1, 1), 1, timer)
    found, _ = run(MaxMilliseconds(milliseconds=0.4), cliff(0), price, rounds=2)
    assert not found.met
    assert found.statement.startswith("the budget of 0.4 milliseconds was not met: the nearest is round-0")
    assert found.statement.endswith(
        "with 0.501 milliseconds, from 1.5 milliseconds; no layer has a weight left to cut: layer keep 1 "
        "weights between them"
    )
    reached, _ = run(MaxMilliseconds(milliseconds=0.7), cliff(0), price, rounds=2)
    assert reached.met
    assert reached.stages[-1][1].masks.kept == 200


def test_a_time_that_no_cut_shortens_says_so() -> None:
    price = Milliseconds(torch.zeros(1, 1), 1, lambda *_: 1.0)
    found, _ = run(MaxMilliseconds(milliseconds=0.4), cliff(0), price, rounds=2)
    assert (found.met, found.attempts) == (False, [])
    assert found.statement.endswith(
        "from 1 milliseconds; no layer was measured to be any faster with fewer weights: layer keep 1,000 "
        "weights between them"
    )


def test_the_time_that_was_measured_once_is_not_measured_again() -> None:
    times = iter(range(1000, 0, -1))

    def drifting(model: nn.Module, example: Tensor, threads: int) -> float:
        del model, example, threads
        return float(next(times))

    price = Milliseconds(torch.zeros(1, 1), 1, drifting)
    bench = Bench(cliff(0))
    settings = Search(first=0.0, trial=0, rounds=2)
    target = MaxMilliseconds(milliseconds=900.0)
    first = search(target, settings, price, bench.dense(), TASK, bench)
    again = search(target, settings, price, bench.dense(), TASK, bench)
    assert again.to_json() == first.to_json()
    assert first.dense_price == 1000.0


def test_started_again_it_finds_what_it_did_and_decides_the_same() -> None:
    whole, bench = run(MaxErrorIncrease(max_error_increase=0.0), cliff(120))
    again = search(
        MaxErrorIncrease(max_error_increase=0.0),
        Search(first=0.0, step=0.5, trial=0),
        Weights(),
        bench.dense(),
        TASK,
        bench,
    )
    assert again.to_json() == whole.to_json()
    assert len(bench.made) == len(set(bench.made))


def test_allocations_are_tried_out_where_that_is_asked_for() -> None:
    _, bench = run(MaxWeights(weights=125), cliff(0), rounds=2, trial=10)
    # Uncut, its one layer alone, and four allocations.
    assert bench.trials == ["trial-01"] * 6 + ["trial-02"] * 6


def test_finest_below_step_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"finest \(0.5\) must not be below step \(0.6\)"):
        Search(finest=0.5)
