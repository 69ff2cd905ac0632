"""The paper's own comparisons on LeNet-300-100: ``python -m benchmarks.comparisons --data DIR``.

L1 against L2, with and without retraining (Fig 5); one shot against iterative (section 3.4); surviving
weights kept against drawn anew and rewound (section 3.3). Every point is a density shared out by Erdos-Renyi
among the layers, so that the comparisons differ in what they compare and in nothing else. Every round
retrains for as many epochs; one shot is given the epochs of all rounds as well.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secateur.datasets import load_dataset
from secateur.networks import build_network
from secateur.pruning.allocation import erdos_renyi
from secateur.pruning.criteria import Density
from secateur.pruning.pruner import Pruner
from secateur.pruning.schedules import Geometric, rounds
from secateur.records import content_hash, provenance
from secateur.storage import write_json
from secateur.training.evaluation import evaluate
from secateur.training.loop import run_phases
from secateur.training.phase import Cosine, Phase, Sgd
from secateur.training.seeding import seeded
from secateur.training.task import Task, image_task

COMPRESSIONS = (2, 4, 8, 12, 16, 32)
RETRAINED = (8, 12, 32)
EPOCHS_DENSE, EPOCHS_RETRAIN, BATCH = 12, 6, 256
L1, L2 = 1e-5, 5e-4
State = Mapping[str, Tensor]


def _phase(epochs: int, *, l1: float = 0.0, l2: float = 0.0) -> Phase:
    return Phase(
        epochs=epochs,
        batch_size=BATCH,
        optimizer=Sgd(learning_rate=0.1, nesterov=True),
        schedule=Cosine(warmup=0.05),
        l1=l1,
        l2=l2,
    )


def _network(seed: int, state: State | None = None) -> nn.Module:
    with seeded(seed, "initial weights"):
        model = build_network("lenet-300-100")
    if state is not None:
        model.load_state_dict(dict(state))
    return model


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _error(model: nn.Module, task: Task) -> float:
    return evaluate(model, task.test()).error


def _cut(task: Task, seed: int, dense: State, density: float) -> float:
    """The error just after a cut, before any retraining."""
    model = _network(seed, dense)
    Pruner(model).prune(Density(density, allocation=erdos_renyi))
    return _error(model, task)


def _retrain(
    task: Task,
    seed: int,
    dense: State,
    densities: Sequence[float],
    phase: Phase,
    survivors: State | None = None,
) -> list[float]:
    """The error after each round of cutting and retraining."""
    model = _network(seed, dense)
    pruner = Pruner(model)
    errors = []
    for number, density in enumerate(densities):
        pruner.prune(Density(density, allocation=erdos_renyi))
        if survivors is not None:
            model.load_state_dict(dict(survivors))
            pruner.enforce()
        run_phases(model, task, [phase], seed=seed, stage=f"retrain {number}", pruner=pruner)
        errors.append(_error(model, task))
    return errors


def compare(task: Task, seed: int) -> list[dict[str, Any]]:
    """Every point of every curve, for one seed."""
    rows: list[dict[str, Any]] = []

    def add(curve: str, compression: int, error: float) -> None:
        rows.append({"curve": curve, "compression": compression, "seed": seed, "test_error": error})
        print(f"seed {seed}  {curve:<42} {compression:>3}x  {error:.2f} %", flush=True)

    penalties = {"L2": _phase(EPOCHS_DENSE, l2=L2), "L1": _phase(EPOCHS_DENSE, l1=L1)}
    retrainings = {
        "L2": _phase(EPOCHS_RETRAIN, l2=L2),
        "L1": _phase(EPOCHS_RETRAIN, l1=L1),
    }
    dense: dict[str, State] = {}
    for name, phase in penalties.items():
        model = _network(seed)
        run_phases(model, task, [phase], seed=seed, stage=f"dense {name}")
        dense[name] = _state(model)
        add(f"{name}, dense", 1, _error(model, task))
    for compression in COMPRESSIONS:
        for name in penalties:
            add(f"{name}, no retraining", compression, _cut(task, seed, dense[name], 1 / compression))
    for compression in RETRAINED:
        for trained, retrained in (("L2", "L2"), ("L1", "L1"), ("L1", "L2")):
            [error] = _retrain(task, seed, dense[trained], [1 / compression], retrainings[retrained])
            add(f"{trained}, retrained with {retrained}", compression, error)
    path = rounds(Geometric(1 / COMPRESSIONS[-1]), 5)
    for density, error in zip(path, _retrain(task, seed, dense["L2"], path, retrainings["L2"]), strict=True):
        add("L2, iterative", round(1 / density), error)
    # One cut with the epochs of all the rounds: what is left between the two is the iterating itself.
    longer = _phase(EPOCHS_RETRAIN * len(path), l2=L2)
    [error] = _retrain(task, seed, dense["L2"], [path[-1]], longer)
    add("L2, one shot, as many epochs as iterative", COMPRESSIONS[-1], error)
    with seeded(seed, "drawn anew"):
        anew = _state(build_network("lenet-300-100"))
    for compression in (12, 32):
        for name, survivors in (
            ("survivors drawn anew", anew),
            ("survivors rewound", _state(_network(seed))),
        ):
            [error] = _retrain(task, seed, dense["L2"], [1 / compression], retrainings["L2"], survivors)
            add(f"L2, {name}", compression, error)
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and range over seeds of every point."""
    keys = sorted({(row["curve"], row["compression"]) for row in rows})
    summary = []
    for curve, compression in keys:
        errors = [
            row["test_error"] for row in rows if (row["curve"], row["compression"]) == (curve, compression)
        ]
        summary.append(
            {
                "curve": curve,
                "compression": compression,
                "mean_test_error": statistics.fmean(errors),
                "low": min(errors),
                "high": max(errors),
                "seeds": len(errors),
            }
        )
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparisons and write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/comparisons.json"))
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(parsed.threads)
    task = image_task(load_dataset("mnist", parsed.data), validation=5000)
    settings = {
        "network": "lenet-300-100",
        "l1": L1,
        "l2": L2,
        "epochs_dense": EPOCHS_DENSE,
        "epochs_retrain": EPOCHS_RETRAIN,
        "batch_size": BATCH,
        "learning_rate": 0.1,
    }
    rows: list[dict[str, Any]] = []
    for seed in parsed.seeds:
        rows += compare(task, seed)
        write_json(
            parsed.json,
            {
                "command": "python -m benchmarks.comparisons --data DIR --seeds "
                + " ".join(map(str, parsed.seeds)),
                "settings": settings,
                "provenance": provenance(
                    configuration_hash=content_hash(settings), seed=parsed.seeds[0], threads=parsed.threads
                ).to_json(),
                "summary": summarise(rows),
                "rows": rows,
            },
        )


if __name__ == "__main__":
    main(sys.argv[1:])
