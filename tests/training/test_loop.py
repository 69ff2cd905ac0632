from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from secateur.errors import CheckpointError, DivergenceError
from secateur.pruning.criteria import GlobalDensity
from secateur.pruning.gradual import Gradual
from secateur.pruning.pruner import Pruner
from secateur.training.checkpoint import load_checkpoint, save_checkpoint
from secateur.training.distillation import Distillation, LiveTeacher, Table, teach
from secateur.training.loop import EpochRecord, Progress, run_phases
from secateur.training.phase import Phase
from secateur.training.seeding import seeded
from secateur.training.task import Batch
from tests.small import Conv, Dense, blob_task, phase

TASK = blob_task()
MODELS = {"dense": lambda: Dense(dropout=0.3), "conv": Conv}


def phases(*given: dict[str, Any]) -> tuple[Phase, ...]:
    return tuple(Phase.model_validate(one) for one in given)


def fresh(kind: str = "dense") -> Any:
    with seeded(0, "test"):
        return MODELS[kind]()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_distillation_is_its_formula() -> None:
    torch.manual_seed(0)
    outputs, logits = torch.randn(3, 4), torch.randn(5, 2, 4)
    labels, indices, variants = torch.tensor([1, 0, 3]), torch.tensor([4, 0, 2]), torch.tensor([1, 0, 1])
    teacher = torch.softmax(logits / 3.0, dim=2)
    batch = Batch(torch.zeros(3, 1, 12, 12), labels, indices, variants, 3)
    found = Distillation(Table(teacher), 0.25, 3.0).loss(outputs, batch)
    p = teacher[indices, variants]
    q = torch.softmax(outputs / 3.0, dim=1)
    divergence = (p * (p.log() - q.log())).sum(dim=1).mean()
    expected = 0.75 * functional.cross_entropy(outputs, labels) + 0.25 * 9.0 * divergence
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_a_teacher_speaks_for_every_image_at_every_shift() -> None:
    task, model = blob_task(shift=1), Dense(dropout=0.5).train()
    taught = teach(model, task, 2.0)
    assert isinstance(taught, Table)
    table = taught.probabilities
    assert table.shape == (240, 9, 4)
    assert model.training
    batch = next(task.batches(32, 0, "dense", 0, 0))
    assert torch.allclose(taught.of(batch, 2.0), LiveTeacher(model).of(batch, 2.0), atol=1e-6)
    assert model.training
    image = task.images.take(torch.tensor([7]), torch.tensor([5]))
    model.eval()
    assert torch.allclose(table[7, 5], torch.softmax(model(image)[0] / 2.0, dim=0), atol=1e-6)


def test_training_learns_and_disturbs_no_global_generator() -> None:
    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    records = run_phases(fresh(), TASK, phases(phase(4)), seed=0, stage="dense")
    assert torch.equal(torch.rand(2), expected)
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert records[-1].loss < records[0].loss
    assert records[-1].validation_error < 10
    assert records[0].density == 1.0


@pytest.mark.parametrize("kind", MODELS)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(kind: str) -> None:
    states = []
    for seed in (0, 0, 1):
        model = fresh(kind)
        run_phases(model, TASK, phases(phase(1)), seed=seed, stage="dense")
        states.append(model.state_dict())
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def test_learning_rates_follow_the_schedule_over_the_phase() -> None:
    steps = {"kind": "steps", "at": [0.5], "by": 0.1}
    records = run_phases(
        fresh(), TASK, phases(phase(4, schedule=steps), phase(1)), seed=0, stage="dense", stop_after=3
    )
    assert [record.learning_rate for record in records] == pytest.approx([0.05, 0.05, 0.005])


@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_frozen_layers_keep_their_bits(l2: float) -> None:
    model = fresh("conv")
    before = copy.deepcopy(model.state_dict())
    run_phases(model, TASK, phases(phase(1, only=["fc*"], l2=l2, l1=1e-3)), seed=0, stage="dense")
    after = model.state_dict()
    assert torch.equal(after["conv1.weight"], before["conv1.weight"])
    assert torch.equal(after["conv1.bias"], before["conv1.bias"])
    assert not torch.equal(after["fc1.weight"], before["fc1.weight"])
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_pruned_weights_stay_pruned_in_a_phase_that_trains_none_of_them() -> None:
    model = fresh()
    pruner = Pruner(model, exclude="fc3")
    pruner.prune(GlobalDensity(0.3))
    run_phases(model, TASK, phases(phase(1, only=["fc3"]), phase(1)), seed=0, stage="round-01", pruner=pruner)
    for name, mask in pruner.masks.items():
        assert int(model.get_parameter(name)[~mask].count_nonzero()) == 0


