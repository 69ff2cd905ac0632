"""The training loop: epochs of one phase, with masks enforced, resumable between any two steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from secateur.errors import CheckpointError, DivergenceError
from secateur.pruning.gradual import Gradual
from secateur.pruning.layers import select_weights
from secateur.pruning.pruner import Pruner
from secateur.training.checkpoint import load_checkpoint, load_into
from secateur.training.distillation import Distillation
from secateur.training.evaluation import evaluate_together
from secateur.training.freezing import hold_statistics, train_only
from secateur.training.gradients import Gradients, Loss, gradients_of
from secateur.training.keeper import Keeper
from secateur.training.midway import Looks, Midway, midway
from secateur.training.phase import Phase, make_optimizer
from secateur.training.processes import Processes, fingerprints, join
from secateur.training.seeding import seeded
from secateur.training.task import Task

BatchObserver = Callable[[int, int, Tensor], None]
_KEPT = {"stage", "phase", "model", "optimizer", "scaler", "pruner", "records", "midway"}


@final
@dataclass(frozen=True)
class EpochRecord:
    """What happened in one epoch; also one line of a run's log."""

    stage: str
    phase: int
    epoch: int
    loss: float
    validation_loss: float
    validation_error: float
    learning_rate: float
    density: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


@final
@dataclass(frozen=True)
class Progress:
    """Where a phase's progress is kept, how often, and who is told of it.

    Args:
        path: The file of the unfinished phase; None keeps nothing.
        seconds: The least time between two writes, which are made within an epoch as well.
        on_batch: Told after each step: steps done in this epoch and their mean loss so far.
        on_epoch: Told after each epoch, and first of all of the epochs that were kept.
    """

    path: Path | None = None
    seconds: float = 20.0
    on_batch: BatchObserver | None = None
    on_epoch: Callable[[EpochRecord], None] | None = None


def run_phases(
    model: nn.Module,
    task: Task,
    phases: Sequence[Phase],
    *,
    seed: int,
    stage: str,
    pruner: Pruner | None = None,
    gradual: Gradual | None = None,
    distillation: Distillation | None = None,
    progress: Progress | None = None,
    stop_after: int | None = None,
    total_weights: int | None = None,
    processes: Processes | None = None,
) -> list[EpochRecord]:
    """Train a network for some phases; start again after an interruption and it ends with the same bits.

    Several processes that were started together train it together, each on its part of every batch.

    Args:
        model: The network, changed in place.
        task: What is trained on.
        phases: How, one after another.
        seed: The run's seed; with the stage it fixes every draw.
        stage: The stage's name.
        pruner: Keeps the network pruned; it is attached to each phase's optimizer and let go at the end.
        gradual: A cut that grows during the first phase.
        distillation: A teacher, if there is one.
        progress: Where the state is kept, how often, and who is told.
        stop_after: Stop after so many epochs in all, with the learning rates of the whole.
        total_weights: What the records' density is a fraction of, if the network is a part of a larger one.
        processes: Who trains it; those that were started together, if left out.

    Returns:
        One record an epoch, the same on every process.

    Raises:
        ConfigurationError: This device does not compute in a phase's precision.
        DivergenceError: The loss of an epoch is not finite.
        PeerError: Another process is gone, or has other weights.
        CheckpointError: The kept state is of another stage or network.
        StorageError: The state cannot be written; the one before is untouched.
    """
    processes = processes or join()
    path = None if progress is None else progress.path
    kept = processes.of_first(lambda: _read_kept(path, stage))
    if progress is None or not processes.is_first:  # the others neither keep nor tell anything
        progress = Progress()
    model.to(processes.device)
    records = [EpochRecord(**record) for record in kept["records"]] if kept else []
    if progress.on_epoch is not None:
        for record in records:
            progress.on_epoch(record)
    reached = kept["phase"] if kept else 0
    with Keeper(progress.path, progress.seconds) as keeper, processes.noticing():
        for number, phase in enumerate(phases):
            if number < reached:
                continue
            with train_only(model, phase.only), processes.normalising(model):
                # What froze now must not keep the gradient of the phase before: resumed, it would have none.
                model.zero_grad()
                connections = select_weights(model)
                weights = [weight for weight in connections.values() if weight.requires_grad]
                chosen = {id(weight) for weight in connections.values()}
                others = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
                optimizer = make_optimizer(phase.optimizer, phase.l2, weights, others)
                if kept and number == reached:
                    _restore(kept, model, optimizer, pruner)
                if pruner is not None:
                    _watch(pruner, optimizer, connections)
                    pruner.prune_gradually(gradual if number == 0 else None)
                gradients = gradients_of(model, phase, processes, task.example, _loss_of(distillation))
                if kept and number == reached:
                    gradients.load_state_dict(kept["scaler"])
                session = _Session(
                    model,
                    optimizer,
                    task,
                    phase,
                    seed,
                    stage,
                    number,
                    pruner,
                    total_weights,
                    processes,
                    gradients,
                    weights,
                )
                session.check_alike()
                begun = midway(kept["midway"] if kept and number == reached else None)
                session.train(records, progress, keeper, stop_after, begun)
                del session, gradients  # whose wrapper has hooks on the parameters as long as it is there
    if pruner is not None:
        pruner.detach()
    return records


