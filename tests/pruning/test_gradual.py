"""A cut that grows inside one training run, and when it is refused."""

import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from secateur.errors import ConfigurationError, UnreachableTargetError
from secateur.pruning.criteria import Density, GlobalDensity, StdThreshold
from secateur.pruning.gradual import Gradual
from secateur.pruning.pruner import Pruner
from secateur.pruning.schedules import Cubic, GrowingQuality, Linear
from tests.pruning.training import assert_pruned, batches, network, step

GRADUAL = Gradual(Cubic(0.1), begin=2, end=11, every=3, criterion=Density)


def test_a_gradual_cut_follows_its_schedule() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    pruner = Pruner(model, optimizer)
    pruner.prune_gradually(GRADUAL)
    kept = []
    for batch in batches(14):
        step(model, optimizer, batch)
        assert_pruned(pruner, model, optimizer)
        kept.append(pruner.masks.kept)
    first, second = (
        round(Cubic(0.1)(progress) * 72) + round(Cubic(0.1)(progress) * 48) for progress in (1 / 3, 2 / 3)
    )
    assert kept == [120] * 4 + [first] * 3 + [second] * 3 + [12] * 4


def test_a_gradual_cut_ends_exactly_where_the_step_does_not_divide() -> None:
    gradual = Gradual(Cubic(0.3), begin=0, end=5, every=2)
    asked = [gradual.criterion_at(step) for step in range(8)]
    assert [step for step, criterion in enumerate(asked) if criterion is not None] == [2, 4, 5]
    assert asked[5] == GlobalDensity(0.3)


def test_a_gradual_cut_of_the_threshold() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    pruner = Pruner(model, optimizer)
    weight = model[3].weight.detach().clone()
    pruner.prune_gradually(Gradual(GrowingQuality(0.4), begin=0, end=1, criterion=StdThreshold))
    step(model, optimizer, next(batches(1)))
    assert torch.equal(pruner.masks["3.weight"], weight.abs() >= 0.4 * weight.double().std(correction=0))


def test_a_gradual_cut_can_be_stopped() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune_gradually(Gradual(Cubic(0.1), begin=0, end=4))
    for index, batch in enumerate(batches(4)):
        if index == 2:
            pruner.prune_gradually(None)
        step(model, optimizer, batch)
    assert pruner.masks.kept == round(Cubic(0.1)(0.5) * 120)


@pytest.mark.parametrize(("begin", "end", "every"), [(-1, 3, 1), (3, 3, 1), (0, 3, 0), (0, 7.5, 1)])
def test_refuses_a_gradual_cut_that_cannot_be(begin: int, end: Any, every: int) -> None:
    with pytest.raises(ConfigurationError, match=f"found begin={begin}, end={end}, every={every}"):
        Gradual(Cubic(0.1), begin=begin, end=end, every=every)


@pytest.mark.parametrize("interrupted", [1, 4, 5, 9, 12])
def test_a_resumed_run_is_bitwise_the_same(interrupted: int) -> None:
    def started() -> tuple[nn.Module, Optimizer, Pruner]:
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
        pruner = Pruner(model, optimizer)
        return model, optimizer, pruner

    data = list(batches(14))
    model, optimizer, pruner = started()
    pruner.prune_gradually(GRADUAL)
    file = io.BytesIO()
    for index, batch in enumerate(data):
        if index == interrupted:
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "pruner": pruner.state_dict(),
                },
                file,
            )
        step(model, optimizer, batch)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, other, resumed = started()
    again.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["pruner"])
    resumed.prune_gradually(GRADUAL)
    for batch in data[interrupted:]:
        step(again, other, batch)
    assert resumed.masks == pruner.masks
    assert resumed.steps == pruner.steps == 14
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def training() -> tuple[nn.Module, Optimizer, Pruner]:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return model, optimizer, Pruner(model, optimizer)


@pytest.mark.parametrize(
    ("begin", "end", "every"), [(0, 5, 2), (2, 11, 3), (0, 10, 10), (3, 4, 9), (0, 6, 1), (5, 9, 100)]
)
def test_the_next_step_is_the_next_that_is_due(begin: int, end: int, every: int) -> None:
    gradual = Gradual(Cubic(0.1), begin, end, every)
    due = [step for step in range(end + 3) if gradual.criterion_at(step) is not None]
    for done in range(end + 3):
        assert gradual.next_step(done) == next((step for step in due if step > done), None)


