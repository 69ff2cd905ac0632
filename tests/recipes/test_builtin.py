from __future__ import annotations

from importlib.resources import files

import pytest

from secateur.errors import ConfigurationError
from secateur.networks import build_network
from secateur.recipes.builtin import RECIPES, builtin_recipe
from secateur.recipes.fitting import check_fits
from secateur.training.task import image_task
from tests.small import blobs


@pytest.mark.parametrize("name", RECIPES)
def test_every_builtin_recipe_is_valid_and_bears_its_name(name: str) -> None:
    recipe = builtin_recipe(name)
    assert recipe.name == name
    assert recipe.data.name == ("digits" if name == "demo" else "mnist")


@pytest.mark.parametrize("name", RECIPES)
def test_every_builtin_recipe_fits_its_network(name: str) -> None:
    data = blobs()
    digits = type(data)(
        data.train_images.repeat_interleave(3, 2)[:, :, :28].repeat_interleave(3, 3)[:, :, :, :28],
        data.train_labels,
        data.test_images.repeat_interleave(3, 2)[:, :, :28].repeat_interleave(3, 3)[:, :, :, :28],
        data.test_labels,
        10,
        "blobs",
    )
    recipe = builtin_recipe(name)
    check_fits(recipe.plan, lambda: build_network(recipe.model), image_task(digits, validation=40), 0)


def test_there_is_a_name_for_every_file_and_a_file_for_every_name() -> None:
    there = {entry.name for entry in files("secateur.recipes").joinpath("files").iterdir()}
    assert {name for name in there if name.endswith(".yaml")} == {f"{name}.yaml" for name in RECIPES}


def test_an_unknown_name() -> None:
    with pytest.raises(
        ConfigurationError, match="no built-in recipe 'lenet'; there are lenet-300-100, lenet-5"
    ):
        builtin_recipe("lenet")
