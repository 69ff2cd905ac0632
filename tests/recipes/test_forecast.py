"""Forecasts: densities against the closed form, bytes against what is packed, steps against arithmetic."""

from __future__ import annotations

import json
import math
from statistics import NormalDist
from typing import Any

import pytest
import torch
from torch import nn

from secateur.errors import LayerSelectionError, UnreachableTargetError
from secateur.recipes.forecast import Forecast, expected_masks, forecast
from secateur.recipes.plan import Plan
from secateur.recipes.price import PackedBytes
from tests.small import CLASSES, SIDE, Conv, Dense, phase, plan

SHAPE = (1, SIDE, SIDE)
NORMAL = NormalDist()


def density_of(quality: float, initial: float, rounds: int) -> float:
    """What thresholds of quality x deviation of the living leave of normal weights that keep their values.

    Beyond a threshold t of the unit normal lie ``2 (1 - Phi(t))``, with a deviation of
    ``sqrt(1 + t phi(t) / (1 - Phi(t)))``, on which the next round's threshold builds.
    """
    threshold = 0.0
    for number in range(1, rounds + 1):
        deviation = math.sqrt(1 + threshold * NORMAL.pdf(threshold) / (1 - NORMAL.cdf(threshold)))
        threshold = max(threshold, (initial + (quality - initial) * number / rounds) * deviation)
    return 2 * (1 - NORMAL.cdf(threshold))


def of(the_plan: Plan, model: type[nn.Module] = Dense, **more: Any) -> Forecast:
    return forecast(model, SHAPE, CLASSES, the_plan, 100, **({"measure": False} | more))


@pytest.mark.parametrize(
    ("quality", "initial", "rounds"), [(1.0, 0.0, 1), (1.7, 0.0, 1), (0.95, 0.475, 4), (1.0, 0.5, 5)]
)
def test_thresholds_leave_what_the_closed_form_says(quality: float, initial: float, rounds: int) -> None:
    large = nn.Linear(1000, 500)  # uniform weights, as PyTorch makes them: the forecast draws its own
    cut = {"kind": "quality", "quality": quality, "initial": initial}
    masks = expected_masks(large, plan(cut=cut, rounds=rounds))
    assert masks is not None
    assert masks.kept / masks.total == pytest.approx(density_of(quality, initial, rounds), abs=0.002)


def test_densities_are_exact() -> None:
    cut = {"kind": "density", "density": 0.25, "layers": {"fc3": 0.5}, "path": "cubic"}
    found = of(plan(cut=cut, rounds=3))
    assert [(layer.name, layer.kept) for layer in found.layers] == [("fc1", 864), ("fc2", 96), ("fc3", 32)]
    assert found.kept == 864 + 96 + 32
    assert found.weights == 144 * 24 + 24 * 16 + 16 * 4
    assert found.others == 24 + 16 + 4


@pytest.mark.parametrize("score", ["magnitude", "lamp"])
def test_one_ranking_keeps_exactly_what_it_is_asked_for(score: str) -> None:
    found = of(plan(cut={"kind": "global", "density": 0.1, "score": score}), Conv)
    assert found.kept == round(0.1 * found.weights)


def test_excluded_layers_are_counted_whole() -> None:
    found = of(plan(cut={"kind": "density", "density": 0.25}, exclude=["fc3"]))
    assert [layer.kept for layer in found.layers] == [864, 96, 64]
    assert found.layers[2].layout == "dense"


def test_bytes_are_those_of_the_packed_network() -> None:
    the_plan = plan(cut={"kind": "density", "density": 0.1})
    found = of(the_plan)
    masks = expected_masks(network := Dense(), the_plan)
    assert masks is not None
    assert found.packed_bytes == PackedBytes().of(network, masks)
    assert found.dense_bytes == 4 * sum(p.numel() for p in network.parameters())


