from __future__ import annotations

from typing import Any

import pytest

from secateur.errors import ConfigurationError
from secateur.recipes.plan import Plan, parse_recipe
from secateur.recipes.target import MaxBytes, MaxError, MaxErrorIncrease, MaxMilliseconds, MaxWeights, Search
from tests.small import phase, plan


def searching(target: Any, /, **changes: Any) -> dict[str, Any]:
    return {"dense": [phase()], "target": target, "retrain": [phase(1)]} | changes


def refused(content: dict[str, Any]) -> str:
    recipe = {"name": "x", "model": "lenet-5", "plan": content}
    with pytest.raises(ConfigurationError) as caught:
        parse_recipe(recipe, "x.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"max_error_increase": 0.1}, MaxErrorIncrease(max_error_increase=0.1)),
        ({"max_error_increase": 0}, MaxErrorIncrease(max_error_increase=0.0)),
        ({"error": 1.6}, MaxError(error=1.6)),
        ({"weights": 4000}, MaxWeights(weights=4000)),
        ({"bytes": 20_000}, MaxBytes(bytes=20_000)),
        ({"milliseconds": 2.0, "batch": 8}, MaxMilliseconds(milliseconds=2.0, batch=8)),
        ({"milliseconds": 2}, MaxMilliseconds(milliseconds=2.0, batch=1, threads=1)),
    ],
)
def test_each_target_from_plain_values_and_back(target: dict[str, Any], expected: object) -> None:
    found = Plan.model_validate(searching(target))
    assert found.target == expected
    assert Plan.model_validate(searching(expected)).target == expected
    assert Plan.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            {"error": 1.6, "bytes": 20_000},
            "plan.target: error and bytes contradict each other: a search is asked for one of them; keep one",
        ),
        ({"accuracy": 99}, "plan.target: there is no such target; there are max_error_increase, error, "),
        (1.6, "plan.target: a target is one of max_error_increase, error, weights, bytes, milliseconds"),
        ({"error": "low"}, "plan.target.error: Input should be a valid number; found 'low'"),
        ({"error": 0}, "plan.target.error: Input should be greater than 0"),
        ({"max_error_increase": -0.1}, "plan.target.max_error_increase: Input should be greater than or"),
        ({"bytes": 1.5}, "plan.target.bytes: "),
        ({"milliseconds": 1.0, "batch": 0}, "plan.target.batch: Input should be greater than or equal to 1"),
        ({"bytes": 1000, "batch": 1}, "plan.target.batch: there is no such key"),
    ],
)
def test_what_is_no_target_is_refused_with_its_place(target: Any, message: str) -> None:
    assert message in refused(searching(target))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cut": {"kind": "global", "density": 0.1}}, "here they contradict each other"),
        ({"rounds": 3}, "rounds belong to a cut; with a target give `search: {rounds: ...}`"),
        ({"gradual": {"until": 0.5}}, "a search cuts at once and keeps the survivors"),
        ({"survivors": {"kind": "reinitialise"}}, "a search cuts at once and keeps the survivors"),
        ({"search": {"step": 0.97}}, "plan.search: finest (0.95) must not be below step (0.97)"),
        ({"search": {"price": "time"}}, "plan.search.price: "),
        ({"target": None}, "give either `cut`, which says how far to go, or `target`, a budget"),
        (
            {"target": None, "cut": {"kind": "global", "density": 0.1}, "search": {"rounds": 3}},
            "search says how a target is searched for; without a target leave it away",
        ),
    ],
)
def test_what_does_not_fit_a_target_is_refused(changes: dict[str, Any], message: str) -> None:
    assert message in refused(searching({"error": 1.6}, **changes))


def test_a_plan_is_known_by_what_concerns_it_alone() -> None:
    assert {"target", "search"}.isdisjoint(plan().model_dump(mode="json"))
    dumped = Plan.model_validate(searching({"error": 1.6})).model_dump(mode="json")
    assert {"cut", "rounds"}.isdisjoint(dumped)
    assert dumped["target"] == {"error": 1.6}
    assert dumped["search"] == Search().model_dump(mode="json")