@final
@dataclass(frozen=True)
class _Session:
    """What stays the same through the epochs of a phase."""

    model: nn.Module
    optimizer: Optimizer
    task: Task
    phase: Phase
    seed: int
    stage: str
    number: int
    pruner: Pruner | None
    total_weights: int | None
    processes: Processes
    gradients: Gradients
    weights: list[nn.Parameter]

    def check_alike(self) -> None:
        """Refuse to train weights that are not the same on every process."""
        if self.processes.count > 1:
            self.processes.check_alike(
                fingerprints(self.model.state_dict()),
                f"the weights at the beginning of {self.stage}, phase {self.number + 1}",
                "Start all processes with the same versions on the same kind of processor, and let the "
                "network draw its initial weights from torch's generators alone",
            )

    def train(
        self,
        records: list[EpochRecord],
        progress: Progress,
        keeper: Keeper,
        stop_after: int | None,
        begun: Midway,
    ) -> None:
        """Train the epochs that are not in the records yet, adding to them; the first from where it is."""
        done = sum(record.phase == self.number for record in records)
        for epoch in range(done, self.phase.epochs):
            if stop_after is not None and len(records) >= stop_after:
                return

            def keep(at: Midway, epoch: int = epoch) -> None:
                if not bool(at.totals.isfinite().all()):
                    raise self._diverged(epoch, f"the loss is {float(at.totals.sum())} at step {at.step}")
                keeper.keep(self._content(records, at))

            record = self._epoch(epoch, progress.on_batch, begun, Looks(begun, self.processes, keeper, keep))
            begun = midway(None)
            records.append(record)
            keeper.keep(self._content(records))
            if progress.on_epoch is not None:
                progress.on_epoch(record)

    def _epoch(self, epoch: int, on_batch: BatchObserver | None, begun: Midway, looks: Looks) -> EpochRecord:
        began = time.monotonic() - begun.seconds
        # Each process drops other units, for it sees other images.
        own = () if self.processes.is_first else (self.processes.rank,)
        with seeded(self.seed, self.stage, self.number, epoch, "dropout", *own):
            begun.take_up(self.processes)
            loss = self._train_epoch(epoch, on_batch, begun, looks)
        if not math.isfinite(loss):
            raise self._diverged(epoch, f"the loss is {loss}")
        check = evaluate_together(self.model, self.task.validation, self.processes)
        if not math.isfinite(check.loss):
            raise self._diverged(epoch, f"the validation loss is {check.loss}")
        return EpochRecord(
            stage=self.stage,
            phase=self.number,
            epoch=epoch + 1,
            loss=loss,
            validation_loss=check.loss,
            validation_error=check.error,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            density=self._density(),
            seconds=self.processes.of_first(lambda: time.monotonic() - began),
        )

    def _diverged(self, epoch: int, what: str) -> DivergenceError:
        return DivergenceError(
            f"{self.stage}, phase {self.number + 1}, epoch {epoch + 1}: {what}; what was finished before is "
            f"kept. Lower the learning rate (it is {self.phase.optimizer.learning_rate}) or set `clip`"
        )

    def _density(self) -> float:
        if self.pruner is None:
            return 1.0
        masks = self.pruner.masks
        return masks.kept / (self.total_weights or masks.total)

    def _train_epoch(self, epoch: int, on_batch: BatchObserver | None, begun: Midway, looks: Looks) -> float:
        task, phase, model, optimizer = self.task, self.phase, self.model, self.optimizer
        device, part = self.processes.device, self.processes.part
        steps = math.ceil(task.train_count / phase.batch_size)
        total = begun.total(self.processes)
        model.train()
        if phase.only is not None:
            hold_statistics(model, phase.only)
        moving = [parameter for group in optimizer.param_groups for parameter in group["params"]]

        def change() -> None:
            if phase.l1:
                phase.regularisation.add_gradient_(self.weights)
            if phase.clip:
                nn.utils.clip_grad_norm_(moving, phase.clip)

        drawn = task.batches(
            phase.batch_size, self.seed, self.stage, self.number, epoch, start=begun.step, part=part
        )
        for step, batch in enumerate((each.to(device) for each in drawn), start=begun.step):
            factor = phase.schedule.factor(epoch * steps + step, phase.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = phase.optimizer.learning_rate * factor
            optimizer.zero_grad()
            loss = self.gradients.add(batch)
            self.gradients.step(optimizer, change)
            total += loss * part.counted(batch.whole)
            if on_batch is not None:
                on_batch(step + 1, steps, loss)
            if step + 1 < steps:
                looks.after(step + 1, total)
        self.processes.share_buffers(model)
        return float(self.processes.sum(total)) / task.train_count

    def _content(self, records: list[EpochRecord], at: Midway | None = None) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "phase": self.number,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.gradients.state_dict(),
            "pruner": None if self.pruner is None else self.pruner.state_dict(),
            "records": [record.to_json() for record in records],
            "midway": None if at is None else at.state_dict(),
        }


