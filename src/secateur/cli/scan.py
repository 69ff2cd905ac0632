"""``secateur scan``: what pruning each layer alone costs, without retraining."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from secateur.analysis.sensitivity import DENSITIES, LayerSensitivity, ScanObserver
from secateur.analysis.sensitivity_file import scan_to_file
from secateur.cli.ending import ending_in_order
from secateur.cli.model import add_argument_of_model, parse_arguments
from secateur.cli.progress import RunDisplay
from secateur.cli.run import add_data_arguments, find_recipe
from secateur.cli.tables import print_whole
from secateur.datasets import load_dataset
from secateur.errors import CheckpointError, ConfigurationError, InterruptedRunError
from secateur.networks import NETWORKS
from secateur.recipes.builtin import RECIPES
from secateur.recipes.data import DataChoice, load_task
from secateur.recipes.driver import train_dense
from secateur.recipes.fitting import check_outputs
from secateur.recipes.model import NetworkChoice, choice_of, recorded_choice, run_settings
from secateur.recipes.plan import Recipe
from secateur.recipes.result import read_network
from secateur.report.sensitivity import sensitivity_table
from secateur.training.checkpoint import fitted, load_checkpoint, load_into, read_state
from secateur.training.task import Task, image_task

_DATASET = "mnist"
_VALIDATION = 5000
_UNKNOWN = (
    "{} does not say which network and data the run is of; scan runs that `secateur run` made, or a network "
    "with --weights"
)


@final
@dataclass(frozen=True)
class Subject:
    """What is scanned.

    Attributes:
        network: Which network.
        state: Its trained tensors.
        task: Whose validation images are looked at.
        where: The folder that the scan is kept in, unless the user names a file.
        record: JSON values that say what it is.
    """

    network: NetworkChoice
    state: Mapping[str, Tensor]
    task: Task
    where: Path
    record: Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "subject",
        metavar="MODEL|RUN|RECIPE",
        help="a run's folder; a recipe's name or file, whose dense network is trained first, or, with "
        f"--weights, is read; with --weights also a network: {', '.join(NETWORKS)}, or "
        "package.module:factory",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="a network's trained weights: .safetensors, or a state_dict of torch.save",
    )
    add_argument_of_model(parser)
    add_data_arguments(parser)
    parser.add_argument(
        "--dataset", help=f"with --weights: a data set's name (the recipe's of that name, or {_DATASET})"
    )
    parser.add_argument(
        "--validation",
        type=int,
        help=f"with --weights: images held out and looked at (the recipe's, or {_VALIDATION})",
    )
    parser.add_argument(
        "--densities",
        type=float,
        nargs="+",
        default=list(DENSITIES),
        help="fractions of a layer's weights that are kept",
    )
    parser.add_argument("--json", type=Path, help="where the scan is kept (sensitivity.json beside the run)")
    parser.add_argument("--seed", type=int, default=0, help="of a recipe's dense network (default 0)")
    parser.add_argument("--threads", type=int, help="threads to compute with (default: torch's choice)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the table")


@ending_in_order()
def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry the verb out."""
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise ConfigurationError(f"--threads must be at least 1, found {arguments.threads}")
        torch.set_num_threads(arguments.threads)
    subject = _subject(arguments, console)
    model = subject.network.factory(subject.task.classes)()
    check_outputs(model, subject.task.example(), subject.task.classes)
    load_into(model, subject.state, str(subject.record.get("weights", subject.where)))
    path: Path = arguments.json or subject.where / "sensitivity.json"
    try:
        with ScanDisplay(console, len(arguments.densities), quiet=arguments.quiet) as display:
            found = scan_to_file(
                path,
                model,
                *subject.task.sample(),
                subject={**subject.record, "network": subject.network.model, "data": subject.task.source},
                densities=arguments.densities,
                observer=display.observer,
            )
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"interrupted; the layers that were done are kept in {path}: run the same command again to "
            "continue"
        ) from error
    print_whole(console, sensitivity_table(found))
    for layer in found.layers:
        if layer.note:
            console.print(f"{layer.layer}: {layer.note}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"scan        {path}", highlight=False, markup=False, soft_wrap=True)
    return 0


@final
class ScanDisplay:
    """Shows layers, points and time left while a scan goes on.

    Args:
        console: Where to; a console that is no terminal gets one plain line a layer.
        densities: Points a layer.
        quiet: Show nothing.
    """

    def __init__(self, console: Console, densities: int, *, quiet: bool = False) -> None:
        self._console = console
        self._densities = densities
        self._quiet = quiet
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("points"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ScanDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @property
    def observer(self) -> ScanObserver:
        """What the scan tells its progress to."""
        return ScanObserver(self._on_start, self._on_point, self._on_layer)

    def _on_start(self, images: int, loss: float, error: float, seconds: float) -> None:
        if not self._quiet:
            self._console.print(
                f"{images:,} validation images: loss {loss:.4f}, error {error:.2f} %, "
                f"{seconds:.1f} s for the whole network",
                highlight=False,
                markup=False,
            )

    def _on_point(self, layer: str) -> None:
        if layer not in self._tasks:
            self._tasks[layer] = self._bars.add_task(layer, total=self._densities)
        self._bars.advance(self._tasks[layer])

    def _on_layer(self, layer: LayerSensitivity) -> None:
        if not self._quiet and not self._console.is_terminal:
            how = "" if layer.reused else ", whole network each time"
            self._console.print(
                f"  {layer.layer}: {len(layer.points)} points in {layer.seconds:.1f} s{how}",
                highlight=False,
                markup=False,
            )


def _subject(arguments: argparse.Namespace, console: Console) -> Subject:
    name: str = arguments.subject
    of_recipe = name in RECIPES or Path(name).is_file()
    if arguments.weights is not None:
        # Most networks have a recipe of their name, which knows their pictures.
        if of_recipe and arguments.dataset is None and arguments.validation is None:
            return _weighed(find_recipe(name), arguments)
        return _model(name, arguments)
    for key in ("dataset", "validation"):
        if getattr(arguments, key) is not None:
            raise ConfigurationError(
                f"--{key} is for a network with --weights; a run or a recipe has its own"
            )
    if (Path(name) / "run.json").is_file():
        if arguments.model_arg:
            raise ConfigurationError("--model-arg: the run's folder says what its network is; leave it away")
        return _run(Path(name), arguments)
    if of_recipe:
        return _recipe(_with_arguments(find_recipe(name), arguments), arguments, console)
    if name in NETWORKS:
        raise ConfigurationError(
            f"{name}: an untrained network tells nothing; give its weights as --weights FILE"
        )
    raise ConfigurationError(
        f"{name!r} is no run's folder, no recipe ({', '.join(RECIPES)}, or a file) and no network "
        f"({', '.join(NETWORKS)})"
    )


def _with_arguments(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    given = {**recipe.model_arguments, **parse_arguments(arguments.model_arg)}
    return recipe.model_copy(update={"model_arguments": given})


def _weighed(recipe: Recipe, arguments: argparse.Namespace) -> Subject:
    """The network of a recipe with given weights, on the recipe's data."""
    untrained = _with_arguments(recipe, arguments).model_copy(update={"weights": None})
    choice = choice_of(untrained)
    choice.factory()  # refused before data are read
    return _with_weights(choice, load_task(recipe.data, arguments.data, arguments.workers), arguments.weights)


def _model(name: str, arguments: argparse.Namespace) -> Subject:
    choice = NetworkChoice(name, parse_arguments(arguments.model_arg))
    choice.factory()  # refused before data are read
    data = load_dataset(arguments.dataset or _DATASET, arguments.data)
    validation = _VALIDATION if arguments.validation is None else arguments.validation
    return _with_weights(choice, image_task(data, validation=validation), arguments.weights)


def _with_weights(choice: NetworkChoice, task: Task, weights: Path) -> Subject:
    model = choice.factory(task.classes)()
    translate = NETWORKS[choice.model].translate if choice.model in NETWORKS else None
    state = fitted(model, read_state(weights), translate)
    return Subject(choice, state, task, weights.parent, {"weights": weights.name})


def _run(folder: Path, arguments: argparse.Namespace) -> Subject:
    try:
        identity = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        settings = identity["settings"]
        recorded = recorded_choice(settings)
        choice = DataChoice.model_validate(settings["data"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(_UNKNOWN.format(folder / "run.json")) from error
    if recorded is None:
        raise CheckpointError(_UNKNOWN.format(folder / "run.json"))
    task = load_task(choice, arguments.data, arguments.workers)
    trained_on = identity.get("data", {}).get("fingerprint")
    if trained_on not in (None, task.fingerprint):
        raise ConfigurationError(
            f"{folder} is a run on other data: its fingerprint is {trained_on}, that of {task.source} "
            f"{task.fingerprint}. Give the run's own data with --data; on any other, scan the network alone: "
            f"--weights {folder / 'dense.safetensors'}"
        )
    record = {"run": identity["name"], "seed": identity["seed"]}
    return Subject(recorded[0], _dense(folder), task, folder, record)


def _dense(folder: Path) -> Mapping[str, Tensor]:
    if (folder / "dense.safetensors").exists():
        return read_network(folder, "dense")
    if (folder / "stages" / "dense.pt").exists():  # a run that goes on
        state: Mapping[str, Tensor] = load_checkpoint(folder / "stages" / "dense.pt")["model"]
        return state
    raise CheckpointError(
        f"{folder} has no dense network yet: start the run again, and it goes on training it"
    )


def _recipe(recipe: Recipe, arguments: argparse.Namespace, console: Console) -> Subject:
    task = load_task(recipe.data, arguments.data, arguments.workers)
    with RunDisplay(console, quiet=arguments.quiet) as display:
        folder, dense = train_dense(
            choice_of(recipe).factory(task.classes),
            task,
            recipe.plan,
            seed=arguments.seed,
            name=recipe.name,
            settings=run_settings(recipe, task.image_shape),
            observer=display.observer,
        )
    record = {"run": recipe.name, "seed": arguments.seed}
    return Subject(choice_of(recipe), dense.model, task, folder, record)
