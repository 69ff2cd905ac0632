"""One process and several, every phase of a recipe: ``python -m benchmarks.processes alexnet --data DIR``.

The recipe is shortened as `benchmarks.imagenet_phases` shortens it, and runs from the same weights on one
process and, under torchrun, on several: one round of it, which has every kind of phase. Dropout is left away,
whose draws are of each process. float32 sums come in another order, so weights differ in their last bits;
what comes of that is written down: how far losses are apart, and how many weights lie so near a threshold
that they are cut by one and kept by the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.imagenet_phases import RECIPES, normal_weights, shortened, some_pictures
from benchmarks.rows import record_head
from secateur.recipes.builtin import builtin_recipe
from secateur.recipes.plan import Recipe
from secateur.storage import write_json
from secateur.training.checkpoint import load_weights

AGREEMENT = 1e-5  # of a loss


def one_round_without_dropout(recipe: Recipe) -> Recipe:
    """The recipe's first round, without dropout.

    Example:
        >>> plan = one_round_without_dropout(builtin_recipe("alexnet")).plan
        >>> plan.dropout, plan.rounds, len(plan.turns)
        (0.0, 1, 2)
    """
    plan = recipe.plan.model_copy(update={"dropout": 0.0, "dropout_rule": False, "rounds": 1})
    return recipe.model_copy(update={"plan": plan})


def losses_apart(
    one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """How far the losses of two logs are apart, epoch by epoch.

    Args:
        one: Lines of ``log.jsonl``.
        other: Lines of the same epochs.

    Returns:
        Stage, phase, and the larger of both losses' differences, as a fraction.

    Example:
        >>> line = {"stage": "dense", "phase": 0, "loss": 2.0, "validation_loss": 1.0}
        >>> losses_apart([line], [line | {"loss": 2.5}])
        [{'stage': 'dense', 'phase': 0, 'apart': 0.25}]
    """
    return [
        {
            "stage": a["stage"],
            "phase": a["phase"],
            "apart": max(abs(a[key] - b[key]) / abs(a[key]) for key in ("loss", "validation_loss")),
        }
        for a, b in zip(one, other, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, compare, print and write the result; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="pictures in ImageNet's layout")
    parser.add_argument("--processes", type=int, default=2, help="how many are compared with one (2)")
    parser.add_argument("--classes", type=int, default=10, help="of the folder's (10)")
    parser.add_argument("--train", type=int, default=4, help="training pictures of each class (4)")
    parser.add_argument("--test", type=int, default=1, help="test pictures of each class (1)")
    parser.add_argument("--batch", type=int, default=15, help="pictures a step (15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written, if anywhere")
    given = parser.parse_args(arguments)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        classes = some_pictures(given.data, folder / "pictures", given.classes, given.train, given.test)
        recipe = one_round_without_dropout(shortened(builtin_recipe(given.recipe), given.batch, classes))
        normal_weights(recipe.model, classes, folder / "start.safetensors")
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
        seconds = {count: _run(folder, count) for count in (1, given.processes)}
        logs = [_log(folder / str(count)) for count in (1, given.processes)]
        masks = [load_weights(folder / str(count) / "masks.safetensors") for count in (1, given.processes)]
    apart = losses_apart(*logs)
    differing = {name: int((mask != masks[1][name]).sum()) for name, mask in masks[0].items()}
    total = sum(mask.numel() for mask in masks[0].values())
    worst = max(line["apart"] for line in apart)
    print(f"{len(apart)} epochs: losses at most {worst:.1e} apart; seconds by processes: {seconds}")
    print(f"{sum(differing.values())} of {total:,} weights are cut by one and kept by the other")
    if worst > AGREEMENT:
        raise SystemExit(f"losses are apart by {worst:.1e} > {AGREEMENT}")
    if given.json is not None:
        names = ("recipe", "processes", "classes", "train", "test", "batch")
        settings = {name: getattr(given, name) for name in names}
        words = " ".join(f"--{name} {settings[name]}" for name in names[1:])
        command = f"python -m benchmarks.processes {given.recipe} --data DIR {words}"
        command += f" --json benchmarks/results/{given.json.name}"
        write_json(
            given.json,
            {
                **record_head(settings, command, 1, load_before),
                "seconds": seconds,
                "losses": apart,
                "masks_differing": differing,
                "weights": total,
            },
        )


def _run(folder: Path, count: int) -> float:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    words = ["-m", "secateur", "run", str(folder / "recipe.yaml"), "--data", str(folder / "pictures")]
    words += ["--weights", str(folder / "start.safetensors"), "--workers", "0", "--threads", "1"]
    began = time.monotonic()
    started = [sys.executable, *(launcher if count > 1 else []), *words, "--out", str(folder / str(count))]
    subprocess.run(started, check=True)  # noqa: S603  # our own words
    return time.monotonic() - began


def _log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    main()
