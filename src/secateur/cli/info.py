"""``secateur info``: what is in a compact file or a run, layer by layer."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secateur.cli.tables import print_whole
from secateur.errors import ConfigurationError
from secateur.format.graph import Convolution, Linear
from secateur.runtime.arrays import shape_text
from secateur.runtime.load import load
from secateur.runtime.program import Program


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("path", type=Path, help="a .secateur file, or a run's folder")
    parser.add_argument("--batch", type=int, default=1, help="the batch size whose kernels are shown (1)")
    parser.add_argument("--why", action="store_true", help="also say why each kernel was taken")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry the verb out."""
    path: Path = arguments.path
    if arguments.batch < 1:
        raise ConfigurationError(f"--batch must be at least 1, found {arguments.batch}")
    if path.is_dir():
        if not (path / "run.json").exists():
            raise ConfigurationError(
                f"{path} holds no run.json: expected the folder of a run of `secateur run`, or a .secateur "
                "file"
            )
        from secateur.recipes.result import read_result  # noqa: PLC0415  # needs torch, a compact file does not
        from secateur.report.tables import layer_table, summary  # noqa: PLC0415  # likewise

        record = read_result(path).record
        print_whole(console, layer_table(record))
        console.print(summary(record), soft_wrap=True)
        return 0
    if path.is_file() and path.suffix == ".safetensors":
        raise ConfigurationError(
            f"{path} holds weights alone: expected a .secateur file, or a run's folder; `secateur export` "
            "makes a compact file of weights"
        )
    program = load(path, batch=arguments.batch)
    print_program(console, program, path, arguments.batch)
    if arguments.why:
        for layer in program.kernels(arguments.batch):
            console.print(
                f"{layer.layer}: {layer.kernel}, {layer.reason}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    return 0


def print_program(console: Console, program: Program, path: Path, batch: int) -> None:
    """Say what a compact file holds: a table of its layers, and what it takes.

    Args:
        console: Where.
        program: The network.
        path: Its file.
        batch: The batch size whose kernels are shown.
    """
    print_whole(console, kernel_table(program, batch))
    console.print()
    for line in size_lines(program, path):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def kernel_table(program: Program, batch: int) -> Table:
    """Every weighted layer: what it holds, how it is stored, and which kernel runs it.

    Args:
        program: The network.
        batch: The batch size whose kernels are shown.

    Returns:
        A table.
    """
    symbolic = any(not isinstance(size, int) for value in program.inputs for size in value.shape)
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"{f'batch {batch}' if symbolic else 'fixed batch'}, {program.isa}",
        title_justify="left",
        # So VGG-16's rows fit 80 columns.
        padding=0,
        show_edge=False,
    )
    table.add_column("layer", overflow="fold", max_width=24)
    table.add_column("weight", no_wrap=True)
    for column in ("kept %", "layout", "kB", "kernel", "us"):
        table.add_column(column, justify="left" if column in ("layout", "kernel") else "right", no_wrap=True)
    nodes = {node.name: node for node in program.graph.nodes if isinstance(node, Convolution | Linear)}
    for layer in program.kernels(batch):
        node = nodes[layer.layer]
        weight = program.model.weights[node.weight]
        time = program.measured_microseconds(layer.layer, layer.kernel, batch)
        table.add_row(
            Text(layer.layer),  # names are anybody's: brackets are not ours to read
            "x".join(map(str, weight.shape)),
            f"{100 * program.density(node.weight):.1f}",
            f"{weight.kind} {weight.order}" if len(weight.shape) == 2 else weight.kind,
            _number(weight.nbytes / 1e3),
            layer.kernel,
            "-" if time is None else _number(time),
        )
    return table


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def size_lines(program: Program, path: Path) -> Iterator[str]:
    """What a file takes, beside the dense network.

    Args:
        program: The network.
        path: Its file.

    Yields:
        Lines for people.
    """
    held = program.model
    dense = 4 * sum(held.own_weights(name) for name in held.weights)
    dense += sum(tensor.nbytes for tensor in held.tensors.values())
    size = path.stat().st_size
    yield (
        f"file        {path}: {size / 1e3:,.1f} kB, {dense / size:.1f}x smaller than dense float32 "
        f"({dense / 1e3:,.1f} kB)"
    )
    for name, values in (("inputs", program.inputs), ("outputs", program.outputs)):
        yield f"{name:<12}" + ", ".join(f"{value.name} {shape_text(value.shape)}" for value in values)
    vanished = held.provenance.get("vanished")
    if vanished:
        yield f"rounding    {vanished:,} weights became zero"
