"""The recipes that come with Secateur: one literal dictionary of names and the files beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import yaml

from secateur.errors import ConfigurationError
from secateur.recipes.plan import Recipe, parse_recipe

RECIPES: Mapping[str, str] = {
    "lenet-300-100": "the paper's LeNet-300-100: 12x fewer weights, thresholds of quality x deviation",
    "lenet-5": "the paper's LeNet-5: 12x fewer weights, thresholds of quality x deviation",
    "lenet-300-100-far": "LeNet-300-100 as far as it goes: LAMP scores, distillation, shifted images",
    "lenet-5-far": "LeNet-5 as far as it goes: LAMP scores, distillation, shifted images",
    "alexnet": "the paper's AlexNet on ImageNet: FC, then CONV, then the whole, in four rounds to 9x",
    "alexnet-short": "AlexNet to 9x in the epochs of one training: LAMP scores, one gradual cut",
    "vgg-16": "the paper's VGG-16 on ImageNet: FC, then CONV, then the whole, in five rounds to 13x",
    "vgg-16-short": "VGG-16 to 13x in fewer epochs than one training: LAMP scores, one gradual cut",
    "resnet-20": "ResNet-20 on CIFAR-10: LAMP scores, five rounds from 2x to 32x",
    "vgg-16-cifar": "the VGG-16 of CIFAR-10: LAMP scores, five rounds from 2x to 32x",
    "demo": "LeNet-300-100 on a few thousand digits, in a few minutes",
}


def builtin_recipe(name: str) -> Recipe:
    """A recipe that comes with Secateur.

    Args:
        name: One of `RECIPES`.

    Returns:
        The recipe.

    Raises:
        ConfigurationError: There is none of that name.

    Example:
        >>> builtin_recipe("lenet-300-100").model
        'lenet-300-100'
    """
    if name not in RECIPES:
        raise ConfigurationError(f"there is no built-in recipe {name!r}; there are {', '.join(RECIPES)}")
    text = files("secateur.recipes").joinpath("files", f"{name}.yaml").read_text(encoding="utf-8")
    return parse_recipe(yaml.safe_load(text), f"the built-in recipe {name!r}")
