"""``secateur run RECIPE --plan``: what a recipe comes to, as tables or JSON, without training it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secateur.cli.tables import print_whole
from secateur.errors import ConfigurationError
from secateur.networks import NETWORKS
from secateur.recipes.data import ImageChoice, load_task
from secateur.recipes.footprint import Memory
from secateur.recipes.forecast import Forecast, LayerForecast, PhaseForecast, forecast
from secateur.recipes.model import choice_of
from secateur.recipes.plan import Recipe
from secateur.records import cpu_name
from secateur.report.tables import human_count

# Images that train and test sets were published with, so that nothing is read or downloaded for a plan.
_TRAINING_IMAGES: Mapping[str, int] = {"mnist": 60_000, "digits": 4_000}
# By the number of classes that a network was published for: ImageNet and CIFAR-10.
_TRAINING_PICTURES: Mapping[int, int] = {1000: 1_281_167, 10: 50_000}
_IMAGENET_CLASSES = 1000
_DIGITS = ((1, 28, 28), 10)


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    group = parser.add_argument_group("what it comes to, without training")
    group.add_argument(
        "--plan", action="store_true", help="print layers, bytes, steps, memory and hours, and end"
    )
    group.add_argument("--images", type=int, metavar="N", help="training images (the data set's)")
    group.add_argument("--processes", type=int, metavar="N", help="that share each step (1)")
    group.add_argument("--no-measure", action="store_true", help="time no step: no hours")
    group.add_argument("--json", action="store_true", help="print it as JSON")


def refuse_without_plan(arguments: argparse.Namespace) -> None:
    """Refuse arguments that only ``--plan`` obeys: a run would go on as if they were not there.

    Args:
        arguments: With those of `add_plan_arguments`.

    Raises:
        ConfigurationError: One is given.
    """
    given = {
        "--images": arguments.images is not None,
        "--processes": arguments.processes is not None,
        "--no-measure": arguments.no_measure,
        "--json": arguments.json,
    }
    asked = [name for name, is_given in given.items() if is_given]
    if asked:
        raise ConfigurationError(
            f"{', '.join(asked)}: only for --plan, which trains nothing; give --plan as well, or leave it out"
        )


def show_plan(recipe: Recipe, arguments: argparse.Namespace, console: Console) -> None:
    """Work a recipe out and print it.

    Args:
        recipe: The recipe.
        arguments: With those of `add_plan_arguments`.
        console: Where to.

    Raises:
        ConfigurationError: A number is below 1, or how many images there are is not known.
    """
    for name, value in (("--images", arguments.images), ("--processes", arguments.processes)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} must be at least 1, found {value}")
    shape, classes, there = _what_is_seen(recipe, arguments)
    images = arguments.images or there
    if images is None:
        raise ConfigurationError(
            "how many training images there are is not known before they are read: give --images N, or "
            "name their folder with --data"
        )
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    measure = not arguments.no_measure
    said = "timing some steps on random images" if measure else "counting"
    with console.status(said if console.is_terminal and not arguments.json else ""):
        found = forecast(
            choice_of(recipe).factory(classes),
            shape,
            classes,
            recipe.plan,
            images,
            processes=arguments.processes or 1,
            device=device,
            measure=measure,
        )
    if arguments.json:
        known = {"recipe": recipe.name, "model": recipe.model, "image_shape": list(shape), "classes": classes}
        console.print_json(json.dumps(known | found.to_json()))
        return
    console.print(
        f"{recipe.name}: {recipe.model}, {images:,} training images of {' x '.join(map(str, shape))} pixels, "
        f"{classes} classes; nothing is trained",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    print_whole(console, layers_table(found))
    print_whole(console, phases_table(found))
    for line in summary_lines(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def layers_table(found: Forecast) -> Table:
    """Layers with their weights, densities, bytes and multiply-accumulates.

    Args:
        found: The forecast.

    Returns:
        A table with a row of totals; ``-`` stands for what is not known.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    for column in ("weights", "density %", "kept", "layout", "bytes", "MAC", "MAC kept"):
        table.add_column(column, justify="right")
    for layer in found.layers:
        table.add_row(*_layer_cells(layer))
    table.add_row("others", human_count(found.others), "", "", "float32", _bytes(4 * found.others), "", "")
    table.add_section()
    table.add_row(
        "total",
        human_count(found.weights),
        _percent(found.kept, found.weights),
        _count(found.kept),
        "",
        _bytes(found.packed_bytes),
        human_count(found.macs),
        _count(found.macs_kept),
        style="bold",
    )
    return table