def test_l1_pulls_weights_towards_zero_and_leaves_biases() -> None:
    sums = []
    for l1 in (0.0, 1e-2):
        model = fresh()
        run_phases(model, TASK, phases(phase(2, l1=l1, l2=0.0)), seed=0, stage="dense")
        sums.append(float(model.fc1.weight.detach().abs().sum()))
    assert sums[1] < 0.8 * sums[0]


def test_clipping_bounds_a_step() -> None:
    model = fresh()
    before = copy.deepcopy(model.state_dict())
    tame = {"kind": "sgd", "learning_rate": 1.0, "momentum": 0.0}
    clipped = phase(
        1, optimizer=tame, clip=1e-4, l2=0.0, batch_size=len(TASK.train), schedule={"kind": "constant"}
    )
    run_phases(model, TASK, phases(clipped), seed=0, stage="dense")
    moved = sum(float((model.state_dict()[name] - before[name]).square().sum()) for name in before)
    assert moved**0.5 == pytest.approx(1e-4, rel=1e-2)


OPTIMIZERS = {
    "sgd": {"kind": "sgd", "learning_rate": 0.05, "nesterov": True},
    "adam": {"kind": "adam", "learning_rate": 0.01},
    "adamw": {"kind": "adamw", "learning_rate": 0.01},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_stage_taken_up_again_ends_with_the_same_bits(
    tmp_path: Path, optimizer: str, kind: str, stop: int
) -> None:
    both = phases(phase(2, optimizer=OPTIMIZERS[optimizer]), phase(2, optimizer=OPTIMIZERS[optimizer]))

    def train(path: Path, stop_after: int | None) -> tuple[Any, list[EpochRecord], Pruner]:
        model = fresh(kind).to(memory_format=torch.channels_last)
        pruner = Pruner(model)
        pruner.prune(GlobalDensity(0.5))
        records = run_phases(
            model,
            TASK,
            both,
            seed=0,
            stage="round-01",
            pruner=pruner,
            gradual=Gradual(lambda done: 0.5 - 0.3 * done, 0, 9, 2),
            progress=Progress(path, 0.0),
            stop_after=stop_after,
        )
        return model, records, pruner

    alone = train(tmp_path / "alone.pt", None)
    train(tmp_path / "a.pt", stop)
    again = train(tmp_path / "a.pt", None)
    assert same(alone[0].state_dict(), again[0].state_dict())
    assert alone[2].masks == again[2].masks
    assert alone[2].masks.density == pytest.approx(0.2, abs=1e-3)
    figures = [
        [(r.phase, r.epoch, r.loss, r.validation_loss, r.density) for r in one[1]] for one in (alone, again)
    ]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_frozen_layers_old_gradient_takes_no_part_in_clipping(tmp_path: Path, stop: int) -> None:
    both = phases(phase(2, clip=0.05), phase(3, clip=0.05, only=["fc3"]))

    def train(path: Path, stop_after: int | None) -> dict[str, torch.Tensor]:
        model = fresh()
        run_phases(
            model, TASK, both, seed=0, stage="dense", progress=Progress(path, 0.0), stop_after=stop_after
        )
        return dict(model.state_dict())

    alone = train(tmp_path / "alone.pt", None)
    train(tmp_path / "a.pt", stop)
    assert same(alone, train(tmp_path / "a.pt", None))


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_an_interruption_costs_only_the_epoch_under_way(tmp_path: Path, stop: int) -> None:
    path = tmp_path / "a.pt"
    both = phases(phase(2, optimizer=OPTIMIZERS["adam"]), phase(3))
    steps = 0

    def break_off(step: int, _steps: int, _loss: torch.Tensor) -> None:
        nonlocal steps
        steps += step == 3
        if steps == stop + 1:
            raise KeyboardInterrupt

    rarely = 1e9  # seconds: nothing is written before the interruption
    with pytest.raises(KeyboardInterrupt):
        run_phases(
            fresh(), TASK, both, seed=0, stage="dense", progress=Progress(path, rarely, on_batch=break_off)
        )
    assert len(load_checkpoint(path)["records"]) == stop
    model, alone = fresh(), fresh()
    run_phases(model, TASK, both, seed=0, stage="dense", progress=Progress(path, rarely))
    run_phases(alone, TASK, both, seed=0, stage="dense")
    assert same(model.state_dict(), alone.state_dict())


def test_statistics_of_frozen_batch_normalisation_stay() -> None:
    model = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(144, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Linear(8, 8),
        torch.nn.BatchNorm1d(8, affine=False),
        torch.nn.Linear(8, 4),
    )
    for only, moves in ((["5"], (False, False)), (["2", "5"], (True, False)), (["[45]"], (False, True))):
        before = copy.deepcopy(model.state_dict())
        run_phases(model, TASK, phases(phase(1, only=only)), seed=0, stage="dense")
        after = model.state_dict()
        for layer, moved in zip(("2", "4"), moves, strict=True):
            name = f"{layer}.running_mean"
            assert torch.equal(before[name], after[name]) is not moved
    assert all(module.training for module in model.modules())


def test_kept_epochs_are_told_of_again(tmp_path: Path) -> None:
    told: list[EpochRecord] = []
    progress = Progress(tmp_path / "a.pt", 0.0, None, told.append)
    run_phases(fresh(), TASK, phases(phase(3)), seed=0, stage="dense", progress=progress, stop_after=2)
    told.clear()
    run_phases(fresh(), TASK, phases(phase(3)), seed=0, stage="dense", progress=progress)
    assert [record.epoch for record in told] == [1, 2, 3]


def test_what_was_kept_of_another_stage_network_or_optimizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"

    def train(model: Any, stage: str = "dense", **changes: Any) -> None:
        run_phases(
            model, TASK, phases(phase(2, **changes)), seed=0, stage=stage, progress=Progress(path, 0.0)
        )

    train(fresh())
    with pytest.raises(CheckpointError, match="is of stage 'dense', expected 'round-01'; remove it"):
        train(fresh(), "round-01")
    with pytest.raises(CheckpointError, match=r"an unfinished stage is of another network: .*conv1"):
        train(Conv())
    kept = load_checkpoint(path)
    kept["optimizer"]["param_groups"] = kept["optimizer"]["param_groups"][:1]
    save_checkpoint(path, kept)
    with pytest.raises(CheckpointError, match="has another optimizer"):
        train(fresh())
    save_checkpoint(path, {"stage": "dense"})
    with pytest.raises(CheckpointError, match="does not hold an unfinished stage; remove it"):
        train(fresh())


@pytest.mark.filterwarnings("ignore:.*")
def test_a_loss_that_is_no_number_stops_training_and_keeps_what_was_before(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    wild = phase(2, optimizer={"kind": "sgd", "learning_rate": 1e30}, schedule={"kind": "constant"})
    message = (
        r"dense, phase 2, epoch 1: the loss is (nan|inf); what was finished before is kept. "
        r"Lower the learning rate \(it is 1e\+30\) or set `clip`"
    )
    with pytest.raises(DivergenceError, match=message):
        run_phases(fresh(), TASK, phases(phase(1), wild), seed=0, stage="dense", progress=Progress(path, 1e9))
    kept = load_checkpoint(path)
    assert len(kept["records"]) == 1
    assert all(bool(tensor.isfinite().all()) for tensor in kept["model"].values())


def test_a_last_step_that_breaks_the_network_is_noticed_too() -> None:
    one_step = phase(1, batch_size=len(TASK.train), optimizer={"kind": "sgd", "learning_rate": 1e38}, l2=0.0)
    with pytest.raises(DivergenceError, match=r"dense, phase 1, epoch 1: the validation loss is (nan|inf)"):
        run_phases(fresh(), TASK, phases(one_step), seed=0, stage="dense")
