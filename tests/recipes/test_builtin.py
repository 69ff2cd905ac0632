from __future__ import annotations

from functools import partial
from importlib.resources import files

import pytest
import torch

from secateur.datasets.images import ImageDataset
from secateur.errors import ConfigurationError
from secateur.networks import NETWORKS, build_network
from secateur.recipes.builtin import RECIPES, builtin_recipe
from secateur.recipes.cut import QualityCut
from secateur.recipes.fitting import check_fits, fresh_network
from secateur.training.processes import Processes
from secateur.training.task import image_task
from tests.recipes.test_forecast import density_of


@pytest.mark.parametrize("name", RECIPES)
def test_every_builtin_recipe_is_valid_and_bears_its_name(name: str) -> None:
    recipe = builtin_recipe(name)
    assert recipe.name == name
    lenet = recipe.model.startswith("lenet")
    assert recipe.data.name == ("digits" if name == "demo" else "mnist" if lenet else "folder")


@pytest.mark.parametrize("name", RECIPES)
def test_every_builtin_recipe_fits_its_network(name: str) -> None:
    recipe = builtin_recipe(name)
    shape = NETWORKS[recipe.model].input_shape
    if recipe.data.image is not None:
        assert shape == (3, recipe.data.image.size, recipe.data.image.size)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, *shape), generator=draw, dtype=torch.uint8)
    labels = torch.arange(30) % 10
    data = ImageDataset(images, labels, images, labels, 10, "noise")
    network = fresh_network(partial(build_network, recipe.model, num_classes=10))
    check_fits(recipe.plan, network, image_task(data, validation=10), 0, Processes())


@pytest.mark.parametrize("name", ["alexnet", "vgg-16"])
def test_qualities_come_to_the_papers_densities_for_normal_weights(name: str) -> None:
    plan = builtin_recipe(name).plan
    assert isinstance(plan.cut, QualityCut)
    own, share = plan.cut.layers, plan.cut.initial / plan.cut.quality
    for layer, density in NETWORKS[name].paper_densities.items():
        quality = own.get(layer, plan.cut.quality)
        found = density_of(quality, share * quality, plan.rounds)
        assert found == pytest.approx(density, abs=0.006), layer


def test_there_is_a_name_for_every_file_and_a_file_for_every_name() -> None:
    there = {entry.name for entry in files("secateur.recipes").joinpath("files").iterdir()}
    assert {name for name in there if name.endswith(".yaml")} == {f"{name}.yaml" for name in RECIPES}


def test_an_unknown_name() -> None:
    with pytest.raises(
        ConfigurationError, match="no built-in recipe 'lenet'; there are lenet-300-100, lenet-5"
    ):
        builtin_recipe("lenet")
