"""``secateur run``: train, prune, retrain, evaluate once, from a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from secateur.cli.ending import ending_in_order
from secateur.cli.model import add_model_arguments, with_model
from secateur.cli.plan import add_plan_arguments, refuse_without_plan, show_plan
from secateur.cli.progress import RunDisplay
from secateur.cli.shipping import why_not_shipped
from secateur.cli.tables import print_whole
from secateur.cli.tensorboard import Scalars, check_installed
from secateur.errors import ConfigurationError
from secateur.networks import NETWORKS
from secateur.recipes.builtin import RECIPES, builtin_recipe
from secateur.recipes.data import load_task
from secateur.recipes.driver import train_prune_retrain
from secateur.recipes.model import choice_of, run_settings
from secateur.recipes.plan import Recipe, read_recipe
from secateur.recipes.result import RunResult
from secateur.report.tables import layer_table, summary
from secateur.training.processes import join, leave
from secateur.training.task import Task

_NAMED = 10  # damaged pictures in a line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    known = "\n".join(f"  {name:<20} {what}" for name, what in RECIPES.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"built-in recipes:\n{known}"
    parser.add_argument("recipe", help="a built-in recipe's name, or a YAML file")
    add_data_arguments(parser)
    add_model_arguments(parser)
    add_plan_arguments(parser)
    add_run_arguments(parser)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say where the data are and who reads them."""
    parser.add_argument(
        "--data", type=Path, help="folder of the data set; MNIST is downloaded to a cache if left out"
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="processes that decode pictures in folders; they change no pixel (default: one less than the "
        "processors, at most 8)",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `run` and `demo` share."""
    parser.add_argument("--seed", type=int, default=0, help="fixes every draw (default 0)")
    parser.add_argument("--out", type=Path, help="the run's folder; by default runs/NAME-HASH-seedN")
    parser.add_argument("--threads", type=int, help="threads to compute with (default: torch's choice)")
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write TensorBoard scalars into the folder, as epochs end",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but the result")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry the verb out."""
    if not arguments.plan:
        refuse_without_plan(arguments)
    recipe = with_model(find_recipe(arguments.recipe), arguments)
    processes = join()  # before `prepare`: starting a group of processes sets the number of threads as well
    prepare(arguments)
    if arguments.plan:
        show_plan(recipe, arguments, console)
        return 0
    with processes.first_ahead() if arguments.data is None else nullcontext():  # it may have to download
        task = load_task(recipe.data, arguments.data, arguments.workers)
    execute(recipe, task, arguments, console)
    leave()
    return 0


def find_recipe(name: str) -> Recipe:
    """A recipe by its built-in name or its file's path.

    Raises:
        ConfigurationError: There is neither.
    """
    if name in RECIPES:
        return builtin_recipe(name)
    path = Path(name)
    if not path.exists():
        raise ConfigurationError(
            f"{name!r} is neither a built-in recipe ({', '.join(RECIPES)}) nor a file that is there"
        )
    return read_recipe(path)


def prepare(arguments: argparse.Namespace) -> None:
    """Check what can be checked before data are read, and set the number of threads.

    Raises:
        ConfigurationError: The number of threads is below 1, or the seed below 0.
        MissingExtraError: TensorBoard is asked for and not installed.
    """
    if arguments.seed < 0:
        raise ConfigurationError(f"--seed must be at least 0, found {arguments.seed}")
    if arguments.tensorboard:
        check_installed()
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ConfigurationError(f"--threads must be at least 1, found {arguments.threads}")
        torch.set_num_threads(arguments.threads)


@ending_in_order()
def execute(recipe: Recipe, task: Task, arguments: argparse.Namespace, console: Console) -> RunResult:
    """Run a recipe on its data, show how it goes, print its tables."""
    quiet: bool = arguments.quiet
    choice = choice_of(recipe)
    make = choice.factory(task.classes)
    if not quiet:
        console.print(
            f"{recipe.name}: {recipe.model} on {task.source}, seed {arguments.seed}",
            highlight=False,
            markup=False,
        )
        # Built-in networks can all be shipped.
        notes = [] if choice.model in NETWORKS else why_not_shipped(make, task.image_shape)
        for line in (*_left_out(task.about), *notes):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    with RunDisplay(console, quiet=quiet) as display, ExitStack() as stack:
        scalars = stack.enter_context(Scalars()) if arguments.tensorboard else None
        result = train_prune_retrain(
            make,
            task,
            recipe.plan,
            arguments.out,
            seed=arguments.seed,
            name=recipe.name,
            settings=run_settings(recipe, task.image_shape),
            observer=display.observer if scalars is None else scalars.beside(display.observer),
        )
        if scalars is not None:
            scalars.catch_up()  # with what was finished before, if nothing was trained now
    print_whole(console, layer_table(result.record))
    console.print(summary(result.record), soft_wrap=True)
    console.print(
        f"result      {result.folder / 'result.json'}", highlight=False, markup=False, soft_wrap=True
    )
    return result


def _left_out(about: Mapping[str, Any]) -> Iterator[str]:
    """What lies among the pictures and is not used, in a line each."""
    ignored: int = about.get("ignored_files", 0)
    if ignored:
        yield f"{ignored:,} files are ignored: by their names they are no pictures"
    damaged: list[str] = about.get("unreadable_pictures", [])
    if damaged:
        more = ", ..." if len(damaged) > _NAMED else ""
        yield f"{len(damaged):,} damaged pictures are left out: {', '.join(damaged[:_NAMED])}{more}"
