"""``secateur report``: one HTML page of a run, or of several side by side."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from secateur.errors import ConfigurationError, SecateurError
from secateur.format.graph import resolve
from secateur.report.page import report_page
from secateur.report.run import COMPACT, Measured, Run, read_run
from secateur.runtime.load import load

_REPEATS = 200
Timer = Callable[[int], Sequence[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="a run's folder, finished or not")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the page (report.html in the run's folder; of several runs, in the current one)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help=f"compile a run's network into its folder ({COMPACT}) where it is not there yet, and measure "
        "the dense one in PyTorch beside it",
    )
    parser.add_argument("--open", action="store_true", help="show the page in a browser")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry the verb out."""
    folders: list[Path] = arguments.runs
    twice = next((folder for place, folder in enumerate(folders) if folder in folders[:place]), None)
    if twice is not None:
        raise ConfigurationError(f"{twice} is named twice; name every run once")
    runs, failures = [], []
    for folder in folders:
        found = read_run(folder)
        try:
            found = measured(found, compile_it=arguments.compile)
        except SecateurError as error:  # the rest of the page does not depend on it
            failures.append(f"{folder}: bytes and time are left out: {error}")
        runs.append(found)
    output: Path = arguments.output or (
        folders[0] / "report.html" if len(folders) == 1 else Path("report.html")
    )
    report_page(runs).save(output)
    console.print(f"report      {output}", highlight=False, markup=False, soft_wrap=True)
    if arguments.open:
        webbrowser.open(output.resolve().as_uri())
    for failure in failures:
        print(f"secateur: {failure}", file=sys.stderr)
    return 1 if failures else 0


def measured(run: Run, *, compile_it: bool = False) -> Run:
    """A run with what its shipped network takes, measured here and now.

    Args:
        run: The run.
        compile_it: Compile the network where no compact file is there, and measure the dense one as well.

    Returns:
        The run, with `Run.measured` where there is a compact file.

    Raises:
        CheckpointError: Of a run that does not say which network it trained.
        FormatError: The compact file is damaged.
        MissingExtraError: What the compiler needs is not installed.
    """
    path = run.folder / COMPACT
    if run.record is None or not (path.exists() or compile_it):
        return run
    if compile_it and not path.exists():
        _compile(run.folder, path)
    program = load(path)
    pixels = np.random.default_rng(0).standard_normal(resolve(program.inputs[0].shape, 1)).astype(np.float32)
    timer = program.timer([pixels], program.threads)
    dense = _dense_microseconds(run, pixels, timer) if compile_it else None
    times = np.array(timer(_REPEATS)) / 1e3
    low, middle, high = (float(value) for value in np.quantile(times, (0.1, 0.5, 0.9)))
    dense_bytes = sum(tensor.nbytes for tensor in run.dense.values()) or 4 * run.record["weights"]["total"]
    how = f"{program.isa}, {program.threads} thread{'s' if program.threads > 1 else ''}"
    found = Measured(path.stat().st_size, int(dense_bytes), middle, low, high, dense, how)
    return replace(run, measured=found)


def _compile(folder: Path, path: Path) -> None:
    # Only here: a page of what is there already needs neither torch nor onnx.
    from secateur.compiler.compiling import compile as compile_network  # noqa: PLC0415  # see above
    from secateur.export import network_of_run  # noqa: PLC0415  # see above

    trained = network_of_run(folder)
    compile_network(trained.module, trained.example).save(path)


def _dense_microseconds(run: Run, pixels: NDArray[np.float32], timer: Timer) -> float:
    import torch  # noqa: PLC0415  # see above

    from secateur.cli.shipping import beside_pytorch  # noqa: PLC0415  # see above
    from secateur.export import network_of_run  # noqa: PLC0415  # see above

    dense = network_of_run(run.folder, dense=True).module
    return beside_pytorch(dense, torch.from_numpy(pixels), timer)[0]
