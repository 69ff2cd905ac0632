"""Turns: some layers are cut and retrained before the others, round by round (paper, section 3.3)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import ConfigurationError, InterruptedRunError, LayerSelectionError
from secateur.recipes.builtin import builtin_recipe
from secateur.recipes.driver import Observer
from secateur.recipes.plan import Plan
from secateur.records import content_hash
from secateur.training.checkpoint import load_checkpoint
from tests.recipes.runs import run, same, tensors
from tests.small import Conv, Dense, phase, plan

FC, CONV = {"fc1.weight", "fc1.bias"}, {"conv1.weight", "conv1.bias"}
TURNS = [
    {"layers": ["fc*"], "retrain": [phase(1, only=["fc*"])]},
    {"layers": ["conv*"], "retrain": [phase(1, only=["conv*"])]},
]
BOTH = plan(cut={"kind": "density", "density": 0.25}, turns=TURNS, sweep=False)


def stage(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    kept = load_checkpoint(folder / "stages" / f"{name}.pt")
    return kept["model"], kept["masks"]


def densities(masks: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(mask.float().mean()) for name, mask in masks.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_each_turn_cuts_and_moves_its_own_layers_alone(tmp_path: Path) -> None:
    found = run(tmp_path, Conv, BOTH).record
    names = ["dense", *(f"round-0{n}{turn}" for n in (1, 2) for turn in ("-turn-1", "-turn-2", ""))]
    assert list(found["seconds"]) == names
    stages = [stage(tmp_path, name) for name in names]
    moved = [changed(a, b) for (a, _), (b, _) in pairwise(stages)]
    assert moved == [FC, CONV, FC | CONV] * 2
    cuts = [densities(masks) for _, masks in stages]
    expected = [(1.0, 1.0), (1.0, 0.5), (0.5, 0.5), (0.5, 0.5), (0.5, 0.25), (0.25, 0.25), (0.25, 0.25)]
    assert [(cut["conv1.weight"], cut["fc1.weight"]) for cut in cuts] == expected
    # Only a whole round is at what the cut asks of the whole network.
    targets = [point["target_compression"] for point in found["curve"]]
    assert targets == [None, None, None, 2.0, None, None, 4.0]


def test_layers_without_a_turn_are_cut_with_the_rounds_own_retraining(tmp_path: Path) -> None:
    one = plan(cut={"kind": "density", "density": 0.5}, rounds=1, turns=TURNS[:1], sweep=False)
    run(tmp_path, Conv, one)
    after = {name: densities(stage(tmp_path, name)[1]) for name in ("round-01-turn-1", "round-01")}
    assert after["round-01-turn-1"] == {"conv1.weight": 1.0, "fc1.weight": 0.5}
    assert after["round-01"] == {"conv1.weight": 0.5, "fc1.weight": 0.5}


def test_a_threshold_cuts_no_layer_twice_in_a_round(tmp_path: Path) -> None:
    cut = {"kind": "quality", "quality": 1.0, "initial": 0.5}
    run(tmp_path, Conv, plan(cut=cut, turns=TURNS, sweep=False))
    for number in (1, 2):
        in_turn, at_end = (stage(tmp_path, f"round-0{number}{end}")[1] for end in ("-turn-2", ""))
        assert changed(in_turn, at_end) == set()


def test_an_interrupted_turn_is_taken_up_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = plan(cut={"kind": "density", "density": 0.25}, turns=TURNS)

    def stop(name: str, *_: Any) -> None:
        if name == "round-02-turn-2":
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError):
        run(tmp_path / "stopped", Conv, whole, observer=Observer(on_stage=stop))
    assert not (tmp_path / "stopped" / "stages" / "round-02-turn-2.pt").exists()
    run(tmp_path / "stopped", Conv, whole)
    run(tmp_path / "whole", Conv, whole)
    for name in ("pruned", "masks"):
        assert same(tensors(tmp_path / "stopped", name), tensors(tmp_path / "whole", name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cut": {"kind": "global", "density": 0.5}}, "one ranking over all layers looks at all of them"),
        ({"cut": None, "rounds": None, "target": {"weights": 50}}, "a search or one ranking"),
        ({"gradual": {}}, "turns cut at once and keep the survivors"),
        ({"survivors": {"kind": "reinitialise"}}, "turns cut at once and keep the survivors"),
        ({"turns": [{"layers": [], "retrain": [phase()]}]}, "turns.0.layers: .*at least 1 item"),
        ({"turns": [{"layers": ["fc*"], "retrain": []}]}, "turns.0.retrain: .*at least 1 item"),
    ],
)
def test_plans_that_cannot_take_turns(changes: dict[str, Any], message: str) -> None:
    values = {"dense": [phase()], "cut": {"kind": "density", "density": 0.5}, "retrain": [phase()]}
    values |= {"turns": TURNS} | changes
    with pytest.raises(ConfigurationError, match=message):
        Plan.model_validate({key: value for key, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("model", "turns", "message"),
    [
        (Conv, [*TURNS, {"layers": ["conv1"], "retrain": [phase()]}], "'conv1' has turn 2 and turn 3; in a"),
        (Dense, TURNS, r"'conv\*' .*matches nothing that is being pruned; being pruned: fc1, fc2, fc3"),
        (
            Dense,
            [{"layers": ["fc1"], "retrain": [phase(1, only=["conv*"])]}],
            r"only: 'conv\*' matches no parameter",
        ),
    ],
)
def test_turns_that_do_not_fit_the_network_are_refused_before_training(
    tmp_path: Path, model: type[nn.Module], turns: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(LayerSelectionError, match=message):
        run(tmp_path, model, plan(cut={"kind": "density", "density": 0.5}, turns=turns))
    assert not any(tmp_path.iterdir())


def test_a_plan_without_turns_is_known_by_the_name_it_had_before_there_were_any() -> None:
    values = builtin_recipe("lenet-5").plan.model_dump(mode="json")
    assert "turns" not in values
    assert content_hash(values) == "57edfc65218a"  # as folders of runs made before are named
