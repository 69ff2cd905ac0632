"""The stages of a run: each trains, cuts or retrains one network, is kept when done, and only read after."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from secateur.errors import UnreachableTargetError
from secateur.pruning.compaction import compact, expand_into
from secateur.pruning.criteria import Criterion, compute_masks
from secateur.pruning.default import weights_to_prune
from secateur.pruning.gradual import Gradual
from secateur.pruning.layers import aliases, prunable_weights
from secateur.pruning.masks import Masks
from secateur.pruning.pruner import Pruner
from secateur.recipes.dropout import follow_dropout_rule, set_dropout
from secateur.recipes.plan import GradualCut, Keep, Plan, Reinitialise, Rewind
from secateur.recipes.price import Timer, price_of
from secateur.recipes.reachable import Reachable, reachable
from secateur.recipes.run_folder import StageState
from secateur.recipes.search import Choose, Found, search
from secateur.recipes.shared_folder import SharedFolder
from secateur.recipes.turns import cut_in_turn
from secateur.training.checkpoint import check_state
from secateur.training.distillation import Distillation, teach
from secateur.training.evaluation import Evaluation, evaluate_together
from secateur.training.loop import BatchObserver, EpochRecord, Progress, run_phases
from secateur.training.normalisation import has_statistics, reestimate_statistics, training_batches
from secateur.training.phase import Phase
from secateur.training.seeding import generator, seeded
from secateur.training.task import Task

ModelFactory = Callable[[], nn.Module]
_LARGE_NETWORK = 10_000_000  # bytes


@final
@dataclass(frozen=True)
class Observer:
    """Who is told how a run goes on.

    Args:
        on_folder: Told once, before the first stage: the run's folder.
        on_stage: Told once before each stage: its name, its number from 0, the number of stages, the epochs
            it takes, and whether it is there already.
        on_batch: Told after each step: steps done of this epoch, steps in it, the loss.
        on_epoch: Told after each epoch; of those that an interrupted stage kept, when it is taken up again.
    """

    on_folder: Callable[[Path], None] | None = None
    on_stage: Callable[[str, int, int, int, bool], None] | None = None
    on_batch: BatchObserver | None = None
    on_epoch: Callable[[EpochRecord], None] | None = None


@final
@dataclass(frozen=True)
class Stages:
    """The stages of one run, made when they are first asked for.

    Args:
        model: Makes the untrained network.
        structure: Such a network on PyTorch's ``meta`` device: names, shapes and types.
        task: What it is trained on.
        plan: What is done.
        folder: Where finished stages are kept.
        seed: Fixes every draw.
        observer: Who is told how it goes on.
        save_every: Seconds between two writes of an unfinished stage's state.
    """

    model: ModelFactory
    structure: nn.Module
    task: Task
    plan: Plan
    folder: SharedFolder
    seed: int
    observer: Observer
    save_every: float

    def build(self) -> nn.Module:
        """The untrained network of this run."""
        with seeded(self.seed, "initial weights"):
            return self.model()

    @cached_property
    def dense(self) -> StageState:
        """Step 1: learn which connections matter."""

        def make() -> StageState:
            model = self.build()
            set_dropout(model, self.plan.dropout)
            pruner = self._pruner(model)
            snapshot, records = self._train_dense(model)
            notes = _notes({}, {}) | {"early": snapshot}
            return StageState(_state(model), pruner.masks, [record.to_json() for record in records], notes)

        return self._stage("dense", 0, self.plan.dense, make)

    def rounds(self) -> Sequence[tuple[str, StageState]]:
        """The dense network and every round's, by name; a round's turns come before it."""
        stages = [("dense", self.dense)]
        for number in range(1, self.plan.rounds + 1):
            for turn in range(len(self.plan.turns)):
                name = f"round-{number:02d}-turn-{turn + 1}"
                stages.append((name, self._turn(name, number, turn, stages[-1][1])))
            stages.append((f"round-{number:02d}", self.round(number, stages[-1][1])))
        return stages

    def search(self, timer: Timer) -> Found:
        """What the plan's target asks for."""
        plan = self.plan
        assert plan.target is not None  # noqa: S101  # the caller looked; narrows for mypy
        price = price_of(plan.target, plan.search.price, self.task.example, timer)
        return search(plan.target, plan.search, price, self.dense, self.task, self)

    def evaluate(self, stage: StageState) -> Evaluation:
        """A stage's network on the validation images, of which every process sees its part."""
        model, processes = self.build(), self.folder.processes
        model.load_state_dict(dict(stage.mapped_anew().model))
        return evaluate_together(model.to(processes.device), self.task.validation, processes)

    def cut(self, name: str, before: StageState, choose: Choose) -> StageState:
        """A network cut as a search chose; kept, so that it is chosen once."""

        def make() -> StageState:
            model, pruner = self._taken_up(before)
            choice = choose(model, pruner.masks)
            pruner.restrict(choice.masks)
            dead = self._sweep(pruner)
            self._reestimate_after_cut(name, model)
            notes = _notes(dead, {}) | {"choice": choice.to_json()}
            return StageState(_state(model), pruner.finalize(), [], notes)

        return self.folder.stage(name, make)

    def once(self, name: str, measure: Callable[[], float]) -> float:
        """A number that is measured once and kept."""
        kept = self.folder.stage(name, lambda: StageState({}, Masks({}), [], {"value": measure()}))
        return float(kept.notes["value"])

    def trial(self, name: str, model: nn.Module, masks: Masks) -> float:
        """The validation loss of a network cut so and retrained once on some of the images."""
        plan, task = self.plan, self.task
        network = copy.deepcopy(model)
        pruner = self._pruner(network)
        pruner.restrict(masks)
        self._sweep(pruner)
        self._reestimate_after_cut(name, network)
        follow_dropout_rule(network, partial(self._ruling, network, pruner, None), plan, task.image_shape)
        some = task.subset(plan.search.trial, generator(self.seed, name))
        once = plan.retrain[0].model_copy(update={"epochs": 1})
        self._retrain(name, 0, network, pruner, (once,), some)
        loss = evaluate_together(network, task.validation, self.folder.processes).loss
        del network, pruner
        self._let_go()
        return loss

    def retrain(self, name: str, number: int, cut: StageState, *, last: bool) -> StageState:
        """A cut network, its remaining weights trained."""
        phases = self.plan.final if last and self.plan.final is not None else self.plan.retrain

        def make() -> StageState:
            model, pruner = self._taken_up(cut)
            ruling = partial(self._ruling, model, pruner, None)
            rates = follow_dropout_rule(model, ruling, self.plan, self.task.image_shape)
            records = self._retrain(name, number, model, pruner, phases)
            masks = pruner.finalize()
            notes = _notes(cut.notes["dead"], rates)
            return StageState(_state(model), masks, [record.to_json() for record in records], notes)

        return self._stage(name, number, phases, make)

    def round(self, number: int, before: StageState) -> StageState:
        """Steps 2 and 3: prune connections, train the weights that are left."""
        name, phases = f"round-{number:02d}", self.plan.phases_of(number)

        def make() -> StageState:
            return self._prune_and_retrain(name, number, before, phases, None)

        return self._stage(name, number, phases, make)

    def _turn(self, name: str, number: int, turn: int, before: StageState) -> StageState:
        """Steps 2 and 3 for some of the layers, ahead of the others."""
        phases = self.plan.turns[turn].retrain

        def make() -> StageState:
            return self._prune_and_retrain(name, number, before, phases, turn)

        return self._stage(name, number, phases, make)

    def _prune_and_retrain(
        self, name: str, number: int, before: StageState, phases: tuple[Phase, ...], turn: int | None
    ) -> StageState:
        plan = self.plan
        model, pruner = self._taken_up(before)
        target = self._reachable(number / plan.rounds, model, pruner)
        if plan.gradual is None:
            names = aliases(prunable_weights(model))
            cut_in_turn(pruner, self._weights_of(model), target.criterion, names, plan.turns, turn)
        dead = self._sweep(pruner)
        self._choose_survivors(model, pruner, number)
        if plan.gradual is None:
            self._reestimate_after_cut(name, model)
        to_come = None if plan.gradual is None else target.criterion
        ruling = partial(self._ruling, model, pruner, to_come)
        rates = follow_dropout_rule(model, ruling, plan, self.task.image_shape)
        records = self._retrain(name, number, model, pruner, phases)
        if plan.gradual is not None:
            dead = self._sweep(pruner)
        masks = pruner.finalize()
        capped = {layer: dict(found) for layer, found in target.capped.items()}
        # Until every layer had its turn, the network is not at what the cut asks of the whole.
        asked = target.asked if turn is None else None
        notes = _notes(dead, rates) | {"asked": asked, "capped": capped}
        return StageState(_state(model), masks, [record.to_json() for record in records], notes)

    def _taken_up(self, before: StageState) -> tuple[nn.Module, Pruner]:
        model, before = self.build(), before.mapped_anew()
        model.load_state_dict(dict(before.model))
        pruner = self._pruner(model)
        pruner.restrict(before.masks)
        return model, pruner

    def _ruling(self, model: nn.Module, pruner: Pruner, cut: Criterion | None) -> Masks:
        """The masks that dropout goes by: of a cut to come what it ends with, as the weights are now.

        The rates stay as they are while it grows, and a stage that is taken up again sets the same.
        """
        if cut is None:
            return pruner.masks
        names = aliases(prunable_weights(model))
        try:
            return compute_masks(self._weights_of(model), cut, pruner.masks, names)
        except UnreachableTargetError:
            return pruner.masks  # weights that have not trained may all be below a threshold

    def _weights_of(self, model: nn.Module) -> Mapping[str, nn.Parameter]:
        return weights_to_prune(model, None, self.plan.exclude or None)

    def _pruner(self, model: nn.Module) -> Pruner:
        return Pruner(model, exclude=self.plan.exclude or None, on_cut=self.folder.processes.check_masks)

    def _sweep(self, pruner: Pruner) -> dict[str, Any]:
        """Remove dead neurons, if the plan says so; what was found, as JSON values."""
        if not self.plan.sweep:
            return {}
        dead = pruner.sweep(self.task.image_shape).dead
        return {layer: asdict(found) for layer, found in dead.items()}

    def _reestimate_after_cut(self, name: str, model: nn.Module) -> None:
        if not self.folder.processes.of_first(self.folder.partial(name).exists):
            self._reestimate(name, model)  # otherwise retraining goes on from what is kept there

    def _reestimate(self, name: str, model: nn.Module) -> None:
        """Statistics of batch normalisation as the weights are now; nothing where there are none."""
        if not has_statistics(model):
            return
        processes = self.folder.processes
        model = _for_training(model.to(processes.device))
        reestimate_statistics(model, training_batches(self.task, self.seed, name))
        processes.share_buffers(model)  # machines of other kinds may round otherwise

    def _train_dense(self, model: nn.Module) -> tuple[dict[str, Tensor], list[EpochRecord]]:
        rewind = self.plan.survivors if isinstance(self.plan.survivors, Rewind) else None
        snapshot = _state(model) if rewind is not None and rewind.epoch == 0 else {}
        records = self._run_phases("dense", model, None, self.plan.dense)
        if rewind is not None and rewind.epoch > 0:
            # Trained again up to that epoch rather than copied on the way: the same draws give the same bits,
            # and the loop need not know of it.
            early = _for_training(self.build())
            set_dropout(early, self.plan.dropout)
            run_phases(
                early,
                self.task,
                self.plan.dense,
                seed=self.seed,
                stage="dense",
                stop_after=rewind.epoch,
                processes=self.folder.processes,
            )
            snapshot = _state(early)
        return snapshot, records

    def _retrain(
        self,
        name: str,
        number: int,
        model: nn.Module,
        pruner: Pruner,
        phases: tuple[Phase, ...],
        trial_on: Task | None = None,
    ) -> list[EpochRecord]:
        if not self.plan.compact:
            gradual = None
            if self.plan.gradual is not None:
                gradual = self._gradual(self.plan.gradual, number, phases[0], model, pruner)
            return self._run_phases(name, model, pruner, phases, gradual, trial_on=trial_on)
        small = compact(model, pruner.masks, self.task.image_shape)
        inner = self._pruner(small.model)
        inner.restrict(small.masks)
        records = self._run_phases(
            name, small.model, inner, phases, total_weights=pruner.masks.total, trial_on=trial_on
        )
        inner.finalize()
        expand_into(model, small)
        return records

    def _run_phases(
        self,
        stage: str,
        model: nn.Module,
        pruner: Pruner | None,
        phases: tuple[Phase, ...],
        gradual: Gradual | None = None,
        total_weights: int | None = None,
        trial_on: Task | None = None,
    ) -> list[EpochRecord]:
        progress = Progress(
            self.folder.partial(stage), self.save_every, self.observer.on_batch, self._log_epoch
        )
        records = run_phases(
            _for_training(model),
            trial_on or self.task,
            phases,
            seed=self.seed,
            stage=stage,
            pruner=pruner,
            gradual=gradual,
            distillation=None if pruner is None else self._distillation,
            progress=progress if trial_on is None else None,  # what is tried out is neither kept nor told
            total_weights=total_weights,
            processes=self.folder.processes,
        )
        if records:
            # A running mean trails the weights by a dozen steps: after little training it describes another
            # network. The dense one gets the same, or the comparison would not be fair.
            self._reestimate(stage, model)
        if records and trial_on is None and has_statistics(model):
            # The last epoch was measured before; what is kept, and on record, is the network as it is now.
            check = evaluate_together(model, self.task.validation, self.folder.processes)
            records[-1] = replace(records[-1], validation_loss=check.loss, validation_error=check.error)
        return records

    def _reachable(self, progress: float, model: nn.Module, pruner: Pruner) -> Reachable:
        names = aliases(prunable_weights(model))
        assert self.plan.cut is not None  # noqa: S101  # rounds are of plans that have one; narrows for mypy
        return reachable(self.plan.cut.at(progress, self.seed), pruner.masks, names)

    def _gradual(
        self, gradual: GradualCut, number: int, phase: Phase, model: nn.Module, pruner: Pruner
    ) -> Gradual:
        steps = phase.epochs * -(-self.task.train_count // phase.batch_size)
        start, end = (number - 1) / self.plan.rounds, number / self.plan.rounds
        return Gradual(
            lambda done: start + (end - start) * done,
            begin=0,
            end=max(1, round(gradual.until * steps)),
            every=gradual.every,
            criterion=lambda progress: self._reachable(progress, model, pruner).criterion,
        )

    def _choose_survivors(self, model: nn.Module, pruner: Pruner, number: int) -> None:
        survivors = self.plan.survivors
        match survivors:
            case Keep():
                return
            case Reinitialise():
                with seeded(self.seed, "reinitialised weights", number):
                    model.load_state_dict(self.model().state_dict())
            case Rewind():
                model.load_state_dict(dict(self.dense.notes["early"]))
        pruner.enforce()

    @cached_property
    def _distillation(self) -> Distillation | None:
        if self.plan.teach is None:
            return None
        teacher = _for_training(self.build()).to(self.folder.processes.device)
        teacher.load_state_dict(dict(self.dense.mapped_anew().model))
        temperature = self.plan.teach.temperature
        return Distillation(teach(teacher, self.task, temperature), self.plan.teach.weight, temperature)

    def _stage(
        self, name: str, number: int, phases: tuple[Phase, ...], make: Callable[[], StageState]
    ) -> StageState:
        if self.observer.on_stage is not None:
            finished = (self.folder.path / "stages" / f"{name}.pt").exists()
            epochs = sum(phase.epochs for phase in phases)
            rounds = self.plan.rounds if self.plan.target is None else self.plan.search.rounds
            self.observer.on_stage(name, number, rounds + 1, epochs, finished)
        state = self.folder.stage(name, make)
        self._let_go()
        # (A network made for every stage that is there already took VGG-16 a second each.)
        check_state(self.structure, state.mapped_anew().model, f"{self.folder.path / 'stages' / name}.pt")
        self.folder.finished(state.history)
        return state

    def _let_go(self) -> None:
        """Free networks that torch.fx left in cycles when it traced them: one a round, with its gradients.

        Python looks for cycles by the number of objects, and a network is few. It takes a tenth of a second:
        more than the stage of a small network, and than its memory is worth.
        """
        if sum(tensor.nbytes for tensor in self.structure.state_dict().values()) >= _LARGE_NETWORK:
            gc.collect()

    def _log_epoch(self, record: EpochRecord) -> None:
        self.folder.log(record.to_json())
        if self.observer.on_epoch is not None:
            self.observer.on_epoch(record)


def _notes(dead: Mapping[str, Any], rates: Mapping[str, float]) -> dict[str, Any]:
    return {"dead": dict(dead), "dropout": dict(rates), "early": {}, "asked": None, "capped": {}}


def _for_training(model: nn.Module) -> nn.Module:
    # Convolutions train about twice as fast this way on a CPU. Their sums run in another order, so whatever
    # shall give the same bits must be laid out the same.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # missing in torch's stub


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
