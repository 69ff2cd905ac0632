"""``secateur demo``: the main job on a few thousand digits, in a few minutes."""

from __future__ import annotations

import argparse

from rich.console import Console

from secateur.cli.run import add_run_arguments, execute, prepare
from secateur.datasets import load_dataset
from secateur.recipes.builtin import builtin_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_run_arguments(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry the verb out."""
    recipe = builtin_recipe("demo")
    prepare(arguments)
    execute(recipe, load_dataset(recipe.data.name), arguments, console)
    return 0
