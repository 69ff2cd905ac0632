"""A recipe over seeds on CIFAR-10, beside dense networks: ``python -m benchmarks.cifar resnet-20 ...``.

Beside the pruned network at each compression stand three dense ones. ``uncut`` goes on from the same dense
network through as many rounds, and nothing is cut. ``longer`` is trained for as many epochs as dense phases
and rounds have together, in one go, so that its learning rate falls once. The narrow one has fewer channels
and about as many weights as were kept, and is trained in one go for the epochs that had been spent when that
compression was reached. All see the same images and penalties.

``--epochs DENSE ROUND`` shortens the recipe. Runs are resumed, and several processes may take a seed each:
whichever ends last writes the whole summary.
"""

from __future__ import annotations

import argparse
import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.seeds import difference, spread
from secateur.networks import NETWORKS
from secateur.pruning.layers import select_weights
from secateur.recipes.builtin import builtin_recipe
from secateur.recipes.cut import GlobalCut
from secateur.recipes.data import load_task
from secateur.recipes.driver import train_dense, train_prune_retrain
from secateur.recipes.plan import Plan, Recipe
from secateur.recipes.result import RunResult, read_result
from secateur.records import content_hash, provenance
from secateur.storage import write_json
from secateur.training.checkpoint import load_weights, save_weights
from secateur.training.evaluation import evaluate
from secateur.training.phase import Phase
from secateur.training.task import Task

RECIPES = ("resnet-20", "vgg-16-cifar")
Errors = NDArray[np.bool_]  # [test images], True where a network is wrong
_UNCUT = "uncut"
_MOST_CHANNELS = 128
_TEST_ERRORS = "test-errors.safetensors"


@final
@dataclass(frozen=True)
class Baseline:
    """A dense network to stand beside the pruned ones.

    Attributes:
        name: What it is called.
        width: Channels of its first convolution.
        epochs: It is trained for so many, in one go.
    """

    name: str
    width: int
    epochs: int


def shortened(recipe: Recipe, dense: int, retrain: int) -> Recipe:
    """The recipe with other numbers of epochs.

    Args:
        recipe: The recipe; one dense phase and one of retraining.
        dense: Epochs of the dense network.
        retrain: Epochs of each round.

    Returns:
        The recipe.

    Example:
        >>> plan = shortened(builtin_recipe("resnet-20"), 5, 1).plan
        >>> plan.dense[0].epochs, plan.retrain[0].epochs, plan.rounds
        (5, 1, 5)
    """

    def of(phases: Sequence[Phase], epochs: int) -> tuple[Phase, ...]:
        return tuple(phase.model_copy(update={"epochs": epochs}) for phase in phases)

    changes = {"dense": of(recipe.plan.dense, dense), "retrain": of(recipe.plan.retrain, retrain)}
    return recipe.model_copy(update={"plan": recipe.plan.model_copy(update=changes)})


def baselines(recipe: Recipe) -> list[Baseline]:
    """The dense networks that stand beside a recipe's.

    Args:
        recipe: The recipe; its cut names a density of all weights.

    Returns:
        The same network trained as long; then, for every round, the one whose weights are nearest to
        those kept.

    Example:
        >>> found = baselines(shortened(builtin_recipe("resnet-20"), 5, 1))
        >>> [(each.width, each.epochs) for each in found]
        [(16, 10), (11, 6), (8, 7), (6, 8), (4, 9), (3, 10)]
    """
    plan = recipe.plan
    assert isinstance(plan.cut, GlobalCut)
    dense, retrain = _epochs(recipe)
    whole = weights(recipe.model, None)
    found = [Baseline("longer", nearest_width(recipe.model, whole), dense + plan.rounds * retrain)]
    for number in range(1, plan.rounds + 1):
        kept = whole * plan.cut.density ** (number / plan.rounds)
        width = nearest_width(recipe.model, kept)
        found.append(Baseline(f"narrow-{width}", width, dense + number * retrain))
    return found


def nearest_width(network: str, count: float) -> int:
    """Channels of the first convolution with which a network has nearest to so many connections.

    Example:
        >>> nearest_width("resnet-20", 67_000)
        8
    """
    widths = range(1, _MOST_CHANNELS)
    above = widths[bisect_left(widths, count, hi=len(widths) - 1, key=lambda width: weights(network, width))]
    return min(max(above - 1, 1), above, key=lambda width: abs(weights(network, width) - count))


def weights(network: str, width: int | None) -> int:
    """Connections of a network with so many channels in its first convolution; None is as published.

    Example:
        >>> weights("resnet-20", None), weights("resnet-20", 8)
        (268336, 67352)
    """
    more = {} if width is None else {"width": width}
    with torch.device("meta"):
        return sum(weight.numel() for weight in select_weights(NETWORKS[network].factory(**more)).values())


