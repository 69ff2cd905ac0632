"""The arguments that name a network: of a recipe, or beside one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml

from secateur.errors import ConfigurationError
from secateur.recipes.plan import Recipe


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="instead of the recipe's: a built-in network, or package.module:factory, a function that makes "
        "one; the current folder is looked in as well",
    )
    add_argument_of_model(parser)
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="start from these: .safetensors, or what torch.save wrote of a state_dict",
    )


def add_argument_of_model(parser: argparse.ArgumentParser) -> None:
    """Declare ``--model-arg`` alone."""
    parser.add_argument(
        "--model-arg",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="what the function is called with; again for another one",
    )


def with_model(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """A recipe with the network that the command line names instead.

    Another model brings its own arguments and drops the recipe's weights; the same one keeps what is not
    given anew.

    Args:
        recipe: The recipe.
        arguments: With ``model``, ``model_arg`` and ``weights``.

    Returns:
        The recipe; the same one where nothing is given.

    Raises:
        ConfigurationError: An argument has no name or is given twice, or the recipe would not be valid.
    """
    given = parse_arguments(arguments.model_arg)
    changes: dict[str, Any] = {}
    if arguments.model is not None:
        changes |= {"model": arguments.model, "model_arguments": given, "weights": None}
    elif given:
        changes["model_arguments"] = {**recipe.model_arguments, **given}
    if arguments.weights is not None:
        changes["weights"] = arguments.weights
    return recipe.model_copy(update=changes) if changes else recipe


def parse_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Arguments by keyword; values are read as YAML: ``3``, ``0.5``, ``true``, ``[1, 2]``, text.

    Args:
        words: ``NAME=VALUE`` each.

    Returns:
        Values by name.

    Raises:
        ConfigurationError: A word has another form, or a name is given twice.

    Example:
        >>> parse_arguments(["width=2", "bias=false", "kind=plain"])
        {'width': 2, 'bias': False, 'kind': 'plain'}
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigurationError(f"--model-arg: expected NAME=VALUE, found {word!r}")
        if name in values:
            raise ConfigurationError(f"--model-arg: {name} is given twice; give it once")
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigurationError(
                f"--model-arg {word}: the value is not YAML; put text with such signs into quotes ({error})"
            ) from error
    return values
