"""What pruning and the driver cost, beside plain PyTorch, in one process and in turns.

``python -m benchmarks.overhead --json benchmarks/results/overhead.json`` on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.checkout import published_name
from benchmarks.contests import FULL, QUICK, Effort, epoch, masks, step_lenet, step_vgg
from benchmarks.rows import Row, record_of, table
from secateur.errors import ConfigurationError
from secateur.storage import write_json

PARTS: Mapping[str, Callable[[Effort], list[Row]]] = {
    "step-lenet": step_lenet,
    "step-vgg": step_vgg,
    "epoch": epoch,
    "masks": masks,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and write the result; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written, if anywhere")
    parser.add_argument("--only", metavar="PARTS", help=f"some of {','.join(PARTS)}; all by default")
    parser.add_argument("--threads", type=int, default=2, help="threads of the computation (2)")
    parser.add_argument(
        "--quick", action="store_true", help="few samples: to see that it runs, not to publish"
    )
    given = parser.parse_args(arguments)
    parts = parts_of(given.only)
    if torch.cuda.is_available():
        raise ConfigurationError(
            "these measure the CPU, and the driver would take the GPU; set CUDA_VISIBLE_DEVICES to nothing"
        )
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    effort = replace(QUICK if given.quick else FULL, threads=given.threads)
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a log wraps by itself, or not at all
    load = os.getloadavg()[0]
    rows: list[Row] = []
    for part in parts:
        with console.status(f"measuring {part}"):
            rows += PARTS[part](effort)
    console.print(table(rows))
    if given.json is not None:
        write_json(given.json, result(rows, parts, effort, _command(given), load))


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, up to 32 MB a piece, for who asks next; elsewhere nothing is done.

    Gradients and temporaries of a megabyte come and go with every step. Where they went back to the system
    in between, a step of LeNet-300-100 with Adam took up to 550 page faults and 1.4 times its time, from one
    second to the next.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3  # <malloc.h>
        mallopt(m_trim_threshold, 1 << 30)
        mallopt(m_mmap_threshold, 1 << 25)


def parts_of(only: str | None) -> list[str]:
    """The parts that were asked for, in the order of ``PARTS``.

    Args:
        only: Names with commas between; None for all.

    Returns:
        Their names.

    Raises:
        ConfigurationError: A name is not known.

    Example:
        >>> parts_of("masks,epoch")
        ['epoch', 'masks']
    """
    asked = list(PARTS) if only is None else [name.strip() for name in only.split(",")]
    unknown = [name for name in asked if name not in PARTS]
    if unknown:
        raise ConfigurationError(
            f"--only: {', '.join(map(repr, unknown))} is no part; expected some of {', '.join(PARTS)}"
        )
    return [name for name in PARTS if name in asked]


def result(
    rows: Sequence[Row], parts: Sequence[str], effort: Effort, command: str, load: float
) -> dict[str, Any]:
    """What is written to the file.

    Args:
        rows: What was measured.
        parts: The parts of it.
        effort: How long.
        command: What was typed.
        load: The machine's load average before the first measurement.

    Returns:
        JSON values.
    """
    settings = {"parts": list(parts), "effort": asdict(effort)}
    return record_of(rows, settings, command, effort.threads, load)


def _command(given: argparse.Namespace) -> str:
    words = ["python", "-m", "benchmarks.overhead"]
    if given.json is not None:
        words += ["--json", published_name(given.json)]
    words += ["--only", given.only] if given.only else []
    words += ["--threads", str(given.threads)]
    return shlex.join(words + (["--quick"] if given.quick else []))


if __name__ == "__main__":
    main()
