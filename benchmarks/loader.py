"""How many pictures a second are read, beside the training step that they feed.

``python -m benchmarks.loader DIR --json benchmarks/results/loader.json``, where DIR is a folder of pictures
in ImageNet's layout, such as CIFAR-10's. They are read as they are (32 x 32, padded crops), and scaled to the
227 pixels of AlexNet; so are mosaics of them, as large as an average picture of ImageNet, for a JPEG file
costs by its pixels. Loaders and steps take turns, so that what slows one slows all. AlexNet is trained from
the mosaics as well, to see what is left of the step's pictures a second when both share the processors.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from benchmarks.measure import Contestant, interleaved
from benchmarks.rows import record_head
from secateur.datasets.folders import find_parts
from secateur.datasets.pictures import Normalisation, PaddedCrop, ResizedCrop, View, read_picture
from secateur.networks import build_network
from secateur.storage import write_json
from secateur.training.phase import Sgd, make_optimizer
from secateur.training.streaming import StreamedImages, streamed_task
from secateur.training.task import Batch

ALEXNET = View(227, 256, ResizedCrop())
MOSAIC = (15, 12)  # of 32 x 32 pictures: 480 x 384 pixels; ImageNet's mean is 0.18 million, as many
GREY = Normalisation((0.5,) * 3, (0.25,) * 3)
Network = Callable[[int], torch.nn.Module]


@final
@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: What was measured.
        workers: Processes that decoded; None where nothing was read.
        samples: Pictures a second, of each round.
        pictures: Pictures of a sample.
    """

    name: str
    workers: int | None
    samples: Sequence[float]
    pictures: int

    @property
    def median(self) -> float:
        """Pictures a second."""
        return statistics.median(self.samples)


def make_mosaics(source: StreamedImages, folder: Path, count: int) -> Path:
    """Pictures as large as ImageNet's, put together from small ones, in ImageNet's layout.

    Args:
        source: The small pictures.
        folder: Where to.
        count: How many to train on.

    Returns:
        The folder.
    """
    wide, tall = MOSAIC
    draw = np.random.default_rng(0)
    for part, number in (("train", count), ("test", 2)):
        for label in range(2):
            (folder / part / str(label)).mkdir(parents=True)
        for place in range(number):
            chosen = draw.integers(len(source.training), size=(tall, wide))
            rows = [
                np.concatenate([np.asarray(read_picture(source.training.path(int(i)))) for i in row], axis=1)
                for row in chosen
            ]
            target = folder / part / str(place % 2) / f"{place:05d}.jpg"
            Image.fromarray(np.concatenate(rows)).save(target, quality=90)
    return folder


def reading(task: StreamedImages, workers: int, size: int, steps: int) -> Callable[[], None]:
    """What reads so many batches of an epoch and drops them."""
    read = replace(task, workers=workers)
    epoch = iter(range(1 << 30))

    def run() -> None:
        drained = sum(len(batch.labels) for batch in islice(read.batches(size, 0, next(epoch)), steps))
        assert drained == size * steps

    return run


def stepping(network: torch.nn.Module, batches: Callable[[], Iterator[Batch]]) -> Callable[[], None]:
    """What trains on batches, as a dense phase with weight decay does."""
    parameters = list(network.parameters())
    optimizer = make_optimizer(Sgd(learning_rate=1e-4), 5e-4, parameters, [])

    def run() -> None:
        for batch in batches():
            optimizer.zero_grad()
            functional.cross_entropy(network(batch.images), batch.labels).backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimizer.step()

    return run


