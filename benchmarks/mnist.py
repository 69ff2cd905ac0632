"""A recipe over several seeds on MNIST, and what it comes to: ``python -m benchmarks.mnist RECIPE ...``.

Runs are resumed, so that an interrupted benchmark goes on where it stopped, and seeds may be run by several
processes at once: whichever comes last finds the others' results and writes the summary.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.seeds import difference, spread
from secateur.cli.run import find_recipe
from secateur.networks import NETWORKS, build_network
from secateur.recipes.data import load_task
from secateur.recipes.driver import train_prune_retrain
from secateur.recipes.plan import Recipe
from secateur.recipes.result import RunResult
from secateur.storage import write_json
from secateur.training.checkpoint import load_weights
from secateur.training.task import Task


def run_seed(recipe: Recipe, task: Task, seed: int, runs: Path) -> RunResult:
    """One run of a recipe, in a folder of its own."""
    return train_prune_retrain(
        lambda: build_network(recipe.model),
        task,
        recipe.plan,
        runs / f"{recipe.name}-seed{seed}",
        seed=seed,
        name=recipe.name,
    )


def summarise(results: Sequence[RunResult], recipe: Recipe) -> dict[str, Any]:
    """Means over seeds, the paired difference to the dense networks, densities beside the paper's."""
    records = [result.record for result in results]
    errors = [load_weights(result.folder / "test-errors.safetensors") for result in results]
    stages = sorted(errors[0])
    wrong = {stage: [each[stage].numpy().astype(bool) for each in errors] for stage in stages}
    paper = NETWORKS[recipe.model].paper_densities
    return {
        "seeds": [record["seed"] for record in records],
        "compression": spread([record["compression"] for record in records]),
        "kept": spread([record["weights"]["kept"] for record in records]),
        "dense_error": spread([record["error"]["dense"] for record in records]),
        "pruned_error": spread([record["error"]["pruned"] for record in records]),
        "difference": difference(wrong["dense"], wrong[stages[-1]]),
        "layers": [
            {
                "name": layer["name"],
                "density": spread([record["layers"][index]["kept"] / layer["weights"] for record in records]),
                "paper_density": paper.get(layer["name"]),
            }
            for index, layer in enumerate(records[0]["layers"])
        ],
        "curve": [
            {
                "compression": spread([record["curve"][index]["compression"] for record in records]),
                "validation_error": spread(
                    [record["curve"][index]["validation_error"] for record in records]
                ),
                "test_error": spread([record["curve"][index]["test_error"] for record in records]),
            }
            for index in range(len(records[0]["curve"]))
        ],
        "minutes": spread([sum(record["seconds"].values()) / 60 for record in records]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the seeds that are not there yet and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="a built-in recipe or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder of the MNIST idx files")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the run folders lie")
    parser.add_argument("--json", type=Path, help="where the summary goes")
    parser.add_argument("--threads", type=int, default=1)
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(parsed.threads)
    recipe = find_recipe(parsed.recipe)
    task = load_task(recipe.data, parsed.data)
    results = []
    for seed in parsed.seeds:
        result = run_seed(recipe, task, seed, parsed.runs)
        results.append(result)
        print(
            f"{recipe.name} seed {seed}: {result.compression:.1f}x, "
            f"dense {result.dense_error:.2f} %, pruned {result.pruned_error:.2f} %",
            flush=True,
        )
    if parsed.json is not None:
        seeds = " ".join(map(str, parsed.seeds))
        write_json(
            parsed.json,
            {
                "command": (
                    f"python -m benchmarks.mnist {parsed.recipe} --data DIR --seeds {seeds} "
                    f"--threads {parsed.threads} --json benchmarks/results/{parsed.json.name}"
                ),
                "summary": summarise(results, recipe),
                "runs": [dict(result.record) for result in results],
            },
        )


if __name__ == "__main__":
    main(sys.argv[1:])
