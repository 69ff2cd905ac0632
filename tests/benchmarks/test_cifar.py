from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.readme_cifar import accuracy_rows
from torch import nn

from benchmarks import cifar
from secateur.networks import NETWORKS
from secateur.recipes.builtin import builtin_recipe
from secateur.recipes.cut import GlobalCut
from secateur.recipes.plan import Recipe
from tests.datasets.picture_files import make_folder


@pytest.fixture(autouse=True)
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def small(num_classes: int = 10, width: int = 32) -> nn.Module:
    convolution = nn.Conv2d(3, width, 3, stride=4, bias=False)
    return nn.Sequential(
        convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
    )


def one_round(name: str) -> Recipe:
    recipe = builtin_recipe(name)
    data = recipe.data.model_copy(update={"validation": 4})
    assert isinstance(recipe.plan.cut, GlobalCut)
    cut = recipe.plan.cut.model_copy(update={"density": 0.5})
    plan = recipe.plan.model_copy(update={"rounds": 1, "cut": cut})
    return recipe.model_copy(update={"data": data, "plan": plan})


@pytest.mark.parametrize("name", cifar.RECIPES)
def test_narrow_networks_have_about_as_many_weights_as_were_kept(name: str) -> None:
    recipe = builtin_recipe(name)
    longer, *narrow = cifar.baselines(recipe)
    whole = cifar.weights(recipe.model, None)
    assert cifar.weights(recipe.model, longer.width) == whole
    assert longer.epochs == narrow[-1].epochs
    for halvings, baseline in enumerate(narrow, start=1):
        assert cifar.weights(recipe.model, baseline.width) == pytest.approx(whole / 2**halvings, rel=0.15)


def test_runs_are_resumed_and_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = replace(NETWORKS["resnet-20"], factory=small)
    monkeypatch.setattr(cifar, "NETWORKS", {"resnet-20": spec})
    monkeypatch.setattr(cifar, "builtin_recipe", one_round)
    data = make_folder(tmp_path / "cifar", {"train": 4, "test": 3}, size=(32, 32))
    words = ["resnet-20", "--data", str(data), "--epochs", "1", "1", "--seeds", "0", "1"]
    narrow = cifar.baselines(one_round("resnet-20"))[1].name
    words += ["--methods", "pruned", "uncut", "longer", narrow]
    words += ["--runs", str(tmp_path / "runs"), "--json", str(tmp_path / "found.json")]
    cifar.main(words)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["command"].endswith("resnet-20 --data DIR --epochs 1 1 --json benchmarks/results/found.json")
    summary = found["summary"]
    assert summary["seeds"] == [run["seed"] for run in found["runs"]] == [0, 1]
    assert [summary[key]["epochs"] for key in ("dense", "uncut", "longer")] == [1, 2, 2]
    (point,) = summary["curve"]
    assert point["compression"]["mean"] == pytest.approx(2, rel=0.1)
    assert point["narrow"]["weights"] == cifar.weights("resnet-20", point["narrow"]["width"])
    for other, less in (
        (summary["dense"], "dense"),
        (summary["uncut"], "uncut"),
        (summary["longer"], "longer"),
        (point["narrow"], "narrow"),
    ):
        expected = point["error"]["mean"] - other["error"]["mean"]
        assert point[f"less_{less}"]["mean"] == pytest.approx(expected)
    before = capsys.readouterr().out
    cifar.main(words)
    assert capsys.readouterr().out == before
    with pytest.raises(SystemExit):
        cifar.main([*words[:-4], "narow"])
    assert f"narow is none of pruned, uncut, longer, {narrow}" in capsys.readouterr().err
    assert json.loads((tmp_path / "found.json").read_text())["summary"] == summary


def test_the_readme_turns_errors_into_what_is_right() -> None:
    def spread_of(mean: float, deviation: float | None) -> dict[str, object]:
        return {"mean": mean, "deviation": deviation}

    less = {"mean": -0.5, "interval": [-1.0, 0.25]}
    point = {
        "compression": spread_of(4.02, None),
        "kept": spread_of(1000.0, None),
        "epochs": 7,
        "error": spread_of(12.5, 0.125),
        "less_uncut": less,
        "narrow": {"width": 8, "weights": 990, "error": None},
        "less_narrow": None,
    }
    dense = {"epochs": 5, "error": spread_of(14.0, None)}
    unknown = {"epochs": 10, "error": None}
    summary = {"weights": 4000, "dense": dense, "uncut": dense, "longer": unknown, "curve": [point]}
    assert accuracy_rows({"summary": summary}) == [
        ("dense", "4,000", "5", "86.00", "", "", ""),
        ("dense, the same rounds uncut", "4,000", "5", "86.00", "", "", ""),
        ("dense, as long in one go", "4,000", "10", "not run", "", "", ""),
        ("**4x**", "1,000", "7", "**87.50 ± 0.12**", "+0.50 [-0.25, +1.00]", "not run", ""),
    ]
