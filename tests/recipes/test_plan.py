from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from secateur.errors import ConfigurationError
from secateur.pruning.criteria import Density, GlobalDensity, StdThreshold
from secateur.pruning.scores import ProbabilisticMagnitude, Random, lamp, magnitude
from secateur.recipes.plan import Plan, Recipe, parse_recipe, read_recipe
from tests.small import phase, plan


def recipe(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": "mine",
        "model": "lenet-300-100",
        "data": {"name": "mnist", "validation": 100},
        "plan": {
            "dense": [phase()],
            "cut": {"kind": "quality", "quality": 1.0},
            "retrain": [phase()],
        },
    }
    return plain | changes


def with_plan(**changes: Any) -> dict[str, Any]:
    return recipe(plan=recipe()["plan"] | changes)


def test_a_recipe_comes_back_from_yaml_as_it_was(tmp_path: Path) -> None:
    full = with_plan(
        cut={"kind": "density", "density": 0.1, "layers": {"fc3": 0.3}, "score": "lamp", "path": "cubic"},
        rounds=3,
        final=[phase(3, schedule={"kind": "cosine", "warmup": 0.1, "cycles": 2})],
        exclude=["fc1"],
        survivors={"kind": "rewind", "epoch": 1},
        sweep=False,
        teach={"weight": 0.5},
        dropout=0.25,
    )
    parsed = parse_recipe(full, "here")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(parsed.model_dump(mode="json")))
    assert read_recipe(path) == read_recipe(str(path)) == parsed
    assert Recipe.model_validate_json(parsed.model_dump_json()) == parsed


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (with_plan(dense=[phase(epochs=-1)]), ["plan.dense.0.epochs: ", "found -1"]),
        (with_plan(dense=[phase(epochs="2")]), ["plan.dense.0.epochs: ", "found '2'"]),
        (with_plan(dense=[]), ["plan.dense: ", "at least 1 item"]),
        (with_plan(dense=[phase(epoch=2)]), ["plan.dense.0.epoch: there is no such key"]),
        (
            with_plan(retrain=[phase(), phase(optimizer={"kind": "sgd", "learning_rate": -1.0})]),
            ["plan.retrain.1.optimizer.learning_rate: ", "greater than 0; found -1.0"],
        ),
        (
            with_plan(dense=[phase(optimizer={"kind": "sgd", "learning_rate": "5e-4"})]),
            ["plan.dense.0.optimizer.learning_rate: ", "YAML takes 5e-4 for text: write it with a point"],
        ),
        (with_plan(dense=[phase(schedule={"kind": "step"})]), ["plan.dense.0.schedule: ", "'constant'"]),
        (with_plan(cut={"kind": "quality"}), ["plan.cut.quality: this key is missing"]),
        (with_plan(cut={"kind": "density", "density": 0.0}), ["plan.cut.density: ", "greater than 0"]),
        (
            with_plan(cut={"kind": "density", "density": 1.5}),
            ["plan.cut.density: ", "less than or equal to 1"],
        ),
        (
            with_plan(cut={"kind": "density", "density": 0.5, "layers": {"fc1": 2.0}}),
            ["plan.cut.layers.fc1: "],
        ),
        (with_plan(cut={"kind": "global", "density": 0.5, "score": "size"}), ["plan.cut.score: ", "'lamp'"]),
        (
            with_plan(cut={"kind": "quality", "quality": 1.0, "initial": 2.0}),
            ["plan.cut: initial (2.0) must not be above quality (1.0)"],
        ),
        (with_plan(rounds=0), ["plan.rounds: "]),
        (with_plan(dropout=1.0), ["plan.dropout: ", "less than 1"]),
        (with_plan(teach={"weight": 2.0}), ["plan.teach.weight: "]),
        (with_plan(gradual={"until": 0.0}), ["plan.gradual.until: "]),
        (with_plan(sweep="yes"), ["plan.sweep: ", "valid boolean; found 'yes'"]),
        (
            with_plan(survivors={"kind": "rewind", "epoch": 3}),
            ["plan: survivors rewind to an epoch that dense training does not reach"],
        ),
        (with_plan(gradual={}, compact=True), ["plan: a gradual cut changes the masks while training"]),
        (
            with_plan(gradual={}, survivors={"kind": "reinitialise"}),
            ["plan: a gradual cut keeps the survivors"],
        ),
        (
            with_plan(gradual={}, retrain=[phase(0), phase(2)]),
            ["plan: a gradual cut is made in the first phase of retraining, which has no epochs"],
        ),
        (recipe(name="a b"), ["name: ", "found 'a b'"]),
        (
            recipe(model="lenet"),
            ["model: there is no such built-in network; there are lenet-300-100, lenet-5"],
        ),
        (recipe(data={"name": "cifar"}), ["data.name: there is no such data set; there are mnist, digits"]),
        (recipe(data={"validation": 0}), ["data.validation: "]),
        (recipe(data={"shift": -1}), ["data.shift: "]),
        (recipe(seed=1), ["seed: there is no such key"]),
        ({"name": "x"}, ["model: this key is missing", "plan: this key is missing"]),
        ([1], ["the recipe: ", "found [1]"]),
        (None, ["the recipe: ", "found None"]),
        ("text", ["the recipe: ", "found 'text'"]),
    ],
)
def test_every_mistake_is_named_with_its_place(content: Any, lines: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_recipe(content, "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml is not a valid recipe:\n  ")
    for line in lines:
        assert line in message


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_recipe(with_plan(rounds=0, swep=True) | {"model": 3}, "mine.yaml")
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "model",
        "plan.rounds",
        "plan.swep",
    ]


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    with pytest.raises(ConfigurationError, match=r"cannot read the recipe .*r\.yaml"):
        read_recipe(path)
    with pytest.raises(ConfigurationError, match="cannot read the recipe"):
        read_recipe(tmp_path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match="cannot read the recipe"):
        read_recipe(path)
    path.write_text("name: [")
    with pytest.raises(ConfigurationError, match=r"r\.yaml is not YAML"):
        read_recipe(path)
    path.write_text("- a\n- b\n")
    with pytest.raises(ConfigurationError, match=r"r\.yaml is not a valid recipe:\n  the recipe"):
        read_recipe(path)
    path.write_text("name: a\nplan: {cut: {kind: quality, layers: {fc1: 1.0, fc1: 2.0}}}\n")
    with pytest.raises(ConfigurationError, match=r"the key 'fc1' is given twice; give it once(.|\n)*line 2"):
        read_recipe(path)
    path.write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigurationError, match="is not YAML"):
        read_recipe(path)


