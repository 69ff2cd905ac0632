"""Masked gradients come to the same as enforcement in full, bit by bit, and give way where they would not."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from secateur.pruning.criteria import Density, GlobalDensity
from secateur.pruning.enforcement import make_factors
from secateur.pruning.gradual import Gradual
from secateur.pruning.masks import Masks
from secateur.pruning.pruner import Pruner
from secateur.pruning.schedules import Cubic
from secateur.pruning.stepping import FULL_EVERY, StepGuard, leaves_zeros_alone
from tests.pruning.training import assert_pruned, batches, network, step

Parameters = Iterable[Any]
Make = Callable[[Parameters], Optimizer]
Meddle = Callable[[nn.Sequential, Optimizer, Pruner, int], object]


def nothing(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del model, optimizer, pruner, number


@st.composite
def optimizers(draw: st.DrawFn) -> Make:
    implementation = draw(st.sampled_from([{}, {"foreach": True}, {"foreach": False}, {"fused": True}]))
    decay = draw(st.sampled_from([0.0, 0.1]))
    maximize = draw(st.booleans())
    kind = draw(st.sampled_from([torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW]))
    if kind is torch.optim.SGD:
        momentum = draw(st.sampled_from([0.0, 0.9]))
        nesterov = momentum > 0 and draw(st.booleans())
        own: dict[str, Any] = {
            "momentum": momentum,
            "nesterov": nesterov,
            "dampening": 0.0 if nesterov else draw(st.sampled_from([0.0, 0.5])),
        }
    else:
        own = {"amsgrad": draw(st.booleans())}
        if kind is torch.optim.Adam:
            own["decoupled_weight_decay"] = draw(st.booleans())
    return lambda p: kind(p, lr=0.05, weight_decay=decay, maximize=maximize, **own, **implementation)


def groups(model: nn.Sequential, several: bool) -> list[Any]:
    if not several:
        return list(model.parameters())
    rest = [*model[0].parameters(), *model[1].parameters()]
    return [{"params": [*model[3].parameters()], "lr": 0.01}, {"params": rest, "weight_decay": 0.01}]


def trained(
    make: Make, *, full: bool, several: bool = False, steps: int = 6, every: int = 1, meddle: Meddle = nothing
) -> tuple[nn.Sequential, Optimizer, Pruner]:
    """A network after some steps; every step is enforced in full where somebody else has a hook on it."""
    model = network()
    optimizer = make(groups(model, several))
    if full:
        optimizer.register_step_pre_hook(lambda *_: None)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    for number, (inputs, targets) in enumerate(batches(steps * every), start=1):
        nn.functional.mse_loss(model(inputs), targets).backward()
        if number % every == 0:
            optimizer.step()
            assert_zero(pruner, model, optimizer)
            optimizer.zero_grad()
            meddle(model, optimizer, pruner, number // every)
    return model, optimizer, pruner


def assert_zero(pruner: Pruner, model: nn.Module, optimizer: Optimizer) -> None:
    for name, mask in pruner.masks.items():
        weight = model.get_parameter(name)
        states = [
            value for value in optimizer.state[weight].values() if getattr(value, "shape", None) == mask.shape
        ]
        for tensor in (weight, *states):
            assert not tensor[~mask].any()


def assert_same(
    one: tuple[nn.Sequential, Optimizer, Pruner], other: tuple[nn.Sequential, Optimizer, Pruner]
) -> None:
    assert one[2].masks == other[2].masks
    for left, right in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(left, right)
        assert one[1].state[left].keys() == other[1].state[right].keys()
        for key, value in one[1].state[left].items():
            twin = other[1].state[right][key]
            assert value is twin or torch.equal(torch.as_tensor(value), torch.as_tensor(twin))


def masks_gradients(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner) -> bool:
    """Whether one more step masks the gradients, which shows in them; pruned weights are zero either way."""
    optimizer.zero_grad()
    inputs, targets = next(batches(1, seed=9))
    nn.functional.mse_loss(model(inputs), targets).backward()
    optimizer.step()
    assert_zero(pruner, model, optimizer)
    gradient = model[0].weight.grad
    assert gradient is not None
    return not gradient[~pruner.masks["0.weight"]].any()


@settings(max_examples=40, deadline=None)
@given(make=optimizers(), several=st.booleans(), every=st.sampled_from([1, 3]))
def test_trajectories_are_those_of_full_enforcement(make: Make, several: bool, every: int) -> None:
    masked = trained(make, full=False, several=several, every=every)
    full = trained(make, full=True, several=several, every=every)
    assert_same(masked, full)
    assert masks_gradients(*masked)
    assert not masks_gradients(*full)


def prune_further(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del model, optimizer
    if number == 3:
        pruner.prune(Density(0.1))


def cut_gradually(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del model, optimizer
    if number == 1:
        pruner.prune_gradually(Gradual(Cubic(0.1, initial=0.25), begin=2, end=6, every=2, criterion=Density))


def reload_states(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    if number == 3:
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        model.load_state_dict(copy.deepcopy(model.state_dict()))
        pruner.load_state_dict(pruner.state_dict())


def load_dense_states(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del pruner
    state = optimizer.state_dict()
    if number == 3:
        for values in state["state"].values():
            for key, value in values.items():
                if isinstance(value, Tensor) and value.dim():
                    values[key] = value + 1
        optimizer.load_state_dict(state)
        model.load_state_dict({key: value + 1 for key, value in model.state_dict().items()})


def write_to_weights(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del optimizer, pruner
    if number % 2:
        with torch.no_grad():
            model[3].weight.add_(0.5)


def write_to_states(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del pruner
    if number == 2:
        for value in optimizer.state[model[0].weight].values():
            if isinstance(value, Tensor) and value.dim():
                value.add_(0.5)


def replace_states(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del pruner
    if number % 2:
        state = optimizer.state[model[0].weight]
        for key in [key for key, value in state.items() if isinstance(value, Tensor) and value.dim()]:
            state[key] = state[key] + 0.5


def replace_data_twice(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    # As weight swapping does; the second may come to lie where the first one was.
    del optimizer, pruner, number
    model[0].weight.data = model[0].weight.data + 0.3
    model[0].weight.data = model[0].weight.data - 0.1


def freeze_and_thaw(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del optimizer, pruner
    model[0].weight.requires_grad_(number not in (2, 3))


def leave_a_layer_out_now_and_then(
    model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int
) -> None:
    del optimizer, pruner
    model[0].weight.requires_grad_(number % 3 != 0)
    if number % 2:
        with torch.no_grad():
            model[0].weight.add_(0.5)


def change_settings_and_write(
    model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int
) -> None:
    # One write to a weight more, where the step may make one less of its own.
    del pruner
    if number in (4, 6):
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.1 * (number == 6)
            group["momentum"] = 0.0
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.5)


def gradients_to_zero(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int) -> None:
    del pruner, number
    optimizer.step()  # without gradients: the living weights may move by momentum, the pruned ones not
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.zero_grad(set_to_none=False)


MEDDLERS: dict[str, Meddle] = {
    function.__name__: function
    for function in (
        prune_further,
        cut_gradually,
        reload_states,
        load_dense_states,
        write_to_weights,
        write_to_states,
        replace_states,
        replace_data_twice,
        freeze_and_thaw,
        leave_a_layer_out_now_and_then,
        change_settings_and_write,
        gradients_to_zero,
    )
}


@pytest.mark.parametrize("meddle", MEDDLERS.values(), ids=MEDDLERS.keys())
@settings(max_examples=8, deadline=None)
@given(make=optimizers())
def test_so_they_are_where_somebody_meddles_between_steps(meddle: Meddle, make: Make) -> None:
    masked = trained(make, full=False, steps=9, meddle=meddle)
    assert_same(masked, trained(make, full=True, steps=9, meddle=meddle))


def sgd(parameters: Parameters) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def test_gradients_are_masked_in_place_and_only_at_pruned_places() -> None:
    model, optimizer, pruner = trained(sgd, full=False)
    inputs, targets = next(batches(1))
    nn.functional.mse_loss(model(inputs), targets).backward()
    weight, mask = model[0].weight, pruner.masks["0.weight"]
    gradient, before = weight.grad, weight.grad.clone()
    assert before.all()
    optimizer.step()
    assert weight.grad is gradient
    assert torch.equal(gradient, before * mask)


def test_clipping_before_the_step_sees_all_gradients() -> None:
    norms = []
    for full in (False, True):
        model, optimizer, _ = trained(sgd, full=full)
        for inputs, targets in batches(3, seed=4):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.1).item())
            optimizer.step()
    assert norms[:3] == norms[3:]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_steps_that_mixed_precision_skips(kind: type[Optimizer], fused: bool) -> None:
    found = []
    for full in (False, True):
        model, optimizer, pruner = trained(lambda p: kind(p, lr=0.1, fused=fused), full=full)  # type: ignore[call-arg]
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for index, (inputs, targets) in enumerate(batches(6, seed=3)):
            optimizer.zero_grad()
            scaler.scale(nn.functional.mse_loss(model(inputs), targets)).backward()
            if index in (1, 2):
                model[0].weight.grad.fill_(math.inf)
            scaler.step(optimizer)
            scaler.update()
            assert_zero(pruner, model, optimizer)
        assert scaler.get_scale() == 2.0
        found.append((model, optimizer, pruner))
    assert_same(*found)


def test_a_write_through_data_is_undone_after_some_steps_at_the_latest() -> None:
    model, optimizer, pruner = trained(sgd, full=False, steps=FULL_EVERY + 3)
    model[0].weight.data.add_(1.0)  # PyTorch counts no version here
    assert pruner.report().revived == 54
    taken = 0
    while pruner.report().revived:
        step(model, optimizer, next(batches(1)))
        taken += 1
    assert taken <= FULL_EVERY
    assert_pruned(pruner, model, optimizer)
    model[0].weight.data.add_(1.0)
    pruner.enforce()
    assert pruner.report().revived == 0


def _closure(model: nn.Sequential) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        model.zero_grad()
        inputs, targets = next(batches(1))
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("name", ["positional", "keyword"])
def test_closures_compute_gradients_anew(name: str) -> None:
    model, optimizer, pruner = trained(sgd, full=False)
    closure = _closure(model)
    for _ in range(2):
        optimizer.step(closure) if name == "positional" else optimizer.step(closure=closure)
        assert_pruned(pruner, model, optimizer)
    optimizer.step(None) if name == "positional" else optimizer.step(closure=None)
    assert_pruned(pruner, model, optimizer)


def test_hooks_of_others_may_write_to_weights_and_gradients_unseen() -> None:
    model, optimizer, pruner = trained(sgd, full=False)

    def revive(*_: object) -> None:
        with torch.no_grad():
            model[0].weight.add_(1.0)
            model[0].weight.grad.fill_(1.0)

    # Before the step and after our own hook; gone again, gradients are masked once more.
    assert masks_gradients(model, optimizer, pruner)
    handle = optimizer.register_step_pre_hook(revive)
    assert not masks_gradients(model, optimizer, pruner)
    handle.remove()
    assert masks_gradients(model, optimizer, pruner)
    pruner.detach()
    handle = optimizer.register_step_post_hook(revive)  # after the step and before our own hook
    pruner.attach(optimizer)
    assert not masks_gradients(model, optimizer, pruner)
    handle.remove()
    handle = register_optimizer_step_post_hook(lambda *_: None)
    assert not masks_gradients(model, optimizer, pruner)
    handle.remove()
    assert masks_gradients(model, optimizer, pruner)


def give_gradients_of_inference_mode(
    model: nn.Sequential, optimizer: Optimizer, pruner: Pruner, number: int
) -> None:
    # The second weight's: the first one's gradient is masked before it is found.
    del pruner
    for each in model.parameters():
        each.grad = torch.full_like(each, 0.1)
    with torch.inference_mode():
        model[3].weight.grad = torch.full_like(model[3].weight, 0.1 * number)
    optimizer.step()
    for each in model.parameters():
        each.grad = None


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam], ids=lambda kind: kind.__name__)
def test_steps_with_a_gradient_nobody_may_write_to(kind: type[Optimizer]) -> None:
    make: Make = lambda p: kind(p, lr=0.05, weight_decay=0.1)  # type: ignore[call-arg]  # noqa: E731
    masked = trained(make, full=False, meddle=give_gradients_of_inference_mode)
    assert_same(masked, trained(make, full=True, meddle=give_gradients_of_inference_mode))
    give_gradients_of_inference_mode(*masked, 1)
    assert_zero(masked[2], *masked[:2])


class Sum(nn.Module):
    """The weights of two layers, added up: autograd gives both the same gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 4, bias=False)
        self.b = nn.Linear(8, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.a.weight.t() + self.b.weight.t())


