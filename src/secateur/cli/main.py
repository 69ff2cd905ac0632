"""The entry point: one literal dictionary of verbs, and errors turned into messages."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from secateur import __version__
from secateur.errors import InterruptedRunError, SecateurError

# Verb -> its module, what it does, and the extras that bring what it needs.
_VERBS = {
    "run": ("secateur.cli.run", "train -> prune -> retrain -> report, from a recipe; resumes", "train"),
    "scan": ("secateur.cli.scan", "sensitivity: what pruning each layer alone costs; resumes", "train"),
    "bench": (
        "secateur.cli.bench",
        "latency, memory and bytes, beside other engines in one run",
        "train,compile",
    ),
    "export": (
        "secateur.cli.export",
        "a compact .secateur file of a run, a checkpoint or an ONNX file; or ONNX",
        "compile",
    ),
    "info": ("secateur.cli.info", "what is in a compact file or a run, layer by layer", "train"),
    "report": ("secateur.cli.report", "one HTML page of a run, or of several side by side", "train,report"),
    "demo": (
        "secateur.cli.demo",
        "the main job on a small real data set, to the shipped file, in minutes",
        "train,compile",
    ),
}

_LOG_WIDTH = 120  # of tables in a file or a pipe, where rich's own 80 columns would cut numbers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after ``secateur``; the process's own if left out.

    Returns:
        The exit status: 0 for success, 1 for a refusal, 130 for an interruption.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="secateur",
        description="Train, prune and retrain networks, and ship the smaller network for real.",
    )
    parser.add_argument("--version", action="version", version=f"secateur {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (module, what, extras) in _VERBS.items():
        subparser = verbs.add_parser(verb, help=what, description=what)
        if words[:1] == [verb]:  # only the verb that is asked for pays for its imports
            try:
                import_module(module).add_arguments(subparser)
            except ModuleNotFoundError as error:
                return _missing(verb, error, extras)
    parsed = parser.parse_args(words)
    # After parsing, so that --help works where rich is not installed.
    from rich.console import Console  # noqa: PLC0415  # see above

    name, is_first = _speaker()
    console = Console(quiet=not is_first, emoji=False)  # a path with :on: in it is printed as it is
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _LOG_WIDTH
    try:
        status: int = import_module(_VERBS[parsed.verb][0]).run(parsed, console)
    except InterruptedRunError as error:
        print(f"\n{name}: {error}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted before the run began", file=sys.stderr)
        return 130
    except SecateurError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        # Some arguments need more than others: only a run's export needs torch.
        return _missing(parsed.verb, error, f"{_VERBS[parsed.verb][2]},train")
    return status


def _speaker() -> tuple[str, bool]:
    # Of several processes the first alone shows how a run goes; each may have an error of its own to tell.
    # What the launcher set is asked, for not every verb needs what could be asked otherwise.
    rank, count = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    return (f"secateur, process {rank} of {count}" if count > 1 else "secateur"), rank == 0


def _missing(verb: str, error: ModuleNotFoundError, extras: str) -> int:
    if error.name is None or error.name.partition(".")[0] == "secateur":
        raise error
    print(
        f"secateur {verb} needs {error.name!r}, which is not installed: "
        f'pip install "secateur[{",".join(dict.fromkeys(extras.split(",")))}]"',
        file=sys.stderr,
    )
    return 1
