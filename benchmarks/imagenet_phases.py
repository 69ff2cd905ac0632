"""Every phase of an ImageNet recipe, shortened: ``python -m benchmarks.imagenet_phases alexnet --data DIR``.

DIR is a folder of pictures in ImageNet's layout, of any size (CIFAR-10's 32 x 32 do); a few of each class are
taken and seen at the recipe's size. Each phase of the recipe is kept, with its layers, optimizer, rates and
cuts, and made one epoch of a few small steps; nothing else is changed. So what is shown is that every part
works together, from JPEG files to the compact file, and not how accurate the network is. The run starts from
weights drawn as Caffe draws them, from normal distributions, which thresholds of quality x deviation cut as
they cut trained ones; PyTorch's own uniform distributions have no tails.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.measure import resident_bytes
from benchmarks.rows import record_head
from secateur.cli.main import main as secateur
from secateur.cli.shipping import eager_timer
from secateur.compiler.turns import in_turns
from secateur.errors import ConfigurationError
from secateur.export import TrainedNetwork, network_of_run
from secateur.networks import NETWORKS, build_network
from secateur.pruning.layers import select_weights
from secateur.recipes.builtin import builtin_recipe
from secateur.recipes.data import load_task
from secateur.recipes.plan import Plan, Recipe, read_recipe
from secateur.recipes.result import read_result
from secateur.report.tables import human_count
from secateur.runtime.load import load
from secateur.storage import write_json
from secateur.training.checkpoint import save_weights
from secateur.training.phase import Phase

RECIPES = ("alexnet", "vgg-16")
AGREEMENT = 1e-4  # of the largest output, in float32


def shortened(recipe: Recipe, batch: int, held_out: int) -> Recipe:
    """The recipe with every phase one epoch of small steps.

    Args:
        recipe: The recipe.
        batch: Images of a step.
        held_out: Pictures held out for decisions.

    Returns:
        The recipe; phases keep their layers, optimizers, rates and penalties.

    Example:
        >>> short = shortened(builtin_recipe("vgg-16"), 4, 10)
        >>> [(turn.retrain[0].epochs, turn.retrain[0].only) for turn in short.plan.turns]
        [(1, ('fc*',)), (1, ('conv*',))]
        >>> short.plan.cut == builtin_recipe("vgg-16").plan.cut
        True
    """

    def short(phases: Sequence[Phase]) -> list[Phase]:
        return [phase.model_copy(update={"epochs": 1, "batch_size": batch}) for phase in phases]

    plan = recipe.plan
    turns = [turn.model_copy(update={"retrain": short(turn.retrain)}) for turn in plan.turns]
    changes: dict[str, Any] = {"dense": short(plan.dense), "retrain": short(plan.retrain), "turns": turns}
    short_plan: Plan = plan.model_copy(update=changes)
    data = recipe.data.model_copy(update={"validation": held_out})
    return recipe.model_copy(update={"name": f"{recipe.name}-phases", "plan": short_plan, "data": data})


def some_pictures(source: Path, target: Path, classes: int, train: int, test: int) -> int:
    """Link the first pictures of the first classes into a folder of the same layout.

    Args:
        source: With ``train`` and ``test``, a folder a class in each.
        target: Where the links go; made.
        classes: How many at most.
        train: Pictures of each.
        test: The same.

    Returns:
        How many classes there are.

    Raises:
        ConfigurationError: A class has fewer pictures.
    """
    for part, count in (("train", train), ("test", test)):
        for folder in sorted(path for path in (source / part).iterdir() if path.is_dir())[:classes]:
            files = sorted(folder.iterdir())[:count]
            if len(files) < count:
                raise ConfigurationError(f"{folder}: expected {count} pictures at least, found {len(files)}")
            (target / part / folder.name).mkdir(parents=True)
            for file in files:
                (target / part / folder.name / file.name).symlink_to(file.resolve())
    return len(list((target / "train").iterdir()))


def normal_weights(network: str, classes: int, path: Path) -> None:
    """Write weights drawn from normal distributions, with the deviations that PyTorch's own start with.

    Args:
        network: A built-in network.
        classes: Width of its last layer.
        path: The safetensors file.
    """
    draw = torch.Generator().manual_seed(0)
    model = build_network(network, num_classes=classes)
    with torch.no_grad():
        for weight in select_weights(model).values():
            weight.normal_(0.0, float(weight.std()), generator=draw)
    save_weights(path, model.state_dict())


def disagreement(trained: TrainedNetwork, file: Path, pictures: Tensor) -> float:
    """How far the compact file's outputs are from PyTorch's, as a part of the largest output.

    Args:
        trained: The pruned network.
        file: The compact file.
        pictures: Real ones.

    Returns:
        A fraction.
    """
    with torch.inference_mode():
        expected = trained.module(pictures).numpy()
    found = load(file)(pictures.numpy())
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def benchmark_row(run: Path, file: Path, picture: Tensor) -> dict[str, float]:
    """Bytes and time of one picture, before and after, on one thread: several wait for each other.

    Args:
        run: The run's folder.
        file: The compact file.
        picture: A batch of one.

    Returns:
        Bytes of both files, microseconds of both, and their ratios.
    """
    program, pixels = load(file, threads=1), picture.numpy()

    def compact(repeats: int) -> list[int]:
        spent = []
        for _ in range(repeats):
            began = time.perf_counter_ns()
            program(pixels)
            spent.append(time.perf_counter_ns() - began)
        return spent

    dense, threads = network_of_run(run, dense=True).module, torch.get_num_threads()
    torch.set_num_threads(1)
    contenders = {"pytorch_dense": eager_timer(dense, picture), "secateur": compact}
    times = {name: timed.again for name, timed in in_turns(contenders).items()}
    torch.set_num_threads(threads)
    before, after = (run / "dense.safetensors").stat().st_size, file.stat().st_size
    return {
        "dense_bytes": before,
        "compact_bytes": after,
        "smaller": before / after,
        "pytorch_dense_us": times["pytorch_dense"],
        "secateur_us": times["secateur"],
        "faster": times["pytorch_dense"] / times["secateur"],
    }


def paper_table(name: str, layers: Sequence[Mapping[str, Any]], total: Mapping[str, Any]) -> Table:
    """Tables 4 and 5 from a run, the paper's densities beside it.

    Args:
        name: The network.
        layers: Of the run's result.
        total: Its row of totals.

    Returns:
        The table.
    """
    paper = NETWORKS[name].paper_densities
    table = Table(title=f"{name}: every phase, shortened")
    for column in ("layer", "weights", "FLOP", "Act %", "Weights %", "FLOP %", "paper's Weights %"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for row in (*layers, total):
        published = paper.get(row["name"])
        table.add_row(
            row["name"],
            human_count(row["weights"]),
            human_count(row["flop"]),
            f"{100 * row['activation_density']:.0f}",
            f"{100 * row['kept'] / row['weights']:.1f}",
            f"{100 * row['flop_kept']:.1f}",
            "" if published is None else f"{100 * published:.0f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, check, print and write the result; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="pictures in ImageNet's layout")
    parser.add_argument("--classes", type=int, default=10, help="of the folder's (10)")
    parser.add_argument("--train", type=int, default=5, help="training pictures of each class (5)")
    parser.add_argument("--test", type=int, default=2, help="test pictures of each class (2)")
    parser.add_argument("--batch", type=int, default=20, help="pictures a step (20)")
    parser.add_argument(
        "--workers", type=int, default=0, help="that decode; starting them takes longer than two steps (0)"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the run, if it shall stay; a finished one is only read"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written, if anywhere")
    given = parser.parse_args(arguments)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        recipe = _prepared(folder, given)
        run, file = folder / "run", folder / "pruned.secateur"
        words = ["--data", str(folder / "pictures"), "--weights", str(folder / "start.safetensors")]
        words += ["--workers", str(given.workers)]
        was_there = (run / "result.json").exists()
        _done(["run", str(folder / "recipe.yaml"), *words, "--out", str(run)])
        peak = None if was_there else resident_bytes()[1]
        if not file.exists():
            _done(["export", str(run), "-o", str(file)])
        record = read_result(run).record
        pictures = next(load_task(recipe.data, folder / "pictures", 0).test())[0]
        apart = disagreement(network_of_run(run), file, pictures)
        row = benchmark_row(run, file, pictures[:1].contiguous())
    Console().print(paper_table(given.recipe, record["layers"], record["total"]))
    print(f"the compact file and PyTorch differ by {apart:.1e} of the largest output; {row}")
    if apart > AGREEMENT:
        raise SystemExit(f"the compact file does not agree with PyTorch: {apart:.1e} > {AGREEMENT}")
    if given.json is not None:
        settings = {key: getattr(given, key) for key in ("recipe", "classes", "train", "test", "batch")}
        options = " ".join(f"--{name} {value}" for name, value in settings.items() if name != "recipe")
        command = f"python -m benchmarks.imagenet_phases {given.recipe} --data DIR {options}"
        command += f" --json benchmarks/results/{given.json.name}"
        write_json(
            given.json,
            {
                **record_head(settings, command, torch.get_num_threads(), load_before),
                "seconds": record["seconds"],
                "peak_bytes": peak,
                "phases": record["phases"],
                "compression": record["compression"],
                "layers": record["layers"],
                "total": record["total"],
                "paper_densities": dict(NETWORKS[given.recipe].paper_densities),
                "disagreement": apart,
                "row": row,
            },
        )


def _prepared(folder: Path, given: argparse.Namespace) -> Recipe:
    """The shortened recipe; what it needs is in the folder, unless it is there already."""
    if not (folder / "recipe.yaml").exists():
        classes = some_pictures(given.data, folder / "pictures", given.classes, given.train, given.test)
        short = shortened(builtin_recipe(given.recipe), given.batch, classes)
        normal_weights(short.model, classes, folder / "start.safetensors")
        (folder / "recipe.yaml").write_text(yaml.safe_dump(short.model_dump(mode="json")))
    return read_recipe(folder / "recipe.yaml")


def _done(words: Sequence[str]) -> None:
    status = secateur(words)
    if status != 0:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
