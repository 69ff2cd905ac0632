"""How long installing from source takes: ``python -m benchmarks.installing --json OUT``.

A fresh environment, nothing cached, and the package built in isolation: pip fetches CMake, ninja and the
headers of the binding and of NumPy from the index, the compiler builds the core, NumPy comes as a wheel.
PyTorch is not among it: the runtime needs none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.checkout import ROOT, published_name
from secateur.records import content_hash, provenance
from secateur.storage import write_json

LIMIT_SECONDS = 120

Steps = Mapping[str, Sequence[str]]


def steps(folder: Path) -> Steps:
    """The commands that make an environment, install the package from source and import its runtime there.

    Args:
        folder: Where the environment is made.

    Returns:
        Words by name, in their order.
    """
    python = str(folder / "bin" / "python")
    return {
        "environment": (sys.executable, "-m", "venv", str(folder)),
        "install": (python, "-m", "pip", "install", "--quiet", "--no-cache-dir", str(ROOT)),
        "import": (python, "-c", "import secateur.runtime"),
    }


def timed(commands: Steps, where: Path) -> dict[str, float]:
    """Run commands one after the other.

    Args:
        commands: Words by name.
        where: The folder they are run in.

    Returns:
        Seconds by name.

    Raises:
        subprocess.CalledProcessError: One failed; what it said went to the terminal.
    """
    # What is on this process's path would hide what was not installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    seconds: dict[str, float] = {}
    for name, words in commands.items():
        begin = time.perf_counter()
        subprocess.run(words, check=True, cwd=where, env=environment)  # noqa: S603  # our own words
        seconds[name] = time.perf_counter() - begin
    return seconds


def record(seconds: Mapping[str, float], path: Path) -> float:
    """Write down how long the steps took.

    Args:
        seconds: By step.
        path: Where the result goes.

    Returns:
        Their sum.
    """
    total = sum(seconds.values())
    settings = {"limit_seconds": LIMIT_SECONDS}
    made = provenance(configuration_hash=content_hash(settings), seed=0, threads=os.cpu_count() or 1)
    content = {
        "command": f"python -m benchmarks.installing --json {published_name(path)}",
        "settings": settings,
        "seconds": {**seconds, "total": total},
        "provenance": made.to_json(),
    }
    write_json(path, content)
    return total


def main(words: Sequence[str] | None = None) -> int:
    """Install, say how long it took and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the result is written")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed(steps(Path(folder) / "environment"), Path(folder))
    total = record(seconds, given.json)
    print(f"{total:.0f} s from nothing to an import; the limit we set ourselves is {LIMIT_SECONDS} s")
    return 0 if total <= LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