@pytest.mark.parametrize("criterion", [Density, GlobalDensity, StdThreshold])
def test_refuses_a_gradual_cut_whose_steps_are_over(criterion: type[Density]) -> None:
    model, optimizer, pruner = training()
    for batch in batches(4):
        step(model, optimizer, batch)
    with pytest.raises(
        ConfigurationError,
        match=r"ends after step 4, but the pruner has seen 4 steps already, .* begin=4, end=7 starts it now",
    ):
        pruner.prune_gradually(Gradual(lambda _: 0.5, begin=1, end=4, criterion=criterion))
    pruner.prune_gradually(Gradual(lambda _: 0.5, begin=1, end=5, criterion=criterion))
    step(model, optimizer, next(batches(1)))
    assert pruner.masks.density < 1.0
    # Over, and what it asked for is there: as after a run that is taken up again.
    pruner.prune_gradually(Gradual(lambda _: 0.5, begin=1, end=5, criterion=criterion))


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (GlobalDensity, r"after step 1, cannot be had: asked to keep 96 .* Cubic\(final, initial=0\.3\)"),
        (Density, r"layer '0': asked to keep 57 .* Cubic\(final, initial=0\.291667\)"),
    ],
)
def test_refuses_at_once_what_the_first_cut_could_not_have(criterion: type[Density], message: str) -> None:
    model, optimizer, pruner = training()
    pruner.prune(Density(0.3))
    with pytest.raises(UnreachableTargetError, match=message):
        pruner.prune_gradually(Gradual(Cubic(0.25), begin=0, end=10, criterion=criterion))
    pruner.prune_gradually(Gradual(Cubic(0.25, initial=0.29), begin=0, end=10, criterion=criterion))
    for batch in batches(10):
        step(model, optimizer, batch)
    assert pruner.masks.kept == 30


def test_refuses_what_is_no_gradual_cut() -> None:
    _, _, pruner = training()
    with pytest.raises(ConfigurationError, match=r"expected Gradual\(.*\) or None, found Cubic\(final=0\.1"):
        pruner.prune_gradually(Cubic(0.1))  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"expected StdThreshold, Density or GlobalDensity, found 0\.7"
    ):
        pruner.prune_gradually(Gradual(Cubic(0.1), 0, 10, criterion=lambda value: value))  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigurationError, match=r"schedule is something to be called, .* found 0\.1"):
        Gradual(0.1, 0, 10)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"criterion is something to be called, .* found Density\("):
        Gradual(Cubic(0.1), 0, 10, criterion=Density(0.1))  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match="GrowingQuality is a schedule of the quality parameter, and"
    ):
        Gradual(GrowingQuality(2.0), 0, 10)


@pytest.mark.parametrize("criterion", [GlobalDensity, Density])
def test_a_last_cut_that_would_empty_a_layer_is_refused_before_the_first(criterion: type[Density]) -> None:
    model = network()
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(UnreachableTargetError, match=r"\(0.003\) would leave"):
        pruner.prune_gradually(Gradual(Cubic(0.003), begin=0, end=100, criterion=criterion))


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_mixed_precision_skips_are_not_counted(fused: bool) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    pruner = Pruner(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    for number, (inputs, _) in enumerate(batches(4)):
        if number == 2:
            pruner.prune_gradually(Gradual(Linear(0.2), begin=0, end=4, every=2))
        optimizer.zero_grad()
        loss = model(inputs).square().mean() * (1.0 if number == 0 else float("inf"))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert pruner.steps == pruner.state_dict()["steps"] == 1
    assert pruner.masks.density == 1.0


def test_a_pruner_that_goes_back_to_an_earlier_step_goes_on_cutting() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune_gradually(Gradual(Linear(0.2), begin=0, end=4))
    beginning = pruner.state_dict()
    for _ in range(2):
        for batch in batches(4):
            step(model, optimizer, batch)
        assert pruner.masks.density == pytest.approx(0.2, abs=0.01)
        pruner.load_state_dict(beginning)
