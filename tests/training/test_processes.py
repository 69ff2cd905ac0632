from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.errors import CheckpointError, PeerError
from secateur.pruning.criteria import GlobalDensity
from secateur.pruning.masks import Masks
from secateur.pruning.pruner import Pruner
from secateur.training.loop import run_phases
from secateur.training.phase import Phase
from secateur.training.processes import Processes, fingerprints, join, synchronised
from tests.small import Dense, blob_task, phase
from tests.training.peers import together, values


def fresh(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Dense()


def test_one_process_is_alone_and_its_network_is_left_as_it_is() -> None:
    alone = join()
    assert (alone.rank, alone.count, alone.is_first) == (0, 1, True)
    model, tensor = nn.Linear(2, 1), torch.ones(2)
    assert alone.wrap(model, lambda: torch.ones(1, 2)) is model
    assert alone.sum(tensor) is tensor
    alone.check_masks(Masks({"weight": torch.ones(2, 1, dtype=torch.bool)}))
    with pytest.raises(RuntimeError, match="of somebody else's"), alone.noticing():
        raise RuntimeError("of somebody else's gloo/transport")


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1), st.integers(0, 31), st.data())
def test_a_fingerprint_sees_every_bit(values: list[float], bit: int, data: st.DataObject) -> None:
    tensor = torch.tensor(values)
    place = data.draw(st.integers(0, len(values) - 1))
    other = tensor.clone()
    other.view(torch.int32)[place] ^= torch.tensor(1 << bit).to(torch.int32)
    assert fingerprints({"x": tensor}) == fingerprints({"x": tensor.clone()})
    assert fingerprints({"x": tensor}) != fingerprints({"x": other})
    assert fingerprints({"x": tensor}) != fingerprints({"x": tensor[None]})
    assert fingerprints({"x": tensor.view(torch.int32)}) != fingerprints({"x": tensor})


def exchange() -> dict[str, Any]:
    peers = join()
    buffered = nn.BatchNorm1d(2)
    buffered.running_mean.fill_(float(peers.rank))
    peers.share_buffers(buffered)

    def refuse() -> None:
        raise CheckpointError("no such folder")

    try:
        peers.of_first(refuse)
    except CheckpointError as error:
        refused = str(error)
    return {
        "rank": peers.rank,
        "part": peers.part.of(5),
        "first": peers.of_first(lambda: peers.rank),
        "all": peers.gather(peers.rank),
        "sum": float(peers.sum(torch.tensor(0.1 * (peers.rank + 1)))),
        "mean": buffered.running_mean.tolist(),
        "refused": refused,
    }


def test_values_errors_and_tensors_are_exchanged() -> None:
    one, other = values(together(2, exchange))
    assert (one["rank"], other["rank"]) == (0, 1)
    assert (one["part"], other["part"]) == (slice(0, 2), slice(2, 5))
    for told in (one, other):
        assert (told["first"], told["all"], told["mean"]) == (0, [0, 1], [0.0, 0.0])
        assert told["refused"] == "no such folder"
    assert one["sum"] == other["sum"] == pytest.approx(0.3)


