from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.pruning.allocation import erdos_renyi
from secateur.pruning.criteria import Criterion, Density, GlobalDensity, StdThreshold, compute_masks
from secateur.pruning.masks import Masks
from secateur.recipes.reachable import reachable
from tests.recipes.runs import run, tensors
from tests.small import phase, plan

NAMES = {"a.weight": "a.weight", "a": "a.weight", "b.weight": "b.weight", "b": "b.weight"}


def living(a: int, b: int) -> Masks:
    return Masks({"a.weight": torch.arange(60).reshape(10, 6) < a, "b.weight": torch.arange(40) < b})


@given(
    st.integers(1, 60), st.integers(1, 40), st.floats(0.05, 1.0), st.sampled_from(["global", "all", "own"])
)
def test_a_reachable_target_is_reached_and_never_asks_for_more_than_lives(
    a: int, b: int, density: float, kind: str
) -> None:
    alive = living(a, b)
    weights = {name: torch.arange(1.0, mask.numel() + 1).reshape(mask.shape) for name, mask in alive.items()}
    for weight in weights.values():
        weight.view(-1)[0] = 1000.0  # alive in both layers, so that neither ends empty
    criteria: dict[str, Criterion] = {
        "global": GlobalDensity(density),
        "all": Density(density, allocation=erdos_renyi),
        "own": Density(density, {"b": 0.5}),
    }
    found = reachable(criteria[kind], alive, NAMES)
    masks = compute_masks(weights, found.criterion, alive, NAMES)
    whole = compute_masks(weights, criteria[kind], None, NAMES)
    assert found.asked == whole.kept
    if kind == "global":
        assert masks.kept == min(whole.kept, alive.kept)
        assert bool(found.capped) is (whole.kept > alive.kept)
        return
    for name in alive:
        assert masks.kept_of(name) == min(whole.kept_of(name), alive.kept_of(name))
        capped = whole.kept_of(name) > alive.kept_of(name)
        note = {"asked": whole.kept_of(name), "alive": alive.kept_of(name)}
        assert found.capped.get(name.removesuffix(".weight")) == (note if capped else None)


def test_what_can_be_reached_is_left_as_it_is() -> None:
    alive = living(60, 40)
    for criterion in (StdThreshold(1.0), GlobalDensity(0.3), Density(0.3, {"b": 0.5})):
        found = reachable(criterion, alive, NAMES)
        assert found.criterion is criterion
        assert not found.capped
    assert reachable(StdThreshold(1.0), alive, NAMES).asked is None


@pytest.mark.parametrize("gradual", [None, {"every": 1}])
@pytest.mark.parametrize("kind", ["density", "global"])
@pytest.mark.parametrize("path", ["linear", "one-shot"])
def test_a_sweep_that_goes_past_the_next_round_does_not_end_the_run(
    tmp_path: Path, kind: str, path: str, gradual: dict[str, Any] | None
) -> None:
    cut = {"kind": kind, "density": 0.06, "path": path}
    rounds = plan(dense=[phase(3)], cut=cut, rounds=8, retrain=[phase(1)], gradual=gradual)
    record = run(tmp_path, the_plan=rounds).record
    assert record["curve"][0]["target_compression"] is None
    targets = [point["target_compression"] for point in record["curve"][1:]]
    assert targets == sorted(targets)
    assert targets[-1] == pytest.approx(1 / 0.06, rel=0.01)
    assert all(point["compression"] >= point["target_compression"] for point in record["curve"][1:])
    # The run must have met what it is about: a round that found less alive than it asks for.
    if path == "one-shot" and record["curve"][1]["compression"] > targets[0]:
        notes = torch.load(tmp_path / "stages" / "round-02.pt", weights_only=True)["notes"]
        assert notes["capped"]
        assert all(found["asked"] > found["alive"] for found in notes["capped"].values())
    assert sum(int(mask.sum()) for mask in tensors(tmp_path, "masks").values()) == record["weights"]["kept"]