def _loss_of(distillation: Distillation | None) -> Loss:
    if distillation is not None:
        return distillation.loss
    return lambda outputs, batch: functional.cross_entropy(outputs, batch.labels)


def _read_kept(path: Path | None, stage: str) -> dict[str, Any] | None:
    if path is None or not path.exists():
        return None
    kept = load_checkpoint(path)
    if kept.keys() != _KEPT:
        raise CheckpointError(
            f"{path} does not hold an unfinished stage; remove it, and the stage starts again"
        )
    if kept["stage"] != stage:
        raise CheckpointError(
            f"{path} is of stage {kept['stage']!r}, expected {stage!r}; remove it, and the stage starts again"
        )
    return kept


def _watch(pruner: Pruner, optimizer: Optimizer, connections: Mapping[str, nn.Parameter]) -> None:
    # A phase may train nothing that is under pruning (`only` names excluded layers); then there is nothing to
    # keep pruned, and the optimizer before must be let go.
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if any(id(connections[name]) in held for name in pruner.masks):
        pruner.attach(optimizer)
    else:
        pruner.detach()


def _restore(kept: dict[str, Any], model: nn.Module, optimizer: Optimizer, pruner: Pruner | None) -> None:
    load_into(model, kept["model"], "the state of an unfinished stage")
    try:
        optimizer.load_state_dict(kept["optimizer"])
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"the state of an unfinished stage has another optimizer: {error}") from error
    if pruner is not None:
        pruner.load_state_dict(kept["pruner"])