class Unused(nn.Module):
    """A network with a head that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


def gradients(kind: str) -> list[torch.Tensor]:
    peers = join()
    torch.manual_seed(0)
    model = {"unused": Unused, "plain": lambda: nn.Linear(3, 2)}[kind]()
    inputs = torch.arange(12.0).reshape(4, 3)
    called = peers.wrap(model, lambda: inputs[:1])
    for _ in range(2):  # unused parameters are noticed in the second step
        model.zero_grad()
        (called(inputs[peers.part.of(4)]) ** 2).mean().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("kind", ["plain", "unused"])
def test_gradients_are_the_mean_over_all_processes_also_past_parameters_that_take_no_part(kind: str) -> None:
    alone = gradients(kind)
    one, other = values(together(2, gradients, kind))
    assert len(alone) == len(one) == len(other) == 2
    for a, b, c in zip(alone, one, other, strict=True):
        assert torch.equal(b, c)
        torch.testing.assert_close(b, a)


def test_synchronised_normalisation_shares_everything_and_is_taken_out_again() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2)), nn.BatchNorm2d(2))
    before, state = list(model.modules()), model.state_dict(keep_vars=True)
    with synchronised(model):
        assert [type(m).__name__ for m in model.modules()].count("SyncBatchNorm") == 2
        inside = model.state_dict(keep_vars=True)
        assert list(inside) == list(state)
        assert all(inside[name].data_ptr() == state[name].data_ptr() for name in state)
    assert list(model.modules()) == before


def normalised() -> tuple[dict[str, str], list[float]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(400, 4))
    phases = [Phase.model_validate(phase(2)), Phase.model_validate(phase(1, only=["4"]))]
    records = run_phases(model, blob_task(), phases, seed=0, stage="dense")
    return fingerprints(model.state_dict()), [record.validation_loss for record in records]


def test_running_statistics_are_the_same_on_every_process() -> None:
    (one, losses), (other, told) = values(together(2, normalised))
    assert one == other
    assert losses == told
    assert losses[1] < losses[0]


def cut(move_on: int | None) -> Masks:
    peers = join()
    model = fresh()
    if peers.rank == move_on:
        with torch.no_grad():
            model.fc2.weight.mul_(3.0)
    return Pruner(model, on_cut=peers.check_masks).prune(GlobalDensity(0.3))


def test_masks_are_the_same_on_every_process() -> None:
    one, other = values(together(2, cut, None))
    assert one == other == Pruner(fresh()).prune(GlobalDensity(0.3))


def test_a_mask_that_differs_ends_the_run_on_every_process_and_is_named() -> None:
    ended = together(3, cut, 2)
    assert [each.kind for each in ended] == ["PeerError"] * 3
    assert len({each.error for each in ended}) == 1
    assert "the masks after a cut: process 2 of 3 differs from process 0 in fc1.weight (" in ended[0].error
    assert "fc2.weight" in ended[0].error
    assert "process 1 of" not in ended[0].error
    assert "Nothing of this cut was kept" in ended[0].error


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (
            "Gloo connectFullMesh failed with [/gloo/transport/pair.cc:553] Connection closed by peer. This",
            PeerError,
            "did not find each other (Gloo connectFullMesh failed with Connection closed by peer). Check",
        ),
        ("a mistake of another kind", RuntimeError, "a mistake of another kind"),
    ],
)
def test_what_goes_wrong_before_processes_have_met(
    monkeypatch: pytest.MonkeyPatch, raised: str, kind: type[Exception], said: str
) -> None:
    def meet(**_: object) -> None:
        raise RuntimeError(raised)

    monkeypatch.setattr("secateur.training.processes.PartialState", meet)
    with pytest.raises(kind, match=re.escape(said)):
        join()


def wait_for(what: str) -> None:
    peers = join()
    if peers.rank == 1 and what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if peers.rank == 1 and what == "failed":
        raise ValueError("a mistake of this process alone")
    if peers.rank == 1 and what == "silent":
        time.sleep(4)
    with peers.noticing():
        peers.gather(peers.rank)


@pytest.mark.parametrize("what", ["killed", "failed", "silent"])
def test_a_process_that_is_gone_is_noticed_by_the_others(what: str) -> None:
    first, lost, other = together(3, wait_for, what, patience=2.0)
    assert first.kind == other.kind == "PeerError"
    assert first.error.startswith("another process of this run has ended or is silent (")
    assert "gloo/transport" not in first.error
    assert "start the same command again" in first.error
    if what == "killed":
        assert lost.status == -signal.SIGKILL
    if what == "failed":
        assert lost.error == "a mistake of this process alone"


def test_an_error_of_its_own_passes_unchanged() -> None:
    with pytest.raises(PeerError, match="mine"), Processes(0, 2).noticing():
        raise PeerError("mine")
    with pytest.raises(RuntimeError, match="size mismatch"), Processes(0, 2).noticing():
        raise RuntimeError("size mismatch")
