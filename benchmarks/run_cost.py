"""What many rounds, and taking up a run again, cost: ``python -m benchmarks.run_cost --json FILE``.

Three things that could creep in unseen: rounds that take the longer the more came before them, or hold the
more memory, and a run that takes minutes until it trains again. Time is measured on LeNet-300-100, where an
epoch is short and overhead would show; the others on VGG-16, 134 million weights with ten classes. Memory is
the most that a process of a run held, beside one that trains the dense network alone; pages of mapped files
count. To be taken up, a process is killed where its second round begins, and a new one started; what counts
is the time from its start until it is there again, imports included, less the reading of what is finished,
timed alone.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import torch
from rich.console import Console
from torch import nn

from benchmarks.checkout import ROOT
from benchmarks.measure import resident_bytes
from benchmarks.rows import Comparison, Duration, Memory, Row, record_of, table
from secateur.datasets.images import ImageDataset
from secateur.networks import LeNet300100, build_network
from secateur.recipes.cut import DensityCut
from secateur.recipes.driver import Observer, train_dense, train_prune_retrain
from secateur.recipes.plan import Plan
from secateur.recipes.run_folder import map_stage
from secateur.storage import write_json
from secateur.training.checkpoint import check_checkpoint
from secateur.training.phase import Phase, Sgd
from secateur.training.task import Task, image_task


@final
@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        threads: Threads of the computation.
        rounds: Of LeNet-300-100, an even number.
        images: Training images of a round of it.
        network: What is killed and taken up again.
        pixels: Rows and columns of its images.
        resumptions: How often.
        held_rounds: Rounds of the run whose memory is looked at.
    """

    threads: int = 2
    rounds: int = 20
    images: int = 20_000
    network: str = "vgg-16"
    pixels: int = 224
    resumptions: int = 3
    held_rounds: int = 6


