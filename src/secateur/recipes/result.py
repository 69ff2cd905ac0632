"""The end of a run: the test set is looked at, once, and everything that came out is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from secateur.analysis.noninferiority import non_inferiority
from secateur.analysis.significance import (
    Interval,
    PairedDifference,
    error_interval,
    paired_difference,
)
from secateur.errors import CheckpointError
from secateur.pruning.layers import select_weights
from secateur.recipes.identity import outputs_for_noise
from secateur.recipes.layers import table
from secateur.recipes.record import FORMAT, read_record
from secateur.recipes.run_folder import StageState
from secateur.recipes.search import Found
from secateur.recipes.shared_folder import SharedFolder
from secateur.records import provenance
from secateur.storage import write_json
from secateur.training.checkpoint import holds_weights, load_weights, save_weights
from secateur.training.evaluation import Evaluation, evaluate_together
from secateur.training.processes import Processes
from secateur.training.task import Task

_TEST_ERRORS = "test-errors.safetensors"


@final
@dataclass(frozen=True)
class RunResult:
    """What a finished run found.

    Attributes:
        folder: The run's folder.
        record: The content of its ``result.json``.
    """

    folder: Path
    record: Mapping[str, Any]

    @property
    def compression(self) -> float:
        """Weights before / weights after."""
        return float(self.record["compression"])

    @property
    def dense_error(self) -> float:
        """The dense network's error on the test set, in per cent."""
        return float(self.record["error"]["dense"])

    @property
    def pruned_error(self) -> float:
        """The pruned network's error on the test set, in per cent."""
        return float(self.record["error"]["pruned"])


def read_result(folder: Path | str) -> RunResult:
    """Read the result of a finished run.

    Args:
        folder: The run's folder.

    Returns:
        The result.

    Raises:
        CheckpointError: The run is not finished, or its result is damaged.
    """
    folder = Path(folder)
    record = read_record(folder)
    if record is None:
        raise CheckpointError(
            f"{folder} holds no result.json: the run is not finished; start it again to continue"
        )
    return RunResult(folder, record)


def read_network(folder: Path, name: str) -> dict[str, Tensor]:
    """A network of a finished run.

    Args:
        folder: The run's folder.
        name: ``dense`` or ``pruned``.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: Its file is not there, or damaged.
    """
    try:
        return load_weights(folder / f"{name}.safetensors")
    except CheckpointError as error:
        raise CheckpointError(f"{error}; the same `secateur run` writes it again") from error


def conclude(
    model: nn.Module,
    task: Task,
    stages: Sequence[tuple[str, StageState]],
    folder: SharedFolder,
    *,
    name: str,
    seed: int,
    configuration_hash: str,
    found: Found | None = None,
) -> RunResult:
    """Evaluate every stage's network on the test set and write the run's result.

    A run that has its result already gets that: the test set is not looked at again, and only networks whose
    files are not what the stages say are written again.

    Args:
        model: A network of the run's architecture; its weights are replaced.
        task: The task.
        stages: The dense stage and every round, by name and in order.
        folder: The run's folder.
        name: The run's name.
        seed: The run's seed.
        configuration_hash: The name of its configuration by content.
        found: What a search came to, if the plan searched.

    Returns:
        The result, written to ``result.json`` after everything it speaks of.

    Raises:
        CheckpointError: The result is damaged, or says which images are wrong and no file does.
        StorageError: The folder cannot be written.
    """
    processes, states = folder.processes, [state for _, state in stages]

    def read() -> Mapping[str, Any] | None:
        written = read_record(folder.path)
        if written is not None:
            _write_networks(states, folder.path, again=False)
            _check_test_errors(folder.path, [stage for stage, _ in stages], task.test_count)
        return written

    record = processes.of_first(read)
    if record is None:
        model.to(processes.device)
        tests = [_test(model, task, state, processes) for state in states]
        model.cpu()

        def write() -> Mapping[str, Any]:
            written = _record(model, task, stages, tests, folder, name, seed, configuration_hash, found)
            _write(folder.path, stages, tests, written)
            return written

        record = processes.of_first(write)
    return RunResult(folder.path, record)