@pytest.mark.parametrize("layers", [None, "a"], ids=["both pruned", "one pruned"])
def test_two_parameters_with_one_gradient(layers: str | None) -> None:
    def weights_after_steps(full: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = Sum()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if full:
            optimizer.register_step_pre_hook(lambda *_: None)
        pruner = Pruner(model, optimizer, layers=layers)
        pruner.prune(Density(0.5))
        for _ in range(5):
            inputs = torch.randn(16, 8)
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), inputs[:, :4]).backward()
            optimizer.step()
            assert_zero(pruner, model, optimizer)
        return list(model.parameters())

    for held, enforced in zip(weights_after_steps(full=False), weights_after_steps(full=True), strict=True):
        assert torch.equal(held, enforced)


class _Added(nn.Module):
    """A weight to which others are added that were put together before."""

    def __init__(self, *, parameters: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Linear(8, 4, bias=False)
        self.first = nn.Parameter(torch.randn(2, 8), requires_grad=parameters)
        self.second = nn.Linear(8, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.w.weight.t() + torch.cat([self.first, self.second.weight]).t())


@pytest.mark.parametrize("parameters", [True, False])
@pytest.mark.parametrize("layers", ["w", "second", None])
def test_parameters_that_have_parts_of_one_gradient(parameters: bool, layers: str | None) -> None:
    ends = []
    for full in (False, True):
        model = _Added(parameters=parameters)
        optimizer = sgd(model.parameters())
        if full:
            optimizer.register_step_pre_hook(lambda *_: None)
        Pruner(model, optimizer, layers=layers).prune(Density(0.25))
        for seed in range(5):
            optimizer.zero_grad()
            inputs = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))
            model(inputs).square().mean().backward()
            optimizer.step()
        ends.append([parameter.detach().clone() for parameter in model.parameters()])
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("turned", ["weight", "gradient"])
def test_fused_steps_go_through_memory_as_it_lies(kind: type[Any], turned: str) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 8, 3)
    own = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(model.parameters(), lr=0.01, fused=True, **own)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.4))
    for number in range(6):
        if number == 3 and turned == "weight":
            model.to(memory_format=torch.channels_last)
        optimizer.zero_grad()
        model(torch.randn(2, 3, 6, 6)).square().mean().backward()
        if number == 3 and turned == "gradient":
            model.weight.grad = model.weight.grad.contiguous(memory_format=torch.channels_last)
        optimizer.step()
        assert pruner.report().revived == 0


