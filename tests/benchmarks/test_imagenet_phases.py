from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.checkout import ROOT
from benchmarks.imagenet_phases import RECIPES, normal_weights, shortened, some_pictures
from benchmarks.readme import RESULTS
from PIL import Image

from secateur.errors import ConfigurationError
from secateur.networks import build_network
from secateur.recipes.builtin import builtin_recipe
from secateur.training.checkpoint import load_into, load_weights


@pytest.mark.parametrize("name", RECIPES)
def test_a_shortened_recipe_keeps_every_phase_but_its_length(name: str) -> None:
    whole, short = builtin_recipe(name), shortened(builtin_recipe(name), 4, 10)
    assert (short.model, short.plan.cut, short.plan.rounds) == (
        whole.model,
        whole.plan.cut,
        whole.plan.rounds,
    )
    assert short.data.image == whole.data.image
    pairs = [(whole.plan.dense, short.plan.dense), (whole.plan.retrain, short.plan.retrain)]
    pairs += [(a.retrain, b.retrain) for a, b in zip(whole.plan.turns, short.plan.turns, strict=True)]
    for before, after in pairs:
        for one, other in zip(before, after, strict=True):
            assert (other.epochs, other.batch_size) == (1, 4)
            assert other.model_copy(update={"epochs": one.epochs, "batch_size": one.batch_size}) == one


def pictures(folder: Path, each: int) -> Path:
    for part in ("train", "test"):
        for kind in ("cat", "dog"):
            (folder / part / kind).mkdir(parents=True)
            for number in range(each):
                Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / part / kind / f"{number}.png")
    return folder


def test_the_first_pictures_of_each_class_are_linked(tmp_path: Path) -> None:
    source = pictures(tmp_path / "all", 4)
    assert some_pictures(source, tmp_path / "some", 10, 3, 1) == 2
    found = sorted(str(path.relative_to(tmp_path / "some")) for path in (tmp_path / "some").rglob("*.png"))
    assert found == sorted(
        [f"train/{kind}/{number}.png" for kind in ("cat", "dog") for number in range(3)]
        + [f"test/{kind}/0.png" for kind in ("cat", "dog")]
    )


def test_only_so_many_classes_are_taken(tmp_path: Path) -> None:
    assert some_pictures(pictures(tmp_path / "all", 2), tmp_path / "some", 1, 2, 2) == 1
    assert {path.name for path in (tmp_path / "some" / "train").iterdir()} == {"cat"}


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"train/cat: expected 5 pictures at least, found 4"):
        some_pictures(pictures(tmp_path / "all", 4), tmp_path / "some", 10, 5, 1)


def test_the_start_is_normal_and_fits_the_network(tmp_path: Path) -> None:
    normal_weights("lenet-5", 7, tmp_path / "start.safetensors")
    model = build_network("lenet-5", num_classes=7)
    load_into(model, load_weights(tmp_path / "start.safetensors"), "the start")
    weight = model.get_parameter("fc1.weight").detach()
    # The fourth moment tells a normal distribution (3) from the uniform one that PyTorch draws (1.8).
    kurtosis = float((weight**4).mean() / (weight**2).mean() ** 2)
    assert kurtosis == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("name", RECIPES)
def test_the_page_of_recipes_says_what_the_committed_run_came_to(name: str) -> None:
    found = json.loads((RESULTS / f"imagenet-phases-{name}.json").read_text())
    row = found["row"]
    cells = (
        f"`{name}`",
        str(len(found["phases"])),
        f"{found['compression']:.1f}x",
        f"{row['smaller']:.1f}x smaller",
        f"{found['disagreement']:.1e}",
        f"{row['faster']:.1f}x faster",
    )
    assert f"| {' | '.join(cells)} |" in (ROOT / "docs" / "recipes.md").read_text()