def test_a_recipe_may_use_what_it_said_before(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        """
        name: mine
        model: lenet-300-100
        plan:
          dense:
            - &slow {epochs: 1, batch_size: 64, optimizer: {kind: sgd, learning_rate: 0.05}}
          cut: {kind: quality, quality: 0.8}
          turns:
            - layers: [fc1]
              retrain: [&longer {<<: *slow, epochs: 2}]
          retrain:
            - {<<: *longer, batch_size: 128}
            - *longer
        """
    )
    again = read_recipe(path).plan.retrain
    assert [(each.epochs, each.batch_size) for each in again] == [(2, 128), (2, 64)]
    path.write_text("a: &a {x: 1}\nb: {<<: *a, x: 2, x: 3}\n")
    with pytest.raises(ConfigurationError, match="the key 'x' is given twice; give it once"):
        read_recipe(path)
    path.write_text("name: &around [*around]\n")  # which holds itself
    with pytest.raises(ConfigurationError, match="is not a valid recipe"):
        read_recipe(path)


def test_cuts_become_criteria_that_grow() -> None:
    cut = plan(cut={"kind": "quality", "quality": 1.2, "initial": 0.4, "layers": {"fc3": 0.6}}).cut
    half, whole = cut.at(0.5, 0), cut.at(1.0, 0)
    assert isinstance(half, StdThreshold)
    assert isinstance(whole, StdThreshold)
    assert half.quality == pytest.approx(0.8)
    assert half.layers["fc3"] == pytest.approx(0.4)
    assert (whole.quality, whole.layers["fc3"]) == (pytest.approx(1.2), pytest.approx(0.6))

    density = plan(cut={"kind": "density", "density": 0.04, "layers": {"fc3": 0.25}}).cut.at(0.5, 0)
    assert isinstance(density, Density)
    assert density.density == pytest.approx(0.2)
    assert density.layers["fc3"] == pytest.approx(0.5)

    linear = plan(cut={"kind": "global", "density": 0.2, "path": "linear"}).cut.at(0.5, 0)
    assert isinstance(linear, GlobalDensity)
    assert linear.density == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("magnitude", magnitude),
        ("lamp", lamp),
        ("random", Random(7)),
        ("probabilistic", ProbabilisticMagnitude(7)),
    ],
)
def test_scores_by_name_take_the_runs_seed(name: str, score: Any) -> None:
    criterion = plan(cut={"kind": "global", "density": 0.2, "score": name}).cut.at(1.0, 7)
    assert criterion == GlobalDensity(0.2, score)


def test_the_last_round_may_have_phases_of_its_own() -> None:
    own = plan(rounds=3, final=[phase(9)])
    assert [own.phases_of(number)[0].epochs for number in (1, 2, 3)] == [1, 1, 9]
    assert plan().phases_of(2) == plan().retrain


def test_plans_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        plan().rounds = 5  # type: ignore[misc]  # what is refused
    assert isinstance(plan(), Plan)