def test_parameters_that_came_later_are_looked_at_too() -> None:
    model = Sum()
    optimizer = torch.optim.SGD([model.a.weight], lr=0.1)
    pruner = Pruner(model, optimizer, layers="a")
    pruner.prune(Density(0.5))
    for number in range(3):
        if number == 2:
            optimizer.add_param_group({"params": [model.b.weight]})
        optimizer.zero_grad()
        model(torch.ones(2, 8)).sum().backward()
        optimizer.step()
    assert model.b.weight.grad is not None
    assert bool(model.b.weight.grad.all())


def test_a_gradient_is_not_masked_for_another_optimizers_parameter() -> None:
    model = Sum()
    optimizer = torch.optim.SGD([model.a.weight], lr=0.1)
    pruner = Pruner(model, optimizer, layers="a")
    pruner.prune(Density(0.5))
    for _ in range(3):
        model.zero_grad()
        model(torch.ones(2, 8)).sum().backward()
        optimizer.step()
        assert model.b.weight.grad is not None
        assert bool(model.b.weight.grad.all())
        assert_zero(pruner, model, optimizer)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_steps_in_inference_mode(kind: type[Optimizer]) -> None:
    model = nn.Linear(8, 4)
    optimizer = kind(model.parameters(), **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    pruner = Pruner(model, optimizer)
    pruner.prune(GlobalDensity(0.25))
    for _ in range(4):  # the states are of inference mode, and count no writes
        model.zero_grad()
        model(torch.ones(2, 8)).sum().backward()
        with torch.inference_mode():
            optimizer.step()
            assert_zero(pruner, model, optimizer)


def test_a_state_that_appears_between_steps_is_cleared() -> None:
    model, optimizer, pruner = trained(lambda p: torch.optim.SGD(p, lr=0.1), full=False)
    dead = ~pruner.masks["0.weight"]
    assert masks_gradients(model, optimizer, pruner)  # though asking for states has added empty ones
    optimizer.state[model[0].weight]["momentum_buffer"] = torch.ones_like(model[0].weight)
    assert not masks_gradients(model, optimizer, pruner)
    assert not optimizer.state[model[0].weight]["momentum_buffer"][dead].any()


def plain_sgd(parameters: Parameters) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


@pytest.mark.parametrize("learned", [(0, 3), (0,)])
@pytest.mark.parametrize("stepped", [(0,), (3,), ()])
@pytest.mark.parametrize("written", [(0,), (3,), (0, 3)])
def test_a_write_to_a_layer_without_a_gradient(
    learned: tuple[int, ...], stepped: tuple[int, ...], written: tuple[int, ...]
) -> None:
    # A weight without a gradient is not written to by the step.
    model, optimizer, pruner = trained(plain_sgd, full=False)
    batch = next(batches(1))
    for indices, writes in ((learned, ()), (learned, ()), (stepped, written)):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
        for index in {0, 3} - set(indices):
            model[index].weight.grad = None
        with torch.no_grad():
            for index in writes:
                model[index].weight.add_(0.5)
        optimizer.step()
        assert_zero(pruner, model, optimizer)


def test_a_step_that_fails_and_weights_that_come_from_elsewhere() -> None:
    model, optimizer, pruner = trained(plain_sgd, full=False)
    batch = next(batches(1))
    nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
    optimizer.param_groups[0]["lr"] = "soon"
    with pytest.raises(TypeError):
        optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.1
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    step(model, optimizer, batch)
    assert_zero(pruner, model, optimizer)


def test_adam_that_loses_its_eps() -> None:
    model, optimizer, pruner = trained(lambda p: torch.optim.Adam(p, lr=0.05), full=False)
    assert masks_gradients(model, optimizer, pruner)
    optimizer.param_groups[0]["eps"] = 0.0
    step(model, optimizer, next(batches(1)))
    assert_zero(pruner, model, optimizer)  # 0 / 0, had the gradients been masked


def test_a_state_seen_through_another_tensor() -> None:
    # Of the same memory, with a counter of its own.
    model, optimizer, pruner = trained(sgd, full=False)
    state = optimizer.state[model[0].weight]
    state["momentum_buffer"] = state["momentum_buffer"].data
    state["momentum_buffer"].add_(0.5)
    assert not masks_gradients(model, optimizer, pruner)


def load_states(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner) -> None:
    del model, pruner
    states = copy.deepcopy(optimizer.state_dict())
    for state in states["state"].values():
        state["momentum_buffer"].add_(1.0)
    optimizer.load_state_dict(states)


def add_a_second_state(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner) -> None:
    del pruner
    optimizer.state[model[0].weight]["average"] = torch.ones_like(model[0].weight)


def replace_the_entry(model: nn.Sequential, optimizer: Optimizer, pruner: Pruner) -> None:
    del pruner
    optimizer.state[model[0].weight] = {"momentum_buffer": torch.ones_like(model[0].weight)}


@pytest.mark.parametrize("change", [load_states, add_a_second_state, replace_the_entry])
def test_states_that_change_while_weights_stay(
    change: Callable[[nn.Sequential, Optimizer, Pruner], None],
) -> None:
    model, optimizer, pruner = trained(sgd, full=False)
    assert masks_gradients(model, optimizer, pruner)
    change(model, optimizer, pruner)
    assert not masks_gradients(model, optimizer, pruner)
    assert_zero(pruner, model, optimizer)


def test_sparse_gradients() -> None:
    torch.manual_seed(0)
    model = nn.Embedding(9, 4, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer, layers="weight")
    pruner.prune(Density(0.25))
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.tensor([1, 2, 2])).square().sum().backward()
        optimizer.step()
        assert_pruned(pruner, model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-3])
