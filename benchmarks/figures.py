"""The paper's figures from real runs: ``python -m benchmarks.figures --data DIR --runs DIR``.

Runs that lie in the folder are taken, those that do not are made first (minutes of training each); a run
belongs to its recipe and seed, so a folder with another run is refused. Fig 5 is drawn from the committed
comparisons, whose own command is in their file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from secateur.analysis.energy import dense_work, inference_energy, pruned_work
from secateur.analysis.sensitivity import Sensitivity
from secateur.analysis.sensitivity_file import scan_to_file
from secateur.cli.run import find_recipe
from secateur.datasets import load_dataset
from secateur.errors import CheckpointError
from secateur.networks import build_network
from secateur.recipes.driver import train_prune_retrain
from secateur.recipes.plan import Recipe
from secateur.report.figures.connections import connections, pixels
from secateur.report.figures.curves import sensitivity_curves, trade_off
from secateur.report.figures.energy import energy_bars
from secateur.report.figures.style import Drawing, save
from secateur.report.figures.tables import paper_table
from secateur.report.figures.weights import remaining, weight_distributions
from secateur.report.run import Run, read_run
from secateur.training.checkpoint import load_into, load_weights
from secateur.training.task import Task, image_task

RECIPES = ("lenet-300-100", "lenet-5")
COMPARISONS = Path(__file__).parent / "results" / "comparisons.json"
ON_CHIP = 256 * 1024
DENSITIES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.08, 0.05, 0.03, 0.02)
# Fig 7 is of AlexNet's first linear layer, which has the most weights; here, the largest layers.
HISTOGRAMS = {"lenet-300-100": ("fc1", "fc2"), "lenet-5": ("conv2", "fc1")}


def figures(run: Run, network: str) -> dict[str, Drawing]:
    """Every figure that one run gives, by file name."""
    record = _finished(run)
    made = record["provenance"]
    note = f"{run.name}, on {record['data']}; code {made['commit'][:7]}, torch {made['versions']['torch']}"
    rows = record["layers"]
    drawn = {
        f"table-{network}": paper_table(record, network, note=f"{note}. Grey: the paper's own table."),
        f"remaining-{network}": remaining([*rows, record["total"]], note=note),
        f"fig7-{network}": weight_distributions(run.dense, run.pruned, HISTOGRAMS[network], note=note),
        f"energy-{network}": energy_bars(
            {
                "dense, weights in DRAM": inference_energy(dense_work(rows), on_chip_bytes=ON_CHIP),
                "pruned, weights in DRAM": inference_energy(pruned_work(rows), on_chip_bytes=0),
                "pruned, weights on chip": inference_energy(pruned_work(rows), on_chip_bytes=ON_CHIP),
            },
            note=f"{note}. Assumed: {ON_CHIP // 1024} KiB on chip for weights; activations always on chip.",
        ),
    }
    first = next(iter(run.masks))
    layer = first.removesuffix(".weight")
    drawn[f"fig4-pixels-{network}"] = pixels(run.masks[first], layer, note=note)
    if run.masks[first].ndim == 2:
        drawn[f"fig4-{network}"] = connections(run.masks[first], layer, note=note)
    return drawn


def the_run(recipe: Recipe, task: Task, seed: int, runs: Path) -> Run:
    """The recipe's run: read if it lies in the folder, finished and of that seed, else trained there."""
    folder = runs / f"{recipe.name}-seed{seed}"
    if not (folder / "result.json").exists():
        train_prune_retrain(
            lambda: build_network(recipe.model),
            task,
            recipe.plan,
            folder,
            seed=seed,
            name=recipe.name,
            settings=recipe.model_dump(mode="json", exclude={"name", "plan"}),
        )
    run = read_run(folder)
    found = (run.identity["name"], run.identity["seed"])
    if found != (recipe.name, seed):
        raise CheckpointError(
            f"{folder} holds the run {found[0]}, seed {found[1]}; expected {recipe.name}, seed {seed}"
        )
    return run


def load_task(recipe: Recipe, data: Path) -> Task:
    """The recipe's data; the folder is MNIST's."""
    dataset = load_dataset(recipe.data.name, data if recipe.data.name == "mnist" else None)
    return image_task(dataset, validation=recipe.data.validation, shift=recipe.data.shift)


def scan(run: Run, network: str, task: Task, path: Path) -> Sensitivity:
    """What pruning each layer of the dense network alone costs, kept in a file."""
    model = build_network(network)
    load_into(model, load_weights(run.folder / "dense.safetensors"), str(run.folder))
    return scan_to_file(
        path,
        model,
        *task.sample(),
        subject={"run": run.identity["name"], "seed": run.identity["seed"], "network": network},
        densities=DENSITIES,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the MNIST idx files")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs lie, or shall lie")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="whose runs are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(parsed.threads)
    comparisons = json.loads(COMPARISONS.read_text(encoding="utf-8"))
    _save(
        parsed.out,
        "fig5",
        trade_off(
            comparisons["summary"], note=f"benchmarks/results/{COMPARISONS.name}: {comparisons['command']}"
        ),
    )
    for recipe in map(find_recipe, parsed.recipes):
        task = load_task(recipe, parsed.data)
        run = the_run(recipe, task, parsed.seed, parsed.runs)
        for name, figure in figures(run, recipe.model).items():
            _save(parsed.out, name, figure)
        kept = parsed.runs / f"sensitivity-{recipe.name}-seed{parsed.seed}.json"
        found = scan(run, recipe.model, task, kept)
        note = f"dense network of {run.name}; one layer at a time is cut, nothing is retrained"
        _save(parsed.out, f"fig6-{recipe.model}", sensitivity_curves(found, note=note))


def _finished(run: Run) -> Mapping[str, Any]:
    if run.record is None or run.missing:
        raise CheckpointError(
            f"{run.folder} lacks {', '.join(run.missing) or 'result.json'}: run its recipe again"
        )
    return run.record


def _save(folder: Path, name: str, figure: Drawing) -> None:
    svg, _ = save(figure, folder, name)
    print(svg, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
