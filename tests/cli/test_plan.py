"""``--plan``: nothing is trained or read, and what is printed is what the forecast says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from secateur.cli.main import main
from secateur.recipes.builtin import RECIPES
from tests.small import phase

LARGE = {"alexnet", "alexnet-short", "vgg-16", "vgg-16-short"}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["run", *words]) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(capsys, *words, "--plan", "--json"))
    return found


def recipe(folder: Path, **changes: Any) -> str:
    plan = {"dense": [phase(2)], "cut": {"kind": "density", "density": 0.1}, "retrain": [phase(1)]}
    content = {
        "name": "tiny",
        "model": "lenet-300-100",
        "data": {"name": "digits", "validation": 40},
        "plan": plan,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return str(path)


# The large networks take the same way, for half a minute each on a slow machine: one is planned below.
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in LARGE])
def test_every_recipe_has_a_plan(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = as_json(capsys, name, "--no-measure")
    assert found["recipe"] == name
    assert 0 < found["total"]["kept"] < found["total"]["weights"]
    assert 0 < found["total"]["packed_bytes"] < found["total"]["dense_bytes"]
    assert found["total"]["steps"] > 0
    assert found["total"]["hours"] is None
    assert not any(tmp_path.iterdir())  # no run's folder


def test_the_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = printed(capsys, recipe(tmp_path), "--plan", "--images", "6400", "--no-measure")
    lines = [line.split() for line in out.splitlines()]
    assert "6,400 training images of 1 x 28 x 28 pixels" in out
    assert ["fc1", "235K", "10.0", "23.5K", "gap8", "119KB", "235K", "23.5K"] in lines
    assert ["others", "410", "float32", "1.64KB"] in lines
    assert ["dense", "all", "1", "2", "32", "400", "5.48MB", "-", "-"] in lines
    assert ["round", "all", "1", "1", "32", "200", "6.81MB", "-", "-"] in lines
    assert ["total", "3", "600", "6.81MB", "-"] in lines
    assert "1.07MB -> 136KB, 7.8x smaller; weights 10.0x fewer, MAC 10.0x fewer" in out
    assert "hours       not measured" in out


@pytest.mark.slow
def test_large_numbers_have_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "alexnet", "--plan", "--no-measure")
    assert "1,231,167 training images of 3 x 227 x 227 pixels, 1000 classes" in out
    assert "244MB -> 32MB, 7.6x smaller" in out
    assert "memory      4.48GB (weights 244MB, gradients 244MB" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["turn", "1", "fc*", "4", "16", "256", "77K", "1.45GB", "-", "-"] in lines


def test_hours_as_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = as_json(capsys, recipe(tmp_path))
    steps = [(row["times"] * row["steps"], row["step_seconds"]) for row in found["phases"]]
    assert all(0 < seconds < 10 for _, seconds in steps)
    assert found["total"]["hours"] == pytest.approx(sum(count * seconds for count, seconds in steps) / 3600)
    assert "of training steps as measured on" in printed(capsys, recipe(tmp_path), "--plan")


def test_images_are_those_of_the_data_set_less_what_is_held_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert as_json(capsys, recipe(tmp_path), "--no-measure")["images"] == 4000 - 40
    assert as_json(capsys, recipe(tmp_path), "--no-measure", "--images", "77")["images"] == 77


def test_processes_share_activations(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one, two = (
        as_json(capsys, recipe(tmp_path), "--no-measure", "--processes", count)["memory"] for count in "12"
    )
    assert one["activations"] == 2 * two["activations"]
    assert one["weights"] == two["weights"]


def test_a_search_has_no_densities_yet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan = {"dense": [phase(2)], "target": {"weights": 20_000}, "retrain": [phase(1)]}
    out = printed(capsys, recipe(tmp_path, plan=plan), "--plan", "--no-measure")
    assert ["fc1", "235K", "-", "-", "-", "-", "235K", "-"] in [line.split() for line in out.splitlines()]
    assert "a search decides" in out


def test_a_network_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = recipe(tmp_path, model="secateur.networks:LeNet5")
    assert [layer["name"] for layer in as_json(capsys, mine, "--no-measure")["layers"]][:2] == [
        "conv1",
        "conv2",
    ]


def test_what_only_a_plan_obeys_is_refused_without_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", recipe(tmp_path), "--images", "100", "--json"]) == 1
    assert "--images, --json: only for --plan, which trains nothing" in capsys.readouterr().err


def test_a_network_with_other_outputs_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [recipe(tmp_path), "--model", "tests.small:Dense", "--plan", "--no-measure"]
    assert main(["run", *words]) == 1
    assert "the network Dense on images of shape (1, 28, 28): it does not run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "--images must be at least 1, found 0"),
        (["--processes", "-1"], "--processes must be at least 1, found -1"),
    ],
)
def test_numbers_that_cannot_be(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", recipe(tmp_path), "--plan", *words]) == 1
    assert message in capsys.readouterr().err
