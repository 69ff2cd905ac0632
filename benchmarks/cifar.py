"""A recipe over seeds on CIFAR-10, beside dense networks: ``python -m benchmarks.cifar resnet-20 --data DIR``.

Beside the pruned network at each compression stand two dense ones: the same network trained for as many
epochs as the dense phases and all rounds have together, in one go, so that its learning rate falls once; and
one with fewer channels and about as many weights as were kept, trained in one go for the epochs that had been
spent when that compression was reached. All see the same images, batches and penalties.

``--epochs DENSE ROUND`` shortens the recipe. Runs are resumed, and several processes may take a seed each:
whichever ends last writes the whole summary.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.networks import NETWORKS
from secateur.pruning.layers import select_weights
from secateur.recipes.builtin import builtin_recipe
from secateur.recipes.data import load_task
from secateur.recipes.driver import train_dense, train_prune_retrain
from secateur.recipes.plan import Plan, Recipe
from secateur.recipes.result import RunResult
from secateur.training.checkpoint import load_weights, save_weights
from secateur.training.evaluation import evaluate
from secateur.training.phase import Phase
from secateur.training.task import Task

RECIPES = ("resnet-20", "vgg-16-cifar")


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
    dense, retrain = (sum(phase.epochs for phase in phases) for phases in (plan.dense, plan.retrain))
    whole = weights(recipe.model, None)
    candidates = {width: weights(recipe.model, width) for width in range(1, 128)}
    full = next(width for width, count in candidates.items() if count == whole)
    found = [Baseline("longer", full, dense + plan.rounds * retrain)]
    for number in range(1, plan.rounds + 1):
        kept = whole * plan.cut.density ** (number / plan.rounds)
        width = min(candidates, key=lambda each: abs(candidates[each] - kept))
        found.append(Baseline(f"narrow-{width}", width, dense + number * retrain))
    return found


def weights(network: str, width: int | None) -> int:
    """Connections of a network with so many channels in its first convolution; None is as published.

    Example:
        >>> weights("resnet-20", None), weights("resnet-20", 8)
        (268336, 67304)
    """
    more = {} if width is None else {"width": width}
    with torch.device("meta"):
        return sum(weight.numel() for weight in select_weights(NETWORKS[network].factory(**more)).values())


def run_pruned(recipe: Recipe, task: Task, seed: int, runs: Path) -> RunResult:
    """The recipe's run, in a folder of its own."""
    factory = partial(NETWORKS[recipe.model].factory, num_classes=10)
    folder = runs / f"{recipe.name}-pruned-seed{seed}"
    return train_prune_retrain(
        factory, task, recipe.plan, folder, seed=seed, name=recipe.name, save_every=60.0
    )


def run_baseline(recipe: Recipe, baseline: Baseline, task: Task, seed: int, runs: Path) -> NDArray[np.bool_]:
    """A dense network's run, in a folder of its own.

    Returns:
        [test images], True where it is wrong.
    """
    factory = partial(NETWORKS[recipe.model].factory, num_classes=10, width=baseline.width)
    name = f"{recipe.name}-{baseline.name}"
    phase = recipe.plan.dense[0].model_copy(update={"epochs": baseline.epochs})
    plan: Plan = recipe.plan.model_copy(update={"dense": (phase,)})
    folder, state = train_dense(
        factory, task, plan, runs / f"{name}-seed{seed}", seed=seed, name=name, save_every=60.0
    )
    kept = folder / "test-errors.safetensors"
    if not kept.exists():
        model = factory()
        model.load_state_dict(dict(state.model))
        save_weights(kept, {"dense": evaluate(model, task.test()).wrong.to(torch.uint8)})
    return load_weights(kept)["dense"].numpy().astype(bool)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not there yet and write the summary; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as pictures in ImageNet's layout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--epochs", type=int, nargs=2, metavar=("DENSE", "ROUND"), help="instead of the recipe's"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs") / "cifar", help="where the run folders lie")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    recipe = builtin_recipe(given.recipe)
    if given.epochs is not None:
        recipe = shortened(recipe, *given.epochs)
    task = load_task(recipe.data, given.data)
    for seed in given.seeds:
        result = run_pruned(recipe, task, seed, given.runs)
        for point in result.record["curve"]:
            print(f"seed {seed} {point['compression']:5.1f}x  {100 - point['test_error']:.2f} %", flush=True)
    for baseline in baselines(recipe):
        for seed in given.seeds:
            wrong = run_baseline(recipe, baseline, task, seed, given.runs)
            print(f"seed {seed} {baseline}  {100 - 100 * wrong.mean():.2f} %", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