def random_task(images: int, channels: int, pixels: int) -> Task:
    """Images of random pixels, with labels of ten classes.

    Args:
        images: That train; a tenth as many, at least ten, validate and test.
        channels: Of an image.
        pixels: Its rows and columns.

    Returns:
        The task.
    """
    draw = torch.Generator().manual_seed(0)
    others = max(10, images // 10)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (count, channels, pixels, pixels)
        return torch.randint(256, shape, generator=draw, dtype=torch.uint8), torch.arange(count) % 10

    data = ImageDataset(*part(images + others), *part(others), classes=10, source="random pixels")
    return image_task(data, validation=others)


def plan_of(rounds: int, batch: int) -> Plan:
    """An epoch a round, a tenth of what is left cut in each.

    Args:
        rounds: How many.
        batch: Images of a step.

    Returns:
        The plan.
    """
    phase = Phase(epochs=1, batch_size=batch, optimizer=Sgd(learning_rate=1e-4, momentum=0.9))
    cut = DensityCut(density=0.9**rounds)
    return Plan(dense=(phase,), cut=cut, rounds=rounds, retrain=(phase,))


def rounds_cost(effort: Effort) -> Comparison:
    """The rounds of a run's second half beside those of its first.

    Args:
        effort: How long to measure.

    Returns:
        Milliseconds of whole rounds: what is cut, trained, evaluated and kept.
    """
    began: list[float] = []
    observer = Observer(on_stage=lambda *_: began.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as folder:
        task = random_task(effort.images, 1, 28)
        plan = plan_of(effort.rounds + 1, 64)  # when the last begins, all that count have ended
        train_prune_retrain(LeNet300100, task, plan, Path(folder) / "run", observer=observer)
    spent = [1000 * (end - start) for start, end in itertools.pairwise(began[1:])]
    half = effort.rounds // 2
    return Comparison(
        "lenet-300-100 round, last half beside first",
        spent[half : 2 * half],
        spent[:half],
        limit=1.1,
        note=f"{effort.rounds} rounds of an epoch of {effort.images} images, batch 64",
    )


def resuming_cost(effort: Effort) -> Duration:
    """From a process's start to where its run was killed, the beginning of the second round.

    Args:
        effort: How long to measure.

    Returns:
        Milliseconds of every resumption.
    """
    with tempfile.TemporaryDirectory() as folder:
        spent, reading = [], []
        for _ in range(1 + effort.resumptions):
            spent.append(1000 * seconds_until_killed(Path(folder), effort))
            reading.append(1000 * seconds_to_read(Path(folder)))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.pt"))
    return Duration(
        f"resuming {effort.network}, less reading",
        [all_ - read for all_, read in zip(spent[1:], reading[1:], strict=True)],  # the first was none
        limit_ms=10_000,
        note=f"from the process's start, {float(np.median(spent[1:])) / 1000:.1f} s less "
        f"{float(np.median(reading[1:])) / 1000:.1f} s of reading and checking {size / 1e9:.2f} GB",
    )


def rounds_memory(effort: Effort) -> Memory:
    """The most that a run of several rounds holds, beside the training of its dense network.

    Args:
        effort: Of what network, and of how many rounds.

    Returns:
        What it holds more than that.
    """

    def peak(rounds: int) -> int:
        command = [
            sys.executable,
            "-m",
            "benchmarks.run_cost",
            "--peak-of-rounds",
            str(rounds),
            *_options(effort),
        ]
        return int(subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout)  # noqa: S603  # our own

    dense = peak(0)
    return Memory(
        f"{effort.network}, a run of {effort.held_rounds} rounds",
        [peak(effort.held_rounds) - dense],
        dense,
        limit=0.5,
        note=f"resident at most, more than while the dense one is trained ({dense / 1e9:.2f} GB), batch 2",
    )


def peak_of_rounds(rounds: int, network: str, pixels: int) -> int:
    """The most that this process held after a run.

    Args:
        rounds: Of the run; 0 trains the dense network alone.
        network: Whose.
        pixels: Rows and columns of its images.

    Returns:
        Bytes.
    """
    task, model = _task_and_model(network, pixels)
    with tempfile.TemporaryDirectory() as folder:
        if rounds == 0:
            train_dense(model, task, plan_of(1, 2), Path(folder) / "run")
        else:
            train_prune_retrain(model, task, plan_of(rounds, 2), Path(folder) / "run")
    return resident_bytes()[1]


def _options(effort: Effort) -> list[str]:
    return ["--network", effort.network, "--pixels", str(effort.pixels), "--threads", str(effort.threads)]


def _task_and_model(network: str, pixels: int) -> tuple[Task, Callable[[], nn.Module]]:
    channels = 1 if network == "lenet-300-100" else 3
    return random_task(10, channels, pixels), partial(build_network, network, num_classes=10)


def seconds_until_killed(folder: Path, effort: Effort) -> float:
    """Start a process that begins the run, or takes it up, and is killed where its second round begins.

    Args:
        folder: Of the run.
        effort: Of what network, and with how many threads.

    Returns:
        Seconds from its start until there.

    Raises:
        RuntimeError: It ended otherwise.
    """
    command = [sys.executable, "-m", "benchmarks.run_cost", "--until-killed", str(folder), *_options(effort)]
    began = time.time()
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)  # noqa: S603  # our own
    if ended.returncode != -signal.SIGKILL:
        raise RuntimeError(f"{shlex.join(command)} was to be killed, found:\n{ended.stderr}")
    return float(ended.stdout) - began


def seconds_to_read(folder: Path) -> float:
    """How long it takes to read the finished stages of a run, and to check them.

    Args:
        folder: Somewhere in it.

    Returns:
        Seconds.
    """
    began = time.perf_counter()
    for path in folder.rglob("*.pt"):
        check_checkpoint(path)
        state = map_stage(path).model
        assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    return time.perf_counter() - began


def run_until_killed(folder: Path, network: str, pixels: int) -> None:
    """Begin or take up a run, and be killed where its second round begins.

    Args:
        folder: Of the run.
        network: Whose.
        pixels: Rows and columns of its images.
    """

    def on_stage(name: str, *_: object) -> None:
        if name == "round-02":
            print(time.time(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    task, model = _task_and_model(network, pixels)
    train_prune_retrain(model, task, plan_of(2, 2), folder / "run", observer=Observer(on_stage=on_stage))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and write the result; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written, if anywhere")
    parser.add_argument("--threads", type=int, default=2, help="threads of the computation (2)")
    parser.add_argument("--until-killed", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peak-of-rounds", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--network", default="vgg-16", help=argparse.SUPPRESS)
    parser.add_argument("--pixels", type=int, default=224, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    if given.until_killed is not None:
        run_until_killed(given.until_killed, given.network, given.pixels)
        return
    if given.peak_of_rounds is not None:
        print(peak_of_rounds(given.peak_of_rounds, given.network, given.pixels))
        return
    effort = Effort(threads=given.threads)
    load = os.getloadavg()[0]
    rows: list[Row] = [rounds_cost(effort), rounds_memory(effort), resuming_cost(effort)]
    Console(width=120).print(table(rows))
    if given.json is not None:
        command = "python -m benchmarks.run_cost --json benchmarks/results/run-cost.json"
        write_json(given.json, record_of(rows, asdict(effort), command, effort.threads, load))


if __name__ == "__main__":
    main()