def measure(
    folder: Path, workers: Sequence[int], *, size: int, steps: int, rounds: int, network: Network
) -> list[Row]:
    """Measure loaders, steps, and both at once.

    Args:
        folder: Pictures in ImageNet's layout.
        workers: Numbers of processes that decode.
        size: Pictures of a step.
        steps: Steps of a sample of a loader; a sample of training is one step.
        rounds: Samples of each.
        network: Makes the network for so many classes.

    Returns:
        The rows.
    """
    parts, validation = find_parts(folder), 10
    small = streamed_task(
        parts, View(32, 32, PaddedCrop()), source="small", validation=validation, normalisation=GREY
    )
    scaled = replace(small, view=ALEXNET)
    with tempfile.TemporaryDirectory() as where:
        mosaics = find_parts(make_mosaics(small, Path(where), size * steps + 2))
        large = streamed_task(mosaics, ALEXNET, source="large", validation=2, normalisation=GREY)
        kinds = {
            "read 32 x 32": (small, 8),
            "read 32 x 32, scaled to 227": (scaled, 1),
            "read 480 x 384, cropped to 227": (large, 1),
        }
        named = [(name, count) for name in kinds for count in workers]
        loaders = [
            Contestant(reading(task, count, size, steps * times), units=size * steps * times)
            for task, times in kinds.values()
            for count in workers
        ]
        model = network(2)
        batch = next(replace(large, workers=0).batches(size, 0, "step"))
        fed = {
            count: Contestant(stepping(model, _epoch(large, count, size)), units=size * steps)
            for count in workers
        }
        step = Contestant(stepping(model, lambda: iter([batch])), units=size)
        samples = interleaved([*loaders, step, *fed.values()], rounds)
    names = [*named, ("step", None), *(("train from 480 x 384", count) for count in fed)]
    units = [contestant.units for contestant in (*loaders, step, *fed.values())]
    return [
        Row(name, count, [1e3 / each for each in milliseconds], unit)
        for (name, count), milliseconds, unit in zip(names, samples, units, strict=True)
    ]


def _epoch(task: StreamedImages, workers: int, size: int) -> Callable[[], Iterator[Batch]]:
    return lambda: replace(task, workers=workers).batches(size, 0, "fed")


def table(rows: Sequence[Row]) -> Table:
    """The rows, printed."""
    shown = Table("what", "workers", "pictures / s", "range", box=None)
    for row in rows:
        count = "-" if row.workers is None else str(row.workers)
        shown.add_row(
            row.name, count, f"{row.median:,.0f}", f"{min(row.samples):,.0f}-{max(row.samples):,.0f}"
        )
    return shown


def result(rows: Sequence[Row], settings: Mapping[str, Any], command: str, load: float) -> dict[str, Any]:
    """What is published: medians, all samples, and how many times the step each loader is."""
    step = next(row for row in rows if row.workers is None)
    return {
        **record_head(settings, command, torch.get_num_threads(), load),
        "rows": [
            {**asdict(row), "median": row.median, "times_the_step": row.median / step.median} for row in rows
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="pictures in ImageNet's layout, each 32 x 32")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written, if anywhere")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes that decode (1 2)")
    parser.add_argument("--batch", type=int, default=64, help="pictures of a step (64)")
    parser.add_argument("--steps", type=int, default=6, help="steps of a sample (6)")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the computation (2)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    load, began = os.getloadavg()[0], time.monotonic()
    settings = {"network": "alexnet", "batch": given.batch, "steps": given.steps, "rounds": given.rounds}
    rows = measure(
        given.folder,
        given.workers,
        size=given.batch,
        steps=given.steps,
        rounds=given.rounds,
        network=lambda classes: build_network("alexnet", num_classes=classes),
    )
    console = Console()
    console.print(table(rows))
    console.print(f"{time.monotonic() - began:.0f} s")
    if given.json is not None:
        words = ["--workers", *given.workers, "--batch", given.batch, "--steps", given.steps]
        words += ["--rounds", given.rounds, "--threads", given.threads]
        command = shlex.join(["python", "-m", "benchmarks.loader", given.folder.name, *map(str, words)])
        write_json(given.json, result(rows, settings, command, load))


if __name__ == "__main__":
    main()
