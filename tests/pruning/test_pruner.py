"""Pruned weights and their moments are zero after every step, and the rest is untouched."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.errors import (
    CheckpointError,
    ConfigurationError,
    LayerSelectionError,
    MaskError,
    UnreachableTargetError,
)
from secateur.pruning.criteria import Density, GlobalDensity, StdThreshold
from secateur.pruning.gradual import Gradual
from secateur.pruning.masks import Masks
from secateur.pruning.pruner import Pruner
from secateur.pruning.schedules import Cubic
from tests.pruning.training import assert_pruned, batches, network, step

Make = Callable[[Any], Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "SGD nesterov, weight decay": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "SGD foreach": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
    "SGD fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "Adam amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "Adam foreach": lambda p: torch.optim.Adam(p, lr=0.1, foreach=True),
    "Adam fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "AdamW foreach": lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
    "AdamW fused": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
    "RMSprop centered, momentum": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "Adagrad fused": lambda p: torch.optim.Adagrad(p, lr=0.1, fused=True),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.1),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


@every_optimizer
def test_pruned_weights_and_their_moments_are_zero_after_every_step(make: Make) -> None:
    model = network()
    optimizer = make(model.parameters())
    pruner = Pruner(model, optimizer)
    for batch in batches(3):
        step(model, optimizer, batch)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    for density in (0.5, 0.2):
        masks = pruner.prune(GlobalDensity(density))
        assert masks is pruner.masks
        assert masks.kept == round(density * 120)
        for batch in batches(4, seed=2):
            assert_pruned(pruner, model, optimizer)
            step(model, optimizer, batch)
        states = assert_pruned(pruner, model, optimizer)
        assert states == 2 * sum(
            isinstance(value, Tensor) and value.dim() == 2
            for value in optimizer.state[model[0].weight].values()
        )
    assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert model[0].bias.all()
    assert model[1].weight.all()
    assert pruner.steps == 11


@every_optimizer
def test_a_pruner_that_cut_nothing_changes_no_bit(make: Make) -> None:
    plain, watched = network(), network()
    optimizer, other = make(plain.parameters()), make(watched.parameters())
    Pruner(watched, other)
    for batch in batches(5):
        step(plain, optimizer, batch)
        step(watched, other, batch)
    assert all(torch.equal(value, watched.state_dict()[name]) for name, value in plain.state_dict().items())
    for one, two in zip(plain.parameters(), watched.parameters(), strict=True):
        for key, value in optimizer.state[one].items():
            assert value is None or torch.equal(
                torch.as_tensor(value), torch.as_tensor(other.state[two][key])
            )


@every_optimizer
def test_the_living_weights_train_as_if_the_zeros_were_put_there_by_hand(make: Make) -> None:
    model, other = network(), network()
    optimizer, by_hand = make(model.parameters()), make(other.parameters())
    mask = Pruner(model, optimizer, layers="0").prune(Density(0.3))["0.weight"]
    weight = other[0].weight
    with torch.no_grad():
        weight.mul_(mask)
    for batch in batches(4):
        step(model, optimizer, batch)
        step(other, by_hand, batch)
        with torch.no_grad():
            weight.mul_(mask)
            for state in by_hand.state[weight].values():
                if isinstance(state, Tensor) and state.shape == mask.shape:
                    state.mul_(mask)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert model[3].weight.all()


def test_several_parameter_groups() -> None:
    model = network()
    optimizer = torch.optim.SGD(
        [
            {"params": model[3].parameters(), "lr": 0.5, "momentum": 0.0},
            {"params": [*model[0].parameters(), *model[1].parameters()], "weight_decay": 0.1},
        ],
        lr=0.1,
        momentum=0.9,
    )
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    for batch in batches(4):
        step(model, optimizer, batch)
        assert_pruned(pruner, model, optimizer)


def test_an_optimizer_of_some_of_the_layers() -> None:
    model = network()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model[3].parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    frozen = model[0].weight.clone()
    for batch in batches(3):
        step(model, optimizer, batch)
    assert_pruned(pruner, model, optimizer)
    assert torch.equal(model[0].weight, frozen)


def test_gradient_accumulation() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    for index, (inputs, targets) in enumerate(batches(9), start=1):
        nn.functional.mse_loss(model(inputs), targets).backward()
        if index % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()
        assert_pruned(pruner, model, optimizer)
    assert pruner.steps == 3


def test_an_optimizer_that_lacks_a_trainable_weight_is_refused() -> None:
    model = network()
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    second = torch.optim.AdamW(model[3].parameters(), lr=0.1)
    with pytest.raises(ConfigurationError, match=r"this optimizer lacks 3, under .* as `layers=`; freeze"):
        Pruner(model, first)
    pruner = Pruner(model)
    with pytest.raises(ConfigurationError, match="this optimizer lacks 0, under pruning and trainable"):
        pruner.attach(second)
    model[0].requires_grad_(False)
    pruner.attach(second)


@pytest.mark.parametrize("selection", [[nn.Linear(2, 2)], nn.Linear(2, 2), nn.Linear, 0], ids=repr)
def test_layers_are_chosen_by_names(selection: Any) -> None:
    with pytest.raises(
        LayerSelectionError, match=r"layers: expected names or patterns .* found (Linear|int)"
    ):
        Pruner(network(), layers=selection)


@pytest.mark.parametrize("key", ["score", "allocation"])
def test_scores_and_allocations_are_functions(key: str) -> None:
    wrong: dict[str, Any] = {key: "lamp"}
    with pytest.raises(ConfigurationError, match=f"{key}: expected a function .* found 'lamp'"):
        Density(0.5, **wrong)


def test_l_bfgs_is_refused() -> None:
    model = network()
    with pytest.raises(ConfigurationError, match=r"L-BFGS cannot prune.*takes one gradient a step"):
        Pruner(model, torch.optim.LBFGS(model.parameters()))


def _assigned(model: nn.Sequential) -> None:
    model[0].weight = nn.Parameter(torch.zeros_like(model[0].weight))


def _loaded(model: nn.Sequential) -> None:
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)


@pytest.mark.parametrize("replace", [_assigned, _loaded])
def test_parameters_that_were_replaced_are_noticed(replace: Callable[[nn.Sequential], None]) -> None:
    model = network()
    pruner = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    masks = pruner.prune(Density(0.5))
    replace(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for late in (
        pruner.report,
        pruner.finalize,
        lambda: pruner.prune(Density(0.25)),
        lambda: pruner.restrict(masks),
        lambda: pruner.sweep((4,)),
    ):
        with pytest.raises(ConfigurationError, match=r"weights of 0.* were replaced.*make a new Pruner"):
            late()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = Pruner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    again.restrict(masks)
    assert again.report().kept == masks.kept


def test_two_optimizers_with_a_pruner_each() -> None:
    model = network()
    first = torch.optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9)
    second = torch.optim.AdamW(model[3].parameters(), lr=0.1)
    pruners = (Pruner(model, first, layers="0"), Pruner(model, second, layers="3"))
    for pruner in pruners:
        pruner.prune(Density(0.25))
    for inputs, targets in batches(3):
        nn.functional.mse_loss(model(inputs), targets).backward()
        first.step()
        second.step()
    for pruner, optimizer in zip(pruners, (first, second), strict=True):
        assert assert_pruned(pruner, model, optimizer) > 0
        assert pruner.report().revived == 0


def test_a_refused_optimizer_leaves_the_pruner_watching_the_one_before() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    with pytest.raises(ConfigurationError, match="this optimizer lacks 0"):
        pruner.attach(torch.optim.SGD(model[3].parameters(), lr=0.1))
    step(model, optimizer, next(batches(1)))
    assert_pruned(pruner, model)


def test_infinity_at_a_pruned_place_is_counted_and_then_cleared() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    weight, dead = model[0].weight, ~pruner.masks["0.weight"]
    step(model, optimizer, next(batches(1)))
    weight.grad[dead] = math.inf
    hook = optimizer.register_step_pre_hook(lambda *_: None)  # so that it is enforced in full
    optimizer.step()
    hook.remove()
    assert pruner.report().revived == int(dead.sum())
    pruner.attach(optimizer)
    assert pruner.report().revived == 0
    assert_pruned(pruner, model, optimizer)
    step(model, optimizer, next(batches(1)))
    assert_pruned(pruner, model, optimizer)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_step_that_mixed_precision_skips(fused: bool) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    pruner = Pruner(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    pruner.prune(Density(0.25))
    for index, (inputs, targets) in enumerate(batches(6)):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.mse_loss(model(inputs), targets)
        scaler.scale(loss).backward()
        before = copy.deepcopy(model.state_dict())
        if index in (0, 3):
            model[0].weight.grad[0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
        assert_pruned(pruner, model)
        changed = not torch.equal(model[0].weight, before["0.weight"])
        assert changed == (index not in (0, 3))
    assert_pruned(pruner, model, optimizer)
    assert scaler.get_scale() == 2.0


def test_closures() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    inputs, targets = next(batches(1))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        return loss

    first = closure().item()
    for _ in range(3):
        optimizer.step(closure)
        assert_pruned(pruner, model)
    assert closure().item() < first


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_types(dtype: torch.dtype) -> None:
    model = network().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    for inputs, targets in batches(3):
        step(model, optimizer, (inputs.to(dtype), targets.to(dtype)))
    assert_pruned(pruner, model, optimizer)


def test_a_model_that_changes_type_under_the_pruner() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    model.double()
    for inputs, targets in batches(2):
        step(model, optimizer, (inputs.double(), targets.double()))
        assert_pruned(pruner, model, optimizer)


@pytest.mark.parametrize("piece", [1, 20, 30, 1 << 18])
def test_a_large_weight(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr("secateur.pruning.enforcement._LARGE", 60)
    monkeypatch.setattr("secateur.pruning.enforcement._PIECE", piece)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    for batch in batches(3):
        step(model, optimizer, batch)
        assert_pruned(pruner, model, optimizer)


def test_enforce_after_weights_came_from_elsewhere() -> None:
    model = network()
    pruner = Pruner(model)
    pruner.prune(Density(0.5))
    model.load_state_dict(network(seed=5).state_dict())
    assert model[0].weight.all()
    pruner.enforce()
    assert_pruned(pruner, model)


def test_attach_watches_the_new_optimizer_and_lets_the_old_one_go() -> None:
    model = network()
    first = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, first)
    pruner.prune(Density(0.25))
    second = torch.optim.Adam(model.parameters(), lr=0.1)
    pruner.attach(second)
    step(model, second, next(batches(1)))
    assert_pruned(pruner, model, second)
    step(model, first, next(batches(1)))
    assert pruner.steps == 1
    assert model[3].weight.all()
    pruner.attach(first)
    assert_pruned(pruner, model, first)


def test_detach() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    pruner.detach()
    step(model, optimizer, next(batches(1)))
    assert model[3].weight.all()


def test_the_threshold_of_a_second_cut_is_over_the_living() -> None:
    model = network()
    pruner = Pruner(model)
    first = pruner.prune(StdThreshold(0.5))
    second = pruner.prune(StdThreshold(0.5, layers={"3": 0.0}))
    assert second.is_subset_of(first)
    assert second.kept_of("0.weight") < first.kept_of("0.weight")
    assert second.kept_of("3.weight") == first.kept_of("3.weight")


def test_it_says_how_much_lives() -> None:
    pruner = Pruner(network())
    pruner.prune(Density(0.5))
    assert repr(pruner) == "Pruner(Sequential, Masks(2 weights, 60 of 120 kept, density 0.5000), 0 steps)"


def test_a_network_that_was_pruned_before_keeps_its_zeros() -> None:
    first = network()
    before = Pruner(first)
    before.prune(Density(0.3))
    reloaded = network()
    reloaded.load_state_dict(first.state_dict())
    pruner = Pruner(reloaded)
    pruner.restrict(Masks.of_zeros({name: reloaded.get_parameter(name) for name in pruner.masks}))
    assert pruner.masks == before.masks


def test_restrict() -> None:
    model = network()
    pruner = Pruner(model)
    pruner.prune(Density(0.5))
    before = pruner.masks
    mask = torch.rand(4, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    after = pruner.restrict({"3.weight": mask})
    assert torch.equal(after["3.weight"], before["3.weight"] & mask)
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert_pruned(pruner, model)
    with pytest.raises(MaskError, match=r"a mask for 'fc\.weight' but no such weight"):
        pruner.restrict({"fc.weight": mask})
    with pytest.raises(MaskError, match="the mask belongs to another network"):
        pruner.restrict({"3.weight": mask[:1]})
    with pytest.raises(UnreachableTargetError, match="these masks would leave no weight at all in 3, and"):
        pruner.restrict({"3.weight": torch.zeros(4, 12, dtype=torch.bool)})
    assert pruner.masks == after


def test_sweep_removes_dead_neurons_and_keeps_them_so() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(model, optimizer)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[:, 2] = False  # nobody reads neuron 2
    pruner.restrict({"2.weight": mask})
    swept = pruner.sweep((6,))
    assert swept.removed_weights == 6
    assert not pruner.masks["0.weight"][2].any()
    step(model, optimizer, next(batches(1)))
    assert_pruned(pruner, model, optimizer)


def test_report() -> None:
    model = network()
    pruner = Pruner(model)
    pruner.prune(Density(0.25))
    report = pruner.report()
    assert [(row.layer, row.shape, row.weights, row.kept) for row in report.layers] == [
        ("0", (12, 6), 72, 18),
        ("3", (4, 12), 48, 12),
    ]
    assert (report.weights, report.kept, report.layers[0].density) == (120, 30, 0.25)
    lines = str(report).splitlines()
    assert lines[0].split() == ["layer", "shape", "weights", "kept", "kept", "%"]
    assert lines[1].split() == ["0", "12x6", "72", "18", "25.00"]
    assert lines[-1].split() == ["total", "120", "30", "25.00", "4.0x", "fewer"]


def test_the_report_says_what_was_revived_behind_the_pruners_back() -> None:
    model = network()
    first = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, first)
    pruner.prune(Density(0.25))
    assert pruner.report().warning is None
    step(model, torch.optim.SGD(model.parameters(), lr=0.1), next(batches(1)))
    report = pruner.report()
    assert [row.revived for row in report.layers] == [54, 36]
    assert (report.kept, report.revived) == (30, 90)
    last = str(report).splitlines()[-1]
    assert last.startswith("WARNING: 90 pruned weights are not zero, in 0 (54), 3 (36): they were loaded")
    assert "call pruner.enforce(), or pruner.attach(optimizer)" in last
    pruner.enforce()
    assert "WARNING" not in str(pruner.report())


def test_finalize_warns_of_what_was_revived_and_sets_it_to_zero() -> None:
    model = network()
    pruner = Pruner(model)
    pruner.prune(Density(0.25))
    model.load_state_dict(network(seed=5).state_dict())
    with pytest.warns(UserWarning, match=r"finalize\(\) sets them to zero now: 90 pruned weights are not"):
        pruner.finalize()
    assert_pruned(pruner, model)


def test_finalize_lets_go() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    masks = pruner.finalize()
    assert masks == pruner.masks
    assert_pruned(pruner, model)
    assert not model[0].weight[~masks["0.weight"]].signbit().any()
    with pytest.raises(ConfigurationError, match="this pruner was finalized and has let go of the model"):
        pruner.prune(Density(0.1))
    for refused in (
        lambda: pruner.prune_gradually(None),
        lambda: pruner.restrict({}),
        lambda: pruner.sweep((6,)),
        lambda: pruner.attach(optimizer),
        lambda: pruner.load_state_dict(pruner.state_dict()),
    ):
        with pytest.raises(ConfigurationError, match="was finalized"):
            refused()
    step(model, optimizer, next(batches(1)))
    assert model[3].weight.all()


def test_refusals() -> None:
    model, other = network(), network()
    with pytest.raises(ConfigurationError, match="this optimizer holds none of the weights under pruning"):
        Pruner(model, torch.optim.SGD(other.parameters(), lr=0.1))
    with pytest.raises(LayerSelectionError, match="layers: 'fc1' matches nothing; the weights are 0, 3"):
        Pruner(model, layers="fc1")
    pruner = Pruner(model, layers="0")
    with pytest.raises(LayerSelectionError, match="'3' is given a value of its own but matches nothing that"):
        pruner.prune(Density(0.5, layers={"3": 0.1}))
    with pytest.raises(UnreachableTargetError, match="would leave no weight at all in 0"):
        pruner.prune(Density(0.001))
    assert pruner.masks.density == 1.0
    pruner.prune(Density(0.25))
    with pytest.raises(UnreachableTargetError, match="asked to keep 36 of 72 weights but only 18 are alive"):
        pruner.prune(Density(0.5))
    for wrong, message in (
        (
            0.1,
            r"expected StdThreshold, Density or GlobalDensity, found 0\.1; did you mean sc\.Density\(0\.1\)",
        ),
        (Density, r"found <class .*Density'>; did you mean sc\.Density\(0\.1\)"),
        ("0.1", r"expected StdThreshold, Density or GlobalDensity, found '0\.1'$"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            pruner.prune(wrong)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"expected a network \(torch\.nn\.Module\), found generator"
    ):
        Pruner(model.parameters())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"expected an optimizer \(.*\), found generator; give the"):
        Pruner(model, model.parameters())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="counts optimizer steps, and this pruner watches no optimi"):
        pruner.prune_gradually(Gradual(Cubic(0.1), begin=0, end=2))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_of_the_pruner_would_watch_nothing(copied: Callable[[object], object]) -> None:
    pruner = Pruner(network())
    with pytest.raises(ConfigurationError, match=r"cannot be copied or pickled: .* keep its state_dict\(\)"):
        copied(pruner)


def test_load_state_dict_cuts_a_dense_network() -> None:
    model, other = network(), network(seed=1)
    pruner, resumed = Pruner(model), Pruner(other)
    pruner.prune(Density(0.25))
    resumed.load_state_dict(pruner.state_dict())
    assert_pruned(resumed, other)


def test_load_state_dict_refuses_what_is_not_its_own() -> None:
    pruner = Pruner(network())
    wider = Pruner(nn.Sequential(nn.Linear(6, 13), nn.Tanh(), nn.Identity(), nn.Linear(13, 4)))
    before = pruner.masks
    with pytest.raises(
        CheckpointError, match=r"another network or another choice of layers: .* prunes 3\.we"
    ):
        pruner.load_state_dict(Pruner(network(), layers="0").state_dict())
    with pytest.raises(
        CheckpointError, match=r"of another network: mask of '0\.weight': its shape \(13, 6\)"
    ):
        pruner.load_state_dict(wider.state_dict())
    with pytest.raises(
        CheckpointError, match="expected the keys 'masks' and 'steps', found 'model', 'epoch'"
    ):
        pruner.load_state_dict({"model": {}, "epoch": 3})
    with pytest.raises(CheckpointError, match=r"not a pruner's state: .* found none"):
        pruner.load_state_dict({})
    assert pruner.masks == before


def test_every_cut_is_told_of_once_it_is_made() -> None:
    told: list[Masks] = []
    pruner = Pruner(network(), on_cut=told.append)
    assert told == []
    pruned = pruner.prune(GlobalDensity(0.5))
    name, mask = next(iter(pruned.items()))
    restricted = pruner.restrict({name: torch.arange(mask.numel()).reshape(mask.shape) % 3 > 0})
    assert told == [pruned, restricted]
    assert restricted != pruned


def test_a_score_of_another_shape_changes_nothing() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    before = pruner.masks
    with pytest.raises(ConfigurationError, match="a number for every connection"):
        pruner.prune(GlobalDensity(0.05, score=lambda _, weight: weight.norm(dim=1, keepdim=True)))
    for batch in batches(3):
        step(model, optimizer, batch)
    assert pruner.masks == before
    assert_pruned(pruner, model, optimizer)


def test_enforcing_on_weights_that_were_replaced_is_refused() -> None:
    model = network()
    pruner = Pruner(model)
    state = copy.deepcopy(model.state_dict())
    pruner.prune(Density(0.5))
    model.load_state_dict(state, assign=True)
    with pytest.raises(ConfigurationError, match="were replaced by other parameters"):
        pruner.enforce()


@pytest.mark.parametrize("state", [None, "masks"])
def test_a_state_that_is_no_mapping(state: Any) -> None:
    with pytest.raises(CheckpointError, match=f"expected a mapping, found {type(state).__name__}"):
        Pruner(network()).load_state_dict(state)


def test_a_state_that_empties_a_layer_is_refused() -> None:
    pruner = Pruner(network())
    state = pruner.state_dict()
    state["masks"]["0.weight"].zero_()
    with pytest.raises(CheckpointError, match="leaves no weight at all in 0"):
        pruner.load_state_dict(state)
    assert pruner.masks.density == 1.0


@pytest.mark.parametrize("shape", [12, "12", (1.5,)])
def test_sweeping_what_is_no_shape(shape: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected the shape of one example"):
        Pruner(network()).sweep(shape)


def test_states_of_whole_numbers_are_left_alone() -> None:
    class Signs(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            super().step(closure)
            for group in self.param_groups:
                for parameter in group["params"]:
                    self.state[parameter]["sign"] = parameter.grad > 0

    model = network()
    optimizer = Signs(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.5))
    for batch in batches(3):
        step(model, optimizer, batch)
        pruner.prune(Density(0.5))
    assert not model[0].weight[~pruner.masks["0.weight"]].any()
    assert not optimizer.state[model[0].weight]["momentum_buffer"][~pruner.masks["0.weight"]].any()


def test_a_frozen_weight_of_whole_numbers() -> None:
    model = nn.Sequential(nn.Linear(6, 12), nn.Linear(12, 4))
    model[1].weight = nn.Parameter(torch.ones(4, 12, dtype=torch.int8), requires_grad=False)
    optimizer = torch.optim.Adam(model.parameters())
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.5))
    for _ in range(3):
        model[0](torch.ones(2, 6)).sum().backward()
        optimizer.step()
    assert int(model[1].weight.count_nonzero()) == 24
