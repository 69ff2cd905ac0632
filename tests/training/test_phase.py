from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import nn

from secateur.errors import ConfigurationError
from secateur.training.phase import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    Inverse,
    LearningRate,
    Phase,
    Sgd,
    Steps,
    make_optimizer,
)
from tests.small import phase


def test_constant_stays() -> None:
    assert {Constant().factor(step, 10) for step in range(10)} == {1.0}


def test_steps_fall_at_their_fractions() -> None:
    factors = [Steps(at=(0.5, 0.8), by=0.1).factor(step, 10) for step in range(10)]
    assert factors == pytest.approx([1] * 5 + [0.1] * 3 + [0.01] * 2)


def test_cosine_by_its_formula() -> None:
    for step in range(8):
        assert Cosine().factor(step, 8) == pytest.approx(0.5 * (1 + math.cos(math.pi * step / 8)))
    assert Cosine(final=0.2).factor(4, 8) == pytest.approx(0.6)


def test_cosine_warms_up_in_equal_steps_to_its_peak() -> None:
    factors = [Cosine(warmup=0.25).factor(step, 16) for step in range(6)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] < 1


def test_cosine_starts_again_with_every_cycle() -> None:
    factors = [Cosine(cycles=3).factor(step, 12) for step in range(12)]
    assert factors == pytest.approx(factors[:4] * 3)
    assert factors[0] == 1.0


def test_inverse_is_caffes() -> None:
    assert Inverse(gamma=0.5, power=2).factor(2, 100) == pytest.approx(0.25)
    assert Inverse().factor(10_000, 1) == pytest.approx(2**-0.75)


@given(
    schedule=st.sampled_from(
        [
            Constant(),
            Steps(at=(0.3,)),
            Cosine(warmup=0.3, cycles=2, final=0.1),
            Cosine(warmup=0.99),
            Inverse(),
        ]
    ),
    steps=st.integers(1, 50),
)
def test_every_factor_is_a_share_of_the_rate(schedule: LearningRate, steps: int) -> None:
    factors = [schedule.factor(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"epochs": -1}, "greater than or equal to 0"),
        ({"epochs": 1.5}, "valid integer"),
        ({"epochs": True}, "valid integer"),
        ({"epochs": "3"}, "valid integer"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"l1": -0.1}, "greater than or equal to 0"),
        ({"l2": float("inf")}, "finite number"),
        ({"epoch": 1}, "there is no such key"),
        ({"optimizer": {"kind": "sgd", "learning_rate": 0.0}}, "greater than 0"),
        ({"optimizer": {"kind": "lion", "learning_rate": 1.0}}, "'sgd', 'adam', 'adamw'"),
        (
            {"optimizer": {"kind": "sgd", "learning_rate": 1.0, "momentum": 0.0, "nesterov": True}},
            "nesterov needs a momentum above 0",
        ),
        ({"schedule": {"kind": "steps", "at": []}}, "at least 1 item"),
        ({"schedule": {"kind": "cosine", "cycles": 0}}, "greater than or equal to 1"),
        ({"precision": "float16"}, "'float32', 'bf16' or 'fp16'"),
        ({"only": []}, "at least 1 item"),
        ({"accumulate": 0}, "greater than or equal to 1"),
        ({"accumulate": 33}, r"accumulate \(33\) must not be above batch_size \(32\)"),
    ],
)
def test_impossible_phases_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        Phase.model_validate(phase() | changes)


def test_what_came_later_and_changes_nothing_does_not_change_a_runs_name() -> None:
    plain, spelt_out = phase(), phase(precision="float32", accumulate=1, compile=False)
    known = Phase.model_validate(plain).model_dump(mode="json")
    assert set(known) == {"epochs", "batch_size", "optimizer", "schedule", "l1", "l2", "only", "clip"}
    assert Phase.model_validate(spelt_out).model_dump(mode="json") == known
    later = {"precision": "bf16", "accumulate": 2, "compile": True}
    changed = Phase.model_validate(plain | later)
    assert changed.model_dump(mode="json") == known | later
    assert Phase.model_validate(changed.model_dump()) == changed


def test_schedules_are_told_apart_by_their_kind() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(LearningRate)
    assert adapter.validate_python({"kind": "inverse", "gamma": 1}) == Inverse(gamma=1.0)


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        (Sgd(learning_rate=0.1, momentum=0.8, nesterov=True), torch.optim.SGD),
        (Adam(learning_rate=0.1), torch.optim.Adam),
        (AdamW(learning_rate=0.1), torch.optim.AdamW),
    ],
)
def test_only_connections_decay(choice: Any, kind: type[torch.optim.Optimizer]) -> None:
    layer = nn.Linear(3, 2)
    optimizer = make_optimizer(choice, 0.5, [layer.weight], [layer.bias])
    assert type(optimizer) is kind
    decayed, plain = optimizer.param_groups
    assert decayed["params"] == [layer.weight]
    assert plain["params"] == [layer.bias]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert decayed["lr"] == plain["lr"] == 0.1
    before = layer.bias.detach().clone(), layer.weight.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.zeros(2, 3), torch.zeros(2)
    optimizer.step()
    assert torch.equal(layer.bias, before[0])
    assert not torch.equal(layer.weight, before[1])


def test_sgd_has_the_momentum_that_was_asked_for() -> None:
    optimizer = make_optimizer(
        Sgd(learning_rate=0.1, momentum=0.8, nesterov=True), 0.0, [nn.Parameter(torch.ones(1))], []
    )
    assert optimizer.param_groups[0]["momentum"] == 0.8
    assert optimizer.param_groups[0]["nesterov"] is True