def test_multiply_accumulates_go_with_the_density() -> None:
    found = of(plan(cut={"kind": "density", "density": 0.25}), Conv)
    assert [layer.macs for layer in found.layers] == [100 * 36, 400]
    assert [layer.macs_kept for layer in found.layers] == [900, 100]
    assert (found.macs, found.macs_kept) == (4000, 1000)


def test_steps_of_every_stage_as_often_as_it_comes() -> None:
    turns = [{"layers": ["fc1"], "retrain": [phase(3, only=["fc1"])]}]
    cut = {"kind": "density", "density": 0.25}
    found = of(
        plan(dense=[phase(2), phase(1, batch_size=50)], cut=cut, rounds=4, turns=turns, final=[phase(5)])
    )
    rows = [(row.stage, row.phase, row.times, row.only, row.epochs, row.steps) for row in found.phases]
    assert rows == [
        ("dense", 1, 1, None, 2, 8),
        ("dense", 2, 1, None, 1, 2),
        ("turn 1", 1, 4, ("fc1",), 3, 12),
        ("round", 1, 3, None, 1, 4),
        ("last round", 1, 1, None, 5, 20),
    ]
    assert found.steps == 8 + 2 + 4 * 12 + 3 * 4 + 20


def test_processes_share_the_images_of_a_step_and_nothing_else() -> None:
    alone, shared = of(plan()).memory, of(plan(), processes=4).memory
    assert shared.activations * 4 == alone.activations
    assert (shared.weights, shared.masks) == (alone.weights, alone.masks)


def test_hours_are_steps_times_measured_seconds() -> None:
    found = of(plan(rounds=3), measure=True)
    seconds = [row.step_seconds for row in found.phases]
    assert all(each is not None and 0 < each < 10 for each in seconds)
    by_hand = sum(row.times * row.steps * (row.step_seconds or 0) for row in found.phases) / 3600
    assert found.hours == pytest.approx(by_hand)
    assert of(plan()).hours is None


def test_a_phase_without_epochs_takes_no_time() -> None:
    found = of(plan(dense=[phase(0)]), measure=True)
    assert (found.phases[0].steps, found.phases[0].hours) == (0, 0.0)


def test_what_a_search_decides_is_not_known() -> None:
    searched = Plan.model_validate(
        {"dense": [phase()], "target": {"weights": 500}, "search": {"rounds": 7}, "retrain": [phase()]}
    )
    found = of(searched)
    assert (found.kept, found.packed_bytes, found.macs_kept) == (None, None, None)
    assert [row.times for row in found.phases] == [1, 7]
    assert found.memory.masks > 0


def test_it_is_plain_json_and_says_the_totals() -> None:
    found = of(plan(cut={"kind": "density", "density": 0.25}))
    again = json.loads(json.dumps(found.to_json()))
    assert again["total"]["kept"] == found.kept
    assert again["total"]["steps"] == found.steps
    assert again["memory"]["total"] == found.memory.total
    assert again["layers"][0] == {
        "name": "fc1",
        "weights": 3456,
        "kept": 864,
        "layout": "bitmask",
        "bytes": 24 * 18 + 4 * 864,
        "macs": 3456,
        "macs_kept": 864,
    }


def test_the_same_forecast_every_time() -> None:
    cut = {"kind": "quality", "quality": 1.0}
    torch.manual_seed(1)
    first = of(plan(cut=cut)).to_json()
    torch.manual_seed(2)
    assert of(plan(cut=cut)).to_json() == first


def test_plans_that_cannot_be_carried_out() -> None:
    with pytest.raises(UnreachableTargetError, match="no weight at all"):
        of(plan(cut={"kind": "quality", "quality": 9.0}))
    with pytest.raises(LayerSelectionError, match="'conv1'"):
        of(plan(cut={"kind": "density", "density": 0.5, "layers": {"conv1": 0.5}}))


def test_the_callers_generators_are_left_alone() -> None:
    state = torch.get_rng_state()
    forecast(Conv, SHAPE, CLASSES, plan(), 100)
    assert torch.equal(torch.get_rng_state(), state)