def test_adams_quotient_is_a_number_only_where_eps_is(dtype: torch.dtype, eps: float) -> None:
    weight = nn.Parameter(torch.ones(2, 2, dtype=dtype))
    factors = make_factors({"a": weight}, Masks({"a": torch.eye(2) > 0}))
    for kind in (torch.optim.Adam, torch.optim.AdamW):
        optimizer = kind([weight], lr=0.1, eps=eps)
        alone = eps > 0 and not (dtype == torch.float16 and eps < 1e-4)
        assert leaves_zeros_alone(optimizer, factors) is alone
    assert leaves_zeros_alone(sgd([weight]), factors)


def test_without_eps_weights_are_enforced_after_the_step() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 4)  # nothing dead in it, whose living weights would be 0 / 0 in plain PyTorch too
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, eps=0.0)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    for batch in batches(3):
        step(model, optimizer, batch)
        assert_pruned(pruner, model, optimizer)


class _Own(torch.optim.SGD):
    """Moves weights whatever their gradients are."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter.add_(0.01)
        return loss


def test_of_a_subclass_nothing_is_known() -> None:
    model, optimizer, pruner = trained(lambda p: _Own(p, lr=0.1), full=False)
    assert not masks_gradients(model, optimizer, pruner)


def test_a_pruned_weight_may_be_a_negative_zero_until_the_next_cut() -> None:
    # 0 x -1 is -0.0, which equals zero, computes as zero and is stored as zero.
    model, optimizer, pruner = trained(sgd, full=False)
    dead = ~pruner.masks["0.weight"]
    with torch.no_grad():
        model[0].weight[dead] = -1.0
    step(model, optimizer, next(batches(1)))
    assert model[0].weight[dead].signbit().all()
    assert pruner.report().revived == 0
    pruner.finalize()
    assert not model[0].weight[dead].signbit().any()


def test_what_is_kept_to_compare_with_is_what_is_there() -> None:
    model, optimizer, pruner = trained(sgd, full=False)
    guard = pruner._guard
    assert isinstance(guard, StepGuard)
    buffers = [optimizer.state[model[index].weight]["momentum_buffer"] for index in (0, 3)]
    expected = [id(model[0].weight), id(model[3].weight), *map(id, buffers)]
    assert guard._seen is not None
    assert [id(tensor) for tensor in guard._seen.tensors] == expected
    pruner.detach()
    assert pruner._guard is None
