from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from secateur.errors import ConfigurationError
from secateur.pruning.criteria import GlobalDensity
from secateur.pruning.pruner import Pruner
from secateur.training.gradients import Gradients, gradients_of
from secateur.training.loop import EpochRecord, run_phases
from secateur.training.phase import Phase
from secateur.training.processes import Processes, join
from secateur.training.seeding import seeded
from secateur.training.task import Batch
from tests.small import CLASSES, SIDE, Dense, blob_task, phase
from tests.training.peers import together, values

TASK = blob_task()


def fresh() -> nn.Module:
    with seeded(0, "test"):
        return Dense()


def batch(images: int) -> Batch:
    draw = torch.Generator().manual_seed(images)
    shape = (images, 1, SIDE, SIDE)
    labels = torch.randint(CLASSES, (images,), generator=draw)
    return Batch(torch.randn(shape, generator=draw), labels, labels, labels, images)


def cross_entropy(outputs: Tensor, of: Batch) -> Tensor:
    return functional.cross_entropy(outputs, of.labels)


def computed(model: nn.Module, of: Batch, processes: Processes | None = None, **settings: Any) -> Tensor:
    chosen = Phase.model_validate(phase(1, **settings))
    peers = processes or Processes()
    return gradients_of(model, chosen, peers, lambda: torch.zeros(1, 1, SIDE, SIDE), cross_entropy).add(of)


@given(images=st.integers(1, 20), pieces=st.integers(1, 25))
@settings(max_examples=30, deadline=None)
def test_pieces_add_up_to_the_whole(images: int, pieces: int) -> None:
    whole, split = fresh(), fresh()
    expected = functional.cross_entropy(whole(batch(images).images), batch(images).labels)
    expected.backward()
    found = computed(split, batch(images), accumulate=pieces)
    torch.testing.assert_close(found, expected.detach())
    for a, b in zip(split.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)
        if pieces == 1:
            assert torch.equal(a.grad, b.grad)


def test_pieces_keep_only_one_piece_in_memory() -> None:
    seen: list[int] = []
    model = fresh()
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    computed(model, batch(20), accumulate=3)
    assert seen == [7, 7, 6]


def shared(images: int, pieces: int) -> list[Tensor]:
    peers, model = join(), fresh()
    whole = batch(images)
    own = peers.part.of(images)
    part = Batch(whole.images[own], whole.labels[own], whole.indices[own], whole.variants[own], images)
    computed(model, part, peers, accumulate=pieces)
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize(("images", "pieces"), [(7, 1), (7, 3), (2, 2), (1, 1)])
def test_unequal_shares_count_by_their_images(images: int, pieces: int) -> None:
    expected = shared(images, 1)
    told = values(together(3, shared, images, pieces))
    for one in told:
        assert all(torch.equal(a, b) for a, b in zip(one, told[0], strict=True))
        for found, wanted in zip(one, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_bf16_computes_the_forward_pass_alone_in_bf16() -> None:
    model, plain = fresh(), fresh()
    kinds: list[torch.dtype] = []
    model.fc2.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    found, exact = computed(model, batch(16), precision="bf16"), computed(plain, batch(16))
    assert kinds == [torch.bfloat16]
    assert found.dtype == torch.float32
    assert found != exact
    assert float(found) == pytest.approx(float(exact), rel=2**-7)
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert p.dtype == p.grad.dtype == torch.float32
        assert float((p.grad - q.grad).norm()) < 0.05 * float(q.grad.norm())


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="precision: fp16 is for GPUs, and this process computes on"):
        run_phases(fresh(), TASK, [Phase.model_validate(phase(1, precision="fp16"))], seed=0, stage="dense")


class Scaler:
    """What the loop asks of torch's scaler, whose own works on GPUs alone."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def scale(self, loss: Tensor) -> Tensor:
        return loss * 1024.0

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        self.calls.append("unscale")
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 1024.0

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        self.calls.append("step")
        optimizer.step()

    def update(self) -> None:
        self.calls.append("update")


def test_penalties_and_clipping_see_gradients_that_are_no_longer_scaled() -> None:
    model, plain = fresh(), fresh()
    scaler: Any = Scaler()
    scaled = Gradients(model, model, cross_entropy, Processes(), "float32", 1, scaler)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaled.add(batch(8))
    computed(plain, batch(8))

    def change() -> None:
        scaler.calls.append("change")
        for a, b in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.equal(a.grad, b.grad)  # a power of two rounds nothing

    scaled.step(optimizer, change)
    assert scaler.calls == ["unscale", "change", "step", "update"]


def trained(epochs: int = 2, **settings: Any) -> tuple[nn.Module, Pruner, list[EpochRecord]]:
    model = fresh()
    pruner = Pruner(model)
    pruner.prune(GlobalDensity(0.4))
    phases = [Phase.model_validate(phase(epochs, **settings))]
    return model, pruner, run_phases(model, TASK, phases, seed=0, stage="round-01", pruner=pruner)


@pytest.mark.parametrize(("settings", "near"), [({"accumulate": 4}, 1e-5), ({"precision": "bf16"}, 0.05)])
def test_a_phase_ends_where_the_plain_one_does_and_stays_pruned(
    settings: dict[str, Any], near: float
) -> None:
    (_, _, plain), (model, pruner, found) = trained(), trained(**settings)
    assert [record.loss for record in found] == pytest.approx([r.loss for r in plain], rel=near)
    assert found[-1].validation_loss == pytest.approx(plain[-1].validation_loss, rel=near)
    assert pruner.report().revived == 0
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_a_compiled_phase_computes_the_same_and_keeps_its_names() -> None:
    # All steps of one size, lest each size is compiled.
    (_, _, plain), (model, pruner, found) = (trained(1, batch_size=40, compile=c) for c in (False, True))
    assert [record.loss for record in found] == pytest.approx([r.loss for r in plain], rel=1e-5)
    assert list(model.state_dict()) == list(fresh().state_dict())
    assert pruner.report().revived == 0
    assert math.isfinite(found[-1].validation_loss)
