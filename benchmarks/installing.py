"""How long installing from source takes: ``python -m benchmarks.installing --json OUT``.

A fresh environment, nothing cached, and the package built in isolation: pip fetches CMake, ninja and the
binding's headers from the index, the compiler builds the core, NumPy comes as a wheel. PyTorch is not among
it: the runtime needs none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.masks_cost import ROOT
from secateur.records import content_hash, provenance
from secateur.storage import write_json

LIMIT_SECONDS = 120


def install(folder: Path) -> dict[str, float]:
    """Make an environment, install the package from source and import its runtime there.

    Args:
        folder: An empty one.

    Returns:
        Seconds of each step.

    Raises:
        subprocess.CalledProcessError: A step failed; what it said went to the terminal.
    """
    python = folder / "bin" / "python"
    steps: dict[str, Sequence[str]] = {
        "environment": (sys.executable, "-m", "venv", str(folder)),
        "install": (str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", str(ROOT)),
        "import": (str(python), "-c", "import secateur.runtime"),
    }
    # What is on this process's path would hide what was not installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    seconds: dict[str, float] = {}
    for name, words in steps.items():
        begin = time.perf_counter()
        subprocess.run(words, check=True, cwd=folder.parent, env=environment)  # noqa: S603  # our own words
        seconds[name] = time.perf_counter() - begin
    return seconds


def main(words: Sequence[str] | None = None) -> int:
    """Install, say how long it took and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the result is written")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        seconds = install(Path(folder) / "environment")
    total = sum(seconds.values())
    settings = {"limit_seconds": LIMIT_SECONDS}
    write_json(
        given.json,
        {
            "command": f"python -m benchmarks.installing --json benchmarks/results/{given.json.name}",
            "settings": settings,
            "seconds": seconds | {"total": total},
            "provenance": provenance(
                configuration_hash=content_hash(settings), seed=0, threads=os.cpu_count() or 1
            ).to_json(),
        },
    )
    print(f"{total:.0f} s from nothing to an import; the limit we set ourselves is {LIMIT_SECONDS} s")
    return 0 if total <= LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
