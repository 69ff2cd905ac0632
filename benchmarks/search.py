"""The search beside fixed ways to share weights out among layers: ``python -m benchmarks.search --data DIR``.

All of them start from one dense network a seed, end with the same number of weights and train alike: the same
rounds, learning rates, teacher and last round. What the search spends on its trials and scans, the others are
given as longer rounds; the record says how many passes over the training images each took. A lower error at
the same number of weights is a higher compression at the same error, since errors rise with compression.

``zero`` is another question: how far the search goes with no error added.

Runs are resumed, and several processes may take a seed each: whichever ends last writes the whole summary.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from filelock import FileLock

from benchmarks.checkout import published_name
from benchmarks.seeds import difference
from secateur.datasets import load_dataset
from secateur.networks import NETWORKS, build_network
from secateur.pruning.layers import select_weights
from secateur.recipes.driver import train_prune_retrain
from secateur.recipes.fitting import fresh_network
from secateur.recipes.identity import describe, describe_network
from secateur.recipes.plan import Plan
from secateur.recipes.result import RunResult, read_result
from secateur.recipes.run_folder import RunFolder
from secateur.records import content_hash, provenance
from secateur.storage import write_json
from secateur.training.checkpoint import load_checkpoint, load_weights
from secateur.training.task import Task, image_task

SEARCH = "search"
FIXED = ("uniform", "paper", "global", "erdos-renyi-kernel", "lamp")
ZERO = "zero"


@final
@dataclass(frozen=True)
class Effort:
    """How a network is trained.

    Attributes:
        compression: Weights before / after, for all but `ZERO`.
        learning_rate: Of every phase.
        dense: Epochs of the dense network.
        rounds: Cuts.
        searching: Epochs of a round of the search, beside its trials.
        fixed: Epochs of a round of the others.
        final: Epochs of the last round.
        trial: Training images on which the search tries a cut out.
        zero_rounds: Most cuts of `ZERO`.
        zero_epochs: Epochs of one of them.
    """

    compression: float
    learning_rate: float
    dense: int
    rounds: int = 5
    searching: int = 2
    fixed: int = 4
    final: int = 8
    trial: int = 10_000
    zero_rounds: int = 8
    zero_epochs: int = 4


EFFORTS: dict[str, Effort] = {
    "lenet-300-100": Effort(compression=64, learning_rate=0.1, dense=12),
    # At 128x and in twice the epochs the better methods lose less than seeds differ by.
    "lenet-5": Effort(
        compression=256,
        learning_rate=0.05,
        dense=6,
        searching=1,
        fixed=3,
        final=4,
        trial=9_000,
        zero_epochs=3,
    ),
}


def plan_of(network: str, method: str, effort: Effort) -> Plan:
    """What a method does.

    Args:
        network: The network's name.
        method: One of `FIXED`, `SEARCH` or `ZERO`.
        effort: How it is trained.

    Returns:
        The plan.
    """
    total = sum(weight.numel() for weight in select_weights(build_network(network)).values())
    kept = round(total / effort.compression)
    retrain = effort.searching if method == SEARCH else effort.fixed
    shared: dict[str, Any] = {
        "dense": [_phase(effort, effort.dense, 5e-4)],
        "retrain": [_phase(effort, effort.zero_epochs if method == ZERO else retrain, 1e-5)],
        "final": [_phase(effort, effort.final, 1e-5)],
        "compact": True,
        "teach": {"weight": 0.5, "temperature": 2.0},
    }
    match method:
        case "search":
            return _plan(
                shared, target={"weights": kept}, search={"rounds": effort.rounds, "trial": effort.trial}
            )
        case "zero":
            return _plan(shared, target={"max_error_increase": 0.0}, search={"rounds": effort.zero_rounds})
        case "uniform" | "erdos-renyi-kernel":
            cut: dict[str, Any] = {"kind": "density", "density": kept / total, "allocation": method}
        case "paper":
            cut = {"kind": "density", "density": kept / total, "layers": paper_densities(network, kept)}
        case "global" | "lamp":
            score = "lamp" if method == "lamp" else "magnitude"
            cut = {"kind": "global", "density": kept / total, "score": score}
        case _:
            raise ValueError(f"no such method: {method}")
    return _plan(shared, cut=cut, rounds=effort.rounds)


def paper_densities(network: str, kept: int) -> dict[str, float]:
    """The paper's densities, all multiplied by one number so that so many weights are kept.

    Example:
        >>> densities = paper_densities("lenet-300-100", 2662)
        >>> {layer: round(density, 4) for layer, density in densities.items()}
        {'fc1': 0.0098, 'fc2': 0.011, 'fc3': 0.0318}
    """
    paper = NETWORKS[network].paper_densities
    sizes = {
        name.removesuffix(".weight"): weight.numel()
        for name, weight in select_weights(build_network(network)).items()
    }
    scale = kept / sum(paper[layer] * size for layer, size in sizes.items())
    return {layer: min(1.0, scale * paper[layer]) for layer in sizes}


def run(network: str, method: str, seed: int, effort: Effort, task: Task, runs: Path) -> RunResult:
    """One run, in a folder of its own; the dense network is taken over from a run of the same seed.

    Args:
        network: The network's name.
        method: Which way.
        seed: The run's seed.
        effort: How it is trained.
        task: On what.
        runs: Where the folders lie.

    Returns:
        The result.
    """
    plan, name = plan_of(network, method, effort), f"{network}-{method}"
    folder = runs / f"{name}-seed{seed}"
    dense = Path("stages") / "dense.pt"
    about = describe_network(fresh_network(lambda: build_network(network)))
    identity, _ = describe(about, task, plan, None, seed=seed, name=name)
    if not (folder / dense).exists():
        # Which network it is depends on the seed and on how it is trained, and on no method.
        for other in sorted(runs.glob(f"{network}-*-seed{seed}")):
            if (other / dense).exists():
                RunFolder(folder, identity).close()
                (folder / dense).parent.mkdir(exist_ok=True)
                shutil.copyfile(other / dense, folder / dense)
                break
    return train_prune_retrain(
        lambda: build_network(network), task, plan, folder, seed=seed, name=name, save_every=60.0
    )


def passes(result: RunResult, task: Task, plan: Plan) -> float:
    """How often a run went over the training images after the dense network was trained, trials counted."""
    epochs = sum(
        len(load_checkpoint(path)["history"])
        for path in (result.folder / "stages").glob("*.pt")
        if path.stem != "dense"
    )
    trials = 0
    for path in (result.folder / "stages").glob("cut-*.pt"):
        choice = load_checkpoint(path)["notes"]["choice"]
        if choice["trials"]:
            trials += 1 + len(choice["left"]) + len(choice["trials"])
    return float(epochs + trials * min(plan.search.trial, task.train_count) / task.train_count)


def summary(results: Mapping[str, Mapping[int, RunResult]]) -> dict[str, Any]:
    """Means over seeds, and the search's error less each other method's, paired over seeds and images.

    Args:
        results: Method -> seed -> result.

    Returns:
        JSON values.
    """
    rows: dict[str, Any] = {}
    for method, by_seed in results.items():
        records = [result.record for _, result in sorted(by_seed.items())]
        rows[method] = {
            "seeds": sorted(by_seed),
            "kept": _mean([record["weights"]["kept"] for record in records]),
            "compression": _mean([record["compression"] for record in records]),
            "dense_error": _mean([record["error"]["dense"] for record in records]),
            "test_error": _mean([record["error"]["pruned"] for record in records]),
            "added": _difference(by_seed, by_seed, sorted(by_seed), first="dense"),
            "layers": {
                layer["name"]: _mean([record["layers"][place]["kept"] for record in records])
                for place, layer in enumerate(records[0]["layers"])
            },
        }
        both = sorted(set(by_seed) & set(results.get(SEARCH, {})))
        if method not in (SEARCH, ZERO) and both:
            rows[method]["search_less_this"] = _difference(by_seed, results[SEARCH], both)
    return rows


def _difference(
    first_of: Mapping[int, RunResult],
    second_of: Mapping[int, RunResult],
    seeds: Sequence[int],
    first: str | None = None,
) -> dict[str, Any]:
    """Test error of the second less that of the first network; of the pruned ones, unless said otherwise."""

    def wrong(result: RunResult, stage: str | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
        errors = load_weights(result.folder / "test-errors.safetensors")
        last = list(result.record["seconds"])[-1]
        return errors[stage or last].numpy().astype(bool)

    return {
        **difference(
            [wrong(first_of[seed], first) for seed in seeds], [wrong(second_of[seed], None) for seed in seeds]
        ),
        "seeds": list(seeds),
    }


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(values), "each": list(values)}


def _phase(effort: Effort, epochs: int, l2: float) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": 128,
        "optimizer": {
            "kind": "sgd",
            "learning_rate": effort.learning_rate,
            "momentum": 0.9,
            "nesterov": True,
        },
        "schedule": {"kind": "cosine", "warmup": 0.05},
        "l2": l2,
    }


def _plan(shared: Mapping[str, Any], **more: Any) -> Plan:
    return Plan.model_validate({**shared, **more})


def _command(network: str, effort: Effort, found: Mapping[str, Mapping[int, RunResult]], path: Path) -> str:
    seeds = sorted({seed for by_seed in found.values() for seed in by_seed})
    compression = [] if effort == EFFORTS[network] else ["--compression", f"{effort.compression:g}"]
    name = published_name(path)
    words = [network, *compression, "--seeds", *map(str, seeds), "--methods", *found, "--json", name]
    return f"python -m benchmarks.search --data DIR --network {' '.join(words)}"


def write_summary(path: Path, network: str, runs: Path, task: Task, effort: Effort) -> None:
    """Write what all finished runs of a network come to, with the command that makes them."""
    found: dict[str, dict[int, RunResult]] = {}
    spent: dict[str, dict[int, float]] = {}
    for method in (SEARCH, *FIXED, ZERO):
        for folder in sorted(runs.glob(f"{network}-{method}-seed*")):
            if (folder / "result.json").exists():
                seed = int(folder.name.rpartition("seed")[2])
                found.setdefault(method, {})[seed] = read_result(folder)
                plan = plan_of(network, method, effort)
                spent.setdefault(method, {})[seed] = passes(found[method][seed], task, plan)
    settings = {"network": network, "effort": asdict(effort)}
    content = {
        "command": _command(network, effort, found, path),
        "settings": settings,
        "provenance": provenance(
            configuration_hash=content_hash(settings), seed=0, threads=torch.get_num_threads()
        ).to_json(),
        "summary": summary(found),
        "passes": {method: _mean([*by_seed.values()]) for method, by_seed in spent.items()},
        "runs": {
            method: {
                str(seed): {key: result.record[key] for key in ("weights", "error", "seconds", "provenance")}
                | {"search": result.record.get("search")}
                for seed, result in sorted(by_seed.items())
            }
            for method, by_seed in found.items()
        },
    }
    write_json(path, content)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not there yet and write the summary; see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the MNIST idx files")
    parser.add_argument("--network", choices=list(EFFORTS), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--methods", nargs="+", choices=[SEARCH, *FIXED, ZERO], default=[SEARCH, *FIXED, ZERO]
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs") / "search", help="where the run folders lie"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the summary goes, if anywhere")
    parser.add_argument(
        "--compression", type=float, help="weights before / after; its runs lie in a folder of their own"
    )
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    effort, runs = EFFORTS[given.network], given.runs
    if given.compression is not None:
        effort, runs = replace(effort, compression=given.compression), runs / f"{given.compression:g}x"
    task = image_task(load_dataset("mnist", given.data), validation=5000, shift=1)
    for seed in given.seeds:
        for method in given.methods:
            result = run(given.network, method, seed, effort, task, runs)
            print(
                f"{given.network} seed {seed} {method:<20} {result.compression:6.1f}x  "
                f"dense {result.dense_error:.2f} %  pruned {result.pruned_error:.2f} %",
                flush=True,
            )
            if given.json is not None:
                with FileLock(runs / ".summary.lock"):
                    write_summary(given.json, given.network, runs, task, effort)


if __name__ == "__main__":
    main(sys.argv[1:])
