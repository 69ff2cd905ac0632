from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import ConfigurationError
from secateur.recipes.driver import train_prune_retrain
from secateur.recipes.plan import Plan
from secateur.recipes.rehearsal import check_training, smallest_piece
from secateur.training.phase import Phase
from secateur.training.processes import Processes
from tests.small import Dense, blob_task, phase, plan

TASK = blob_task()
STEP = 32  # images of a step of the plans; the last one of an epoch has 8


class Normalising(Dense):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Sequential(nn.Linear(144, 24), nn.BatchNorm1d(24))  # type: ignore[assignment]  # still a module


class Auxiliary(Dense):
    def forward(self, x: Tensor) -> Any:
        return (super().forward(x), 1) if self.training else super().forward(x)


class Doubling(Dense):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x, x]) if self.training else x)


class Wanting(Dense):
    """Trains on no fewer images than it is asked for."""

    least, most = 8, 1000

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.least <= len(x) <= self.most:
            raise RuntimeError(f"expected {self.least} to {self.most} images")
        return super().forward(x)


class WantingMore(Wanting):
    least = 9


class WantingOne(Wanting):
    least = most = 1


class Uncopied(Dense):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.doubled = 2 * self.fc1.weight


def searched(trial: int, **changes: Any) -> Plan:
    content = plan(**changes).model_dump(exclude={"cut", "rounds"}, exclude_unset=True)
    return Plan.model_validate(
        content | {"target": {"weights": 1000}, "search": {"rounds": 1, "trial": trial}}
    )


@pytest.mark.parametrize(
    ("model", "the_plan", "match"),
    [
        (
            Normalising,
            plan(dense=[phase(batch_size=TASK.train_count - 1)]),
            r"the network Normalising cannot be trained on one image at a time \(Expected more than 1 value "
            r".*, and 200 images in batches of 199, .*; choose another batch_size, so that",
        ),
        (
            Normalising,
            searched(STEP + 1),
            r"\(Expected more than 1 value .*, and 33 images, on which `search: trial` tries a cut out, in "
            r"batches of 32, .*; choose another batch_size or `trial`, so that",
        ),
        (
            Auxiliary,
            plan(),
            r"the network Auxiliary in training mode with a batch of 8: expected a tensor of shape \[8, 4\], "
            "found a tuple; let forward return the outputs alone",
        ),
        (
            Doubling,
            plan(),
            r"in training mode with a batch of 8: expected an output of shape \[8, 4\], .* found \[16, 4\]",
        ),
        (
            WantingMore,
            plan(),
            r"WantingMore in training mode with a batch of 8: it does not run \(RuntimeError: expected 9 to "
            r"1000 images\); let its forward do in training what it does in evaluation",
        ),
    ],
)
def test_what_fails_in_training_alone_is_refused_before(
    tmp_path: Path, model: Callable[[], nn.Module], the_plan: Plan, match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        train_prune_retrain(model, TASK, the_plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "the_plan"),
    [
        (Wanting, plan()),
        (WantingOne, plan(dense=[phase(batch_size=1)], retrain=[phase(batch_size=1)])),
        (Uncopied, plan()),
        (Normalising, searched(STEP + 2)),
        (Normalising, searched(0)),
        (Normalising, plan(dense=[phase(batch_size=TASK.train_count - 2)])),
    ],
)
def test_what_training_will_take_is_not_refused(model: Callable[[], nn.Module], the_plan: Plan) -> None:
    check_training(the_plan, (*the_plan.dense, *the_plan.retrain), model(), TASK, Processes())


def test_a_network_is_left_as_it_was() -> None:
    network = Normalising()
    network.dropout1.eval()
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    check_training(plan(), plan().dense, network, TASK, Processes())
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@given(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60), st.integers(1, 5))
def test_the_smallest_piece_is_that_of_torchs_own_splitting(
    images: int, batch_size: int, pieces: int, processes: int
) -> None:
    one = Phase.model_validate(phase(batch_size=batch_size, accumulate=min(pieces, batch_size)))
    seen = []
    for batch in torch.arange(images).split(batch_size):
        shares = batch.tensor_split(processes) if len(batch) >= processes else [batch]
        for share in shares:
            seen += [len(piece) for piece in share.tensor_split(min(one.accumulate, len(share)))]
    assert smallest_piece(images, one, processes) == min(seen)