def _record(
    model: nn.Module,
    task: Task,
    stages: Sequence[tuple[str, StageState]],
    tests: Sequence[Evaluation],
    folder: SharedFolder,
    name: str,
    seed: int,
    configuration_hash: str,
    found: Found | None,
) -> dict[str, Any]:
    states = [state for _, state in stages]
    pruned = states[-1]
    weights = sum(weight.numel() for weight in select_weights(model).values())
    layers, total, notes = table(model, task, pruned)
    outer = {"dense": states[0], "pruned": pruned}
    difference = paired_difference(tests[0].wrong.numpy(), tests[-1].wrong.numpy())
    record = {
        "format": FORMAT,
        "name": name,
        "seed": seed,
        "data": task.source,
        **({"pictures": dict(task.about)} if task.about else {}),
        "weights": {"total": weights, "kept": _kept(weights, pruned)},
        "compression": weights / _kept(weights, pruned),
        "error": {
            "dense": tests[0].error,
            "pruned": tests[-1].error,
            "dense_interval": _pair(error_interval(tests[0].wrong.numpy())),
            "pruned_interval": _pair(error_interval(tests[-1].wrong.numpy())),
            "difference": difference.mean,
            "difference_interval": _pair(difference.interval),
            "test_images": task.test_count,
        },
        "outputs": {name: _outputs(model, task, state) for name, state in outer.items()},
        "layers": layers,
        "total": total,
        "notes": notes,
        "curve": [_point(weights, stage, test) for stage, test in zip(states, tests, strict=True)],
        "dead_neurons": dict(pruned.notes["dead"]),
        "dropout": dict(pruned.notes["dropout"]),
        "provenance": provenance(
            configuration_hash=configuration_hash, seed=seed, threads=torch.get_num_threads()
        ).to_json(),
        "configuration": json.loads((folder.path / "run.json").read_text(encoding="utf-8")),
        "seconds": {stage: sum(line["seconds"] for line in state.history) for stage, state in stages},
        "phases": [phase for stage, state in stages for phase in _phases(stage, state)],
    }
    if found is not None:
        record["search"] = found.to_json() | {"non_inferiority": _non_inferiority(found, difference)}
    if folder.processes.count > 1:
        record["processes"] = folder.processes.count
    return record


def _write(
    folder: Path,
    stages: Sequence[tuple[str, StageState]],
    tests: Sequence[Evaluation],
    record: Mapping[str, Any],
) -> None:
    _write_networks([state for _, state in stages], folder, again=True)
    wrong = {stage: test.wrong.to(torch.uint8) for (stage, _), test in zip(stages, tests, strict=True)}
    save_weights(folder / _TEST_ERRORS, wrong)
    write_json(folder / "result.json", record)


def _test(model: nn.Module, task: Task, stage: StageState, processes: Processes) -> Evaluation:
    model.load_state_dict(dict(stage.mapped_anew().model))
    return evaluate_together(model, task.test, processes)


def _outputs(model: nn.Module, task: Task, stage: StageState) -> list[float]:
    model.load_state_dict(dict(stage.mapped_anew().model))
    return outputs_for_noise(model, task.image_shape)


def _write_networks(stages: Sequence[StageState], folder: Path, *, again: bool) -> None:
    dense, pruned = stages[0].mapped_anew(), stages[-1].mapped_anew()
    for name, tensors in (("dense", dense.model), ("pruned", pruned.model), ("masks", pruned.masks)):
        path = folder / f"{name}.safetensors"
        if again or not holds_weights(path, tensors):
            save_weights(path, tensors)


def _check_test_errors(folder: Path, stages: Sequence[str], images: int) -> None:
    # No stage knows what the test set said, and it is not asked again unless somebody wants it to be.
    path = folder / _TEST_ERRORS
    try:
        found = {stage: tuple(wrong.shape) for stage, wrong in load_weights(path).items()}
        if found != dict.fromkeys(stages, (images,)):
            raise CheckpointError(f"{path} is not of this run's stages and test images")
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. The rest of the run is whole. Remove {folder / 'result.json'}, and the same "
            "`secateur run` looks at the test set once more, with the same networks, and writes both"
        ) from error


def _phases(name: str, stage: StageState) -> list[dict[str, Any]]:
    spent: dict[int, list[float]] = {}
    for line in stage.history:
        spent.setdefault(line["phase"], []).append(line["seconds"])
    return [
        {"stage": name, "phase": phase, "epochs": len(seconds), "seconds": sum(seconds)}
        for phase, seconds in sorted(spent.items())
    ]


def _kept(weights: int, stage: StageState) -> int:
    # Of all connections, those of excluded layers among them: compression speaks of the whole network.
    return weights - (stage.masks.total - stage.masks.kept)


def _target(weights: int, stage: StageState) -> float | None:
    # What the cut asked for; a sweep goes past it, and a threshold names no number.
    asked = stage.notes["asked"]
    return None if asked is None else weights / (weights - (stage.masks.total - asked))


def _point(weights: int, stage: StageState, test: Evaluation) -> dict[str, Any]:
    last = stage.history[-1] if stage.history else None
    stage = stage.mapped_anew()
    return {
        "compression": weights / _kept(weights, stage),
        "kept": _kept(weights, stage),
        "target_compression": _target(weights, stage),
        "validation_error": None if last is None else last["validation_error"],
        "test_error": test.error,
        "test_interval": _pair(error_interval(np.asarray(test.wrong))),
    }


def _pair(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _non_inferiority(found: Found, difference: PairedDifference) -> dict[str, Any] | None:
    # A budget of size says nothing of how much worse the network may be.
    return None if found.margin is None else asdict(non_inferiority(difference, found.margin))