def run_pruned(recipe: Recipe, task: Task, seed: int, runs: Path) -> RunResult:
    """The recipe's run, in a folder of its own."""
    factory = partial(NETWORKS[recipe.model].factory, num_classes=task.classes)
    folder = runs / f"{_label(recipe)}-pruned-seed{seed}"
    return train_prune_retrain(
        factory, task, recipe.plan, folder, seed=seed, name=recipe.name, save_every=60.0
    )


def run_uncut(recipe: Recipe, task: Task, seed: int, runs: Path) -> Errors:
    """The dense network of the recipe's run through the same rounds without a cut, in a folder a round.

    Returns:
        [test images], True where it is wrong after the last round.
    """
    folder = run_pruned(recipe, task, seed, runs).folder
    state: Mapping[str, Tensor] = load_weights(folder / "dense.safetensors")
    plan: Plan = recipe.plan.model_copy(update={"dense": recipe.plan.retrain})
    for number in range(1, recipe.plan.rounds + 1):
        folder = runs / f"{_label(recipe)}-{_uncut(number)}-seed{seed}"
        # From one seed every round would take its batches in the same order.
        state = _train_dense(partial(_loaded, recipe, task, state), task, plan, 1000 * number + seed, folder)
    return _wrong(folder, "dense")


def _loaded(recipe: Recipe, task: Task, state: Mapping[str, Tensor]) -> nn.Module:
    model = NETWORKS[recipe.model].factory(num_classes=task.classes)
    model.load_state_dict(dict(state))
    return model


def _uncut(number: int) -> str:
    return f"{_UNCUT}-{number:02d}"


def run_baseline(recipe: Recipe, baseline: Baseline, task: Task, seed: int, runs: Path) -> Errors:
    """A dense network's run, in a folder of its own.

    Returns:
        [test images], True where it is wrong.
    """
    factory = partial(NETWORKS[recipe.model].factory, num_classes=task.classes, width=baseline.width)
    phase = recipe.plan.dense[0].model_copy(update={"epochs": baseline.epochs})
    plan: Plan = recipe.plan.model_copy(update={"dense": (phase,)})
    folder = runs / f"{_label(recipe)}-{baseline.name}-seed{seed}"
    _train_dense(factory, task, plan, seed, folder)
    return _wrong(folder, "dense")


def _train_dense(
    factory: Callable[[], nn.Module], task: Task, plan: Plan, seed: int, folder: Path
) -> Mapping[str, Tensor]:
    """The trained network's state; which test images it has wrong is kept in the folder."""
    name = folder.name.rpartition("-seed")[0]
    _, state = train_dense(factory, task, plan, folder, seed=seed, name=name, save_every=60.0)
    if not (folder / _TEST_ERRORS).exists():
        model = factory()
        model.load_state_dict(dict(state.model))
        save_weights(folder / _TEST_ERRORS, {"dense": evaluate(model, task.test()).wrong.to(torch.uint8)})
    return state.model


def summary(recipe: Recipe, runs: Path, results: Mapping[int, RunResult]) -> dict[str, Any]:
    """What the runs that are finished come to, over their seeds.

    Args:
        recipe: The recipe.
        runs: Where the folders of the dense networks lie.
        results: Of the pruned networks, by seed.

    Returns:
        JSON values: the dense network, the two that were trained as long, and a point for every round, beside
        the uncut network after as many. Differences are in percentage points, over the seeds that both have;
        None where none has.
    """
    longer, *narrow = baselines(recipe)
    stages = ["dense", *(f"round-{number:02d}" for number in range(1, recipe.plan.rounds + 1))]
    wrong = {
        stage: {seed: _wrong(result.folder, stage) for seed, result in results.items()} for stage in stages
    }
    as_long = _dense_errors(recipe, longer.name, runs)
    uncut = [_dense_errors(recipe, _uncut(number), runs) for number in range(1, recipe.plan.rounds + 1)]
    points = []
    for number, baseline in enumerate(narrow, start=1):
        pruned, thin = wrong[stages[number]], _dense_errors(recipe, baseline.name, runs)
        curve = [result.record["curve"][number] for result in results.values()]
        points.append(
            {
                "compression": spread([point["compression"] for point in curve]),
                "kept": spread([point["kept"] for point in curve]),
                "epochs": baseline.epochs,
                "error": _error(pruned),
                "less_dense": _less(pruned, wrong["dense"]),
                "uncut": _error(uncut[number - 1]),
                "less_uncut": _less(pruned, uncut[number - 1]),
                "less_longer": _less(pruned, as_long),
                "narrow": {
                    "width": baseline.width,
                    "weights": weights(recipe.model, baseline.width),
                    "error": _error(thin),
                },
                "less_narrow": _less(pruned, thin),
            }
        )
    return {
        "seeds": sorted(results),
        "weights": weights(recipe.model, None),
        "dense": {"epochs": _epochs(recipe)[0], "error": _error(wrong["dense"])},
        "uncut": {"epochs": longer.epochs, "error": _error(uncut[-1])},
        "longer": {"epochs": longer.epochs, "error": _error(as_long)},
        "curve": points,
    }


