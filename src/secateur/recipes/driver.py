"""Train, prune, retrain: the paper's three steps, resumable, with the test set looked at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secateur.errors import ConfigurationError, DivergenceError, InterruptedRunError
from secateur.recipes.fitting import check_arguments, check_fits, fresh_network
from secateur.recipes.identity import OUTPUTS, agreed, describe, describe_network, outputs_for_noise
from secateur.recipes.plan import Plan
from secateur.recipes.price import Timer, program_milliseconds
from secateur.recipes.result import RunResult, conclude
from secateur.recipes.run_folder import RunFolder, StageState
from secateur.recipes.shared_folder import SharedFolder
from secateur.recipes.stages import ModelFactory, Observer, Stages
from secateur.training.processes import Processes, join
from secateur.training.task import Task

__all__ = ["ModelFactory", "Observer", "train_dense", "train_prune_retrain"]


def train_prune_retrain(
    model: ModelFactory,
    task: Task,
    plan: Plan,
    run_dir: Path | str | None = None,
    *,
    seed: int = 0,
    name: str = "run",
    settings: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    save_every: float = 20.0,
    timer: Timer = program_milliseconds,
) -> RunResult:
    """Train a network, prune it, retrain it, round by round, and look at the test set once, at the end.

    A plan with a target searches for what is cut: see `secateur.recipes.search`.

    Every finished stage is kept in the run's folder. Called again with the same arguments, it continues where
    it stopped and ends with the same bits as a run that was left alone (same machine, same threads).

    Started by ``torchrun`` or ``accelerate launch``, several processes do it together, each on its part of
    every batch; the first one reads and writes the folder and tells the observer. What some have begun,
    others may finish, one or more: it ends the same but for rounding, and for the draws of dropout.

    Args:
        model: Makes the untrained network; called with torch's generators seeded for this run.
        task: What it is trained and tested on.
        plan: What is done.
        run_dir: The run's folder; by default ``runs/NAME-HASH-seedN``, after its configuration's content.
        seed: Fixes every draw; at least 0.
        name: What the run is called in its files.
        settings: JSON values for the record, such as the rest of a recipe; they are part of what the run is.
        observer: Who is told how it goes on.
        save_every: Seconds between two writes of an unfinished stage's state.
        timer: What a budget of milliseconds is measured with: compiles a network and runs it on a batch with
            a number of threads.

    Returns:
        The result, which is also in the folder as ``result.json``, beside ``pruned.safetensors``,
        ``dense.safetensors`` and ``masks.safetensors``.

    Raises:
        ConfigurationError: An argument is of the wrong kind, or the plan does not fit the network or the
            task; nothing was written yet.
        UnsupportedModelError: The plan sweeps a network that cannot be traced; nothing was written yet.
        LayerSelectionError: A pattern of the plan matches nothing; nothing was written yet.
        CheckpointError: The folder belongs to another run, is damaged or is in use.
        UnreachableTargetError: A round would leave a layer empty.
        DivergenceError: The loss is not finite.
        PeerError: The processes were started differently, do not agree on masks, or one of them is gone.
        StorageError: The folder cannot be written; what was finished is untouched.
        InterruptedRunError: The user interrupted the run.

    Source: paper, section 3 (Fig 2) and section 3.4.
    """
    with _opened(
        model,
        task,
        plan,
        run_dir,
        seed=seed,
        name=name,
        settings=settings,
        observer=observer,
        save_every=save_every,
    ) as (run, digest):
        found = None if plan.target is None else run.search(_measured_once(timer, run.folder.processes))
        stages = run.rounds() if found is None else found.stages
        return conclude(
            run.build(),
            task,
            stages,
            run.folder,
            name=name,
            seed=seed,
            configuration_hash=digest,
            found=found,
        )


def train_dense(
    model: ModelFactory,
    task: Task,
    plan: Plan,
    run_dir: Path | str | None = None,
    *,
    seed: int = 0,
    name: str = "run",
    settings: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    save_every: float = 20.0,
) -> tuple[Path, StageState]:
    """Only the first step of `train_prune_retrain`, which goes on from there when it is called likewise.

    Args:
        model: As there.
        task: As there.
        plan: As there.
        run_dir: As there.
        seed: As there.
        name: As there.
        settings: As there.
        observer: As there.
        save_every: As there.

    Returns:
        The run's folder and the trained dense network.
    """
    with _opened(
        model,
        task,
        plan,
        run_dir,
        seed=seed,
        name=name,
        settings=settings,
        observer=observer,
        save_every=save_every,
    ) as (run, _):
        return run.folder.path, run.dense


@contextmanager
def _opened(
    model: ModelFactory,
    task: Task,
    plan: Plan,
    run_dir: Path | str | None,
    *,
    seed: int,
    name: str,
    settings: Mapping[str, Any] | None,
    observer: Observer | None,
    save_every: float,
) -> Iterator[tuple[Stages, str]]:
    check_arguments(
        model, task, plan, run_dir, seed=seed, name=name, settings=settings, save_every=save_every
    )
    processes = join()
    network = fresh_network(model)
    about = describe_network(network)  # as its function made it: the checks set rates of dropout
    check_fits(plan, network, task, seed, processes)
    outputs = outputs_for_noise(network, task.image_shape)
    structure = network.to("meta")  # without numbers, for what is kept to be checked against
    _check_processes(processes, task)
    count = processes.count
    identity, digest = describe(
        {**about, OUTPUTS: outputs}, task, plan, settings, seed=seed, name=name, processes=count
    )
    path = Path(run_dir) if run_dir is not None else Path("runs") / f"{name}-{digest}-seed{seed}"
    with processes.noticing():
        processes.check_alike(
            agreed(identity),
            "the processes of this run were started differently",
            "Start all of them with the same recipe, seed, data and versions",
        )
        path = processes.of_first(lambda: path)
        chosen = run_dir is not None
        folder = SharedFolder(path, processes, lambda: RunFolder(path, identity, chosen=chosen))
    try:
        observer = (observer if processes.is_first else None) or Observer()
        if observer.on_folder is not None:
            observer.on_folder(path)
        with processes.noticing():
            yield Stages(model, structure, task, plan, folder, seed, observer, save_every), digest
    except DivergenceError as error:
        # The loop knows no folders: with what it advises, this one would be refused.
        raise DivergenceError(
            f"{error}. A changed plan is another run: give it another folder, or none, and it gets one named "
            f"by its content; the finished stages of this one stay in {path}"
        ) from error
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"interrupted; what was done is kept in {path}, but for the last steps of the epoch under way: "
            "run the same command again to continue"
        ) from error
    finally:
        folder.close()


def _check_processes(processes: Processes, task: Task) -> None:
    fewest = min(task.train_count, task.validation_count, task.test_count)
    if processes.count > fewest:
        raise ConfigurationError(
            f"{processes.count} processes share the images, and of {task.source} one part has {fewest}: "
            "start fewer processes"
        )


def _measured_once(timer: Timer, processes: Processes) -> Timer:
    # Two processes never measure the same time, and must not decide by two times.
    return lambda model, example, threads: processes.of_first(lambda: timer(model, example, threads))
