"""``secateur demo``: the main job on a few thousand digits, from training to shipping, in a few minutes."""

from __future__ import annotations

import argparse

from rich.console import Console

from secateur.cli.ending import ending_in_order
from secateur.cli.run import add_run_arguments, execute, prepare
from secateur.cli.shipping import ship
from secateur.datasets import load_dataset
from secateur.errors import InterruptedRunError
from secateur.recipes.builtin import builtin_recipe
from secateur.training.task import image_task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_run_arguments(parser)


@ending_in_order()
def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry the verb out."""
    recipe = builtin_recipe("demo")
    prepare(arguments)
    dataset = load_dataset(recipe.data.name)
    task = image_task(dataset, validation=recipe.data.validation, shift=recipe.data.shift)
    result = execute(recipe, task, arguments, console)
    try:
        ship(result.folder, task.example(), console)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"interrupted; the run in {result.folder} is finished: run the same command again to ship it"
        ) from error
    return 0