def phases_table(found: Forecast) -> Table:
    """Phases with their steps, memory and hours.

    Args:
        found: The forecast.

    Returns:
        A table with a row of totals; hours are ``-`` where no step was timed.
    """
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("stage", "trains"):
        table.add_column(column)
    for column in ("times", "epochs", "batch", "steps", "memory", "s/step", "hours"):
        table.add_column(column, justify="right")
    for phase in found.phases:
        table.add_row(*_phase_cells(phase))
    table.add_section()
    epochs = sum(phase.times * phase.epochs for phase in found.phases)
    table.add_row(
        "total",
        "",
        "",
        f"{epochs:,}",
        "",
        human_count(found.steps),
        _bytes(found.memory.total),
        "",
        _hours(found.hours),
        style="bold",
    )
    return table


def summary_lines(found: Forecast) -> Iterator[str]:
    """What it all comes to, and what was assumed.

    Args:
        found: The forecast.

    Yields:
        Lines.
    """
    if found.kept is None or found.packed_bytes is None or found.macs_kept is None:
        yield "file        a search decides: densities and bytes are not known yet; the rounds are the most"
    else:
        yield (
            f"file        {_bytes(found.dense_bytes)} -> {_bytes(found.packed_bytes)}, "
            f"{found.dense_bytes / found.packed_bytes:.1f}x smaller; weights "
            f"{found.weights / found.kept:.1f}x fewer, MAC {found.macs / found.macs_kept:.1f}x fewer"
        )
    yield f"memory      {_memory_line(found.memory)} in each of {found.processes} process(es), at most"
    if found.hours is None:
        yield "hours       not measured"
    else:
        where = cpu_name() if found.device == "cpu" else torch.cuda.get_device_name()
        yield (
            f"hours       {_hours(found.hours)} of training steps as measured on {where}, with "
            f"{torch.get_num_threads()} threads; loading, evaluation and a teacher come on top"
        )
    if found.kept is not None:
        yield (
            "assumed     normally distributed weights that keep their values: exact for a cut by density, a "
            "starting point for others"
        )


def _what_is_seen(recipe: Recipe, arguments: argparse.Namespace) -> tuple[tuple[int, ...], int, int | None]:
    """The shape of an image, the number of classes, and of images that train where it is known."""
    data = recipe.data
    if arguments.data is not None:
        task = load_task(data, arguments.data, arguments.workers)
        return task.image_shape, task.classes, task.train_count
    if data.name in _TRAINING_IMAGES:
        return (*_DIGITS, _TRAINING_IMAGES[data.name] - data.validation)
    side = (data.image or ImageChoice()).size
    classes = NETWORKS[recipe.model].classes if recipe.model in NETWORKS else _IMAGENET_CLASSES
    # A data set of pictures is not known before it is read; who trains on a thousand classes has ImageNet.
    pictures = _TRAINING_PICTURES.get(classes)
    return (3, side, side), classes, None if pictures is None else pictures - data.validation


def _layer_cells(layer: LayerForecast) -> tuple[str | Text, ...]:
    return (
        Text(layer.name),  # as patterns, names are anybody's: brackets are not ours to read
        human_count(layer.weights),
        _percent(layer.kept, layer.weights),
        _count(layer.kept),
        layer.layout or "-",
        _bytes(layer.bytes),
        _count(layer.macs),
        _count(layer.macs_kept),
    )


def _phase_cells(phase: PhaseForecast) -> tuple[str | Text, ...]:
    return (
        phase.stage,
        "all" if phase.only is None else Text(" ".join(phase.only)),
        str(phase.times),
        f"{phase.epochs:,}",
        f"{phase.batch:,}",
        human_count(phase.steps),
        _bytes(phase.memory.total),
        "-" if phase.step_seconds is None else f"{phase.step_seconds:.3g}",
        _hours(phase.hours),
    )


def _memory_line(memory: Memory) -> str:
    parts = ("weights", "gradients", "optimizer", "masks", "activations", "copy")
    return f"{_bytes(memory.total)} (" + ", ".join(f"{p} {_bytes(getattr(memory, p))}" for p in parts) + ")"


def _percent(kept: int | None, weights: int) -> str:
    return "-" if kept is None else f"{100 * kept / weights:.1f}"


def _count(number: int | None) -> str:
    return "-" if number is None else human_count(number)


def _bytes(number: int | None) -> str:
    return "-" if number is None else f"{human_count(number).replace('B', 'G')}B"


def _hours(hours: float | None) -> str:
    return "-" if hours is None else f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"
