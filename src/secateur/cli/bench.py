"""``secateur bench``: the runtime beside other engines, in one interleaved run."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from secateur.benchmarking.contest import Outcome, Timing, contest
from secateur.benchmarking.engines import PEERS, SECATEUR, chosen_engines, parse_pythons
from secateur.benchmarking.machine import machine_record
from secateur.benchmarking.result import Row
from secateur.benchmarking.table import measurement_table
from secateur.benchmarking.works import Work, work_from_files
from secateur.cli.tables import print_whole
from secateur.errors import ConfigurationError
from secateur.storage import write_json

_DEFAULT_PEERS = "torch,onnxruntime,openvino,mnn,deepsparse"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "what", metavar="FILE", help="an ONNX or .secateur file, or 'paper' for the built-in suite"
    )
    parser.add_argument(
        "--peers",
        default=_DEFAULT_PEERS,
        metavar="NAMES",
        help=f"engines to measure beside, separated by commas, of {', '.join(PEERS)}; '' for none "
        "(default: all). One that is not installed is said to be absent",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="the interpreter of the environment in which an engine is installed; may be repeated",
    )
    parser.add_argument("--batch", type=int, nargs="+", metavar="N", help="batch sizes")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[2],
        metavar="N",
        help="threads an engine may use (default 2)",
    )
    parser.add_argument(
        "--onnx", type=Path, metavar="FILE", help="what a .secateur file was made from, for peers"
    )
    parser.add_argument(
        "--torch",
        type=Path,
        metavar="FILE.pt2",
        help="the same network from torch.export.save, for the peer torch",
    )
    parser.add_argument(
        "--rows", metavar="ROWS", help="of the paper's suite, separated by commas: alexnet@paper,vgg16@0.10"
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep the suite's networks here for the next time"
    )
    parser.add_argument("--rounds", type=int, default=15, help="turns an engine gets (default 15)")
    parser.add_argument("--burst", type=float, default=0.1, metavar="SECONDS", help="of a turn (default 0.1)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-3,
        help="largest error, over the largest output, that is agreement (default 0.001)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the measurements here")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry the verb out."""
    _refuse_nonsense(arguments)
    timing = Timing(rounds=arguments.rounds, burst_seconds=arguments.burst, tolerance=arguments.tolerance)
    peers = [name for name in arguments.peers.split(",") if name]
    engines = chosen_engines(peers, parse_pythons(arguments.python))
    record = _Record(arguments)
    with ExitStack() as stack:
        folder = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secateur-")))
        status = stack.enter_context(console.status("starting")) if console.is_terminal else None
        report = (lambda _: None) if status is None else (lambda said: status.update(Text(said)))
        for work in _works(arguments, folder, report):
            for threads in arguments.threads:
                outcome = contest(work, engines, threads, timing, report)
                print_whole(console, measurement_table(outcome.rows))
                record.add(outcome)
    return 0 if all(row.latency is not None for row in record.rows if row.engine == SECATEUR.name) else 1


class _Record:
    """The JSON file, written anew after every work: a long run that is cut off leaves what it has."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.rows: list[Row] = []
        self._path: Path | None = arguments.json
        settings = {
            "rounds": arguments.rounds,
            "burst_seconds": arguments.burst,
            "tolerance": arguments.tolerance,
            "peers": arguments.peers,
            "threads": arguments.threads,
        }
        # Before anything else runs, so that the limits are those of a machine with nothing else to do.
        self._machine = None if self._path is None else machine_record(max(arguments.threads), settings)
        self._versions: dict[str, str] = {}
        self._references: set[str] = set()

    def add(self, outcome: Outcome) -> None:
        self.rows += outcome.rows
        if self._path is None or self._machine is None:
            return
        self._versions |= outcome.versions
        self._references.add(outcome.reference)
        machine = {**self._machine, "versions": {**self._machine["versions"], **self._versions}}
        content = {
            "machine": {**machine, "reference": sorted(self._references)},
            "command": _command(),
            "rows": [row.to_json() for row in self.rows],
        }
        write_json(self._path, content)


def _command() -> str:
    # Where things lie on one machine says nothing to the readers of another.
    def shown(word: str) -> str:
        name, equals, path = word.partition("=")
        return f"{name}{equals}{Path(path).name}" if equals else Path(word).name

    return shlex.join(["secateur", *(word if word.startswith("-") else shown(word) for word in sys.argv[1:])])


def _works(arguments: argparse.Namespace, folder: Path, report: Callable[[str], None]) -> Iterator[Work]:
    if arguments.what == "paper":
        # It needs torch, which measuring a file does not.
        from secateur.benchmarking.paper import ROWS, paper_work, parse_rows  # noqa: PLC0415  # see above

        rows = parse_rows(arguments.rows.split(",") if arguments.rows else ROWS)
        for row in rows:
            for batch in arguments.batch or row.batches:
                report(f"{row.name}, batch {batch}: making the network")
                yield paper_work(row, batch, folder)
        return
    for batch in arguments.batch or [None]:
        yield work_from_files(
            Path(arguments.what), batch, folder, onnx_file=arguments.onnx, torch_file=arguments.torch
        )


def _refuse_nonsense(arguments: argparse.Namespace) -> None:
    if sys.platform == "win32":
        raise ConfigurationError(
            "secateur bench makes idle engines stand still with signals that Windows does not have; "
            "run it on Linux or macOS"
        )
    for option in ("batch", "threads"):
        for number in getattr(arguments, option) or ():
            if number < 1:
                raise ConfigurationError(f"--{option} must be at least 1, found {number}")
    paper = arguments.what == "paper"
    for option, belongs in (("rows", paper), ("work", paper), ("onnx", not paper), ("torch", not paper)):
        if getattr(arguments, option) is not None and not belongs:
            where = "the suite 'paper'" if not paper else "a file, not to the suite 'paper'"
            raise ConfigurationError(f"--{option} belongs to {where}; leave it out")