def _epochs(recipe: Recipe) -> tuple[int, int]:
    """Of the dense network, and of a round."""
    plan = recipe.plan
    return sum(phase.epochs for phase in plan.dense), sum(phase.epochs for phase in plan.retrain)


def _label(recipe: Recipe) -> str:
    """What folders are called: runs of another schedule are others."""
    dense, retrain = _epochs(recipe)
    return f"{recipe.name}-{dense}-{retrain}"


def _by_seed(runs: Path, name: str, needed: str) -> dict[int, Path]:
    found = {path.name.rpartition("-seed")[2]: path for path in runs.glob(f"{name}-seed*")}
    return {
        int(seed): found[seed]
        for seed in sorted(found)
        if seed.isdecimal() and (found[seed] / needed).exists()
    }


def _dense_errors(recipe: Recipe, name: str, runs: Path) -> dict[int, Errors]:
    folders = _by_seed(runs, f"{_label(recipe)}-{name}", _TEST_ERRORS)
    return {seed: _wrong(folder, "dense") for seed, folder in folders.items()}


def _wrong(folder: Path, stage: str) -> Errors:
    return load_weights(folder / _TEST_ERRORS)[stage].numpy().astype(bool)


def _error(wrong: Mapping[int, Errors]) -> dict[str, Any] | None:
    return spread([100 * float(each.mean()) for each in wrong.values()]) if wrong else None


def _less(pruned: Mapping[int, Errors], dense: Mapping[int, Errors]) -> dict[str, Any] | None:
    both = sorted(set(pruned) & set(dense))
    return difference([dense[seed] for seed in both], [pruned[seed] for seed in both]) if both else None


def write_summary(path: Path, recipe: Recipe, runs: Path, command: str) -> None:
    """Write what the finished runs come to, with their provenance."""
    settings = recipe.model_dump(mode="json")
    folders = _by_seed(runs, f"{_label(recipe)}-pruned", "result.json")
    results = {seed: read_result(folder) for seed, folder in folders.items()}
    wanted = ("seed", "error", "curve", "provenance", "seconds")
    write_json(
        path,
        {
            "command": command,
            "settings": settings,
            "provenance": provenance(
                configuration_hash=content_hash(settings), seed=0, threads=torch.get_num_threads()
            ).to_json(),
            "summary": summary(recipe, runs, results),
            "runs": [{key: result.record[key] for key in wanted} for result in results.values()],
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not there yet and write the summary; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as pictures in ImageNet's layout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="pruned, uncut, longer, narrow-WIDTH (all of them)"
    )
    parser.add_argument(
        "--epochs", type=int, nargs=2, metavar=("DENSE", "ROUND"), help="instead of the recipe's"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs") / "cifar", help="where the run folders lie")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the summary goes, if anywhere")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    recipe = builtin_recipe(given.recipe)
    command = f"python -m benchmarks.cifar {given.recipe} --data DIR"
    if given.epochs is not None:
        recipe = shortened(recipe, *given.epochs)
        command += f" --epochs {given.epochs[0]} {given.epochs[1]}"
    if given.json is not None:
        command += f" --json benchmarks/results/{given.json.name}"
    task = load_task(recipe.data, given.data)
    runners: dict[str, Callable[[int], float]] = {
        "pruned": lambda seed: run_pruned(recipe, task, seed, given.runs).pruned_error,
        _UNCUT: lambda seed: 100 * float(run_uncut(recipe, task, seed, given.runs).mean()),
    }
    for baseline in baselines(recipe):
        # Bound now: the loop goes on to the next one.
        runners[baseline.name] = lambda seed, this=baseline: (  # type: ignore[misc]  # a default is no parameter
            100 * float(run_baseline(recipe, this, task, seed, given.runs).mean())
        )
    for name in given.methods or ():
        if name not in runners:
            parser.error(f"--methods: {name} is none of {', '.join(runners)}")
    for name in given.methods or runners:
        for seed in given.seeds:
            error = runners[name](seed)
            print(f"seed {seed} {name}: {100 - error:.2f} % right", flush=True)
            if given.json is not None and _by_seed(given.runs, f"{_label(recipe)}-pruned", "result.json"):
                with FileLock(given.runs / ".summary.lock"):
                    write_summary(given.json, recipe, given.runs, command)


if __name__ == "__main__":
    main(sys.argv[1:])
