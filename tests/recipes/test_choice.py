from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import UnreachableTargetError
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.scores import lamp, magnitude
from secateur.pruning.selection import keep_highest, keep_highest_globally
from secateur.recipes.choice import cut_to_error, cut_to_price
from secateur.recipes.price import Milliseconds, PackedBytes, Weights
from secateur.training.evaluation import evaluate
from secateur.training.loop import run_phases
from secateur.training.phase import Phase, Sgd
from tests.small import Dense, blob_task

TASK = blob_task()


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    model = Dense()
    phase = Phase(epochs=8, batch_size=32, optimizer=Sgd(learning_rate=0.05))
    run_phases(model, TASK, [phase], seed=0, stage="dense")
    return model


def full(model: nn.Module) -> Masks:
    return Masks.full(select_weights(model))


@pytest.mark.parametrize("limit", [3000, 1000, 300])
def test_exactly_so_many_weights_are_kept(trained: nn.Module, limit: int) -> None:
    choice = cut_to_price(trained, full(trained), TASK, Weights(), limit)
    assert limit - 1 <= choice.masks.kept <= limit
    assert choice.price == choice.masks.kept


def test_bytes_are_within_the_limit_and_nearly_used_up(trained: nn.Module) -> None:
    choice = cut_to_price(trained, full(trained), TASK, PackedBytes(), 4000)
    assert 0.97 * 4000 < choice.price <= 4000
    assert choice.price == PackedBytes().of(trained, choice.masks)


def test_each_layer_keeps_its_largest_weights_and_the_network_is_left_alone(trained: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    choice = cut_to_price(trained, full(trained), TASK, Weights(), 500)
    for name, weight in select_weights(trained).items():
        assert torch.equal(
            choice.masks[name], keep_highest(magnitude(name, weight), choice.masks.kept_of(name))
        )
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


def test_less_harm_than_the_same_density_everywhere(trained: nn.Module) -> None:
    def loss(masks: Masks) -> float:
        weights = select_weights(trained)
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        masks.apply_(weights)
        found = evaluate(trained, TASK.validation()).loss
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])
        return found

    total = full(trained).total
    for density in (0.3, 0.1):
        even = Masks(
            {
                name: keep_highest(magnitude(name, weight), round(density * weight.numel()))
                for name, weight in select_weights(trained).items()
            }
        )
        choice = cut_to_price(trained, full(trained), TASK, Weights(), round(density * total))
        assert loss(choice.masks) < loss(even)


def test_a_first_cut_goes_as_far_as_the_error_lets_it(trained: nn.Module) -> None:
    weights = select_weights(trained)
    base = evaluate(trained, TASK.validation()).error
    near = cut_to_error(trained, full(trained), TASK, Weights(), 5.0)
    far = cut_to_error(trained, full(trained), TASK, Weights(), 30.0)
    assert far.masks.is_subset_of(near.masks)
    assert far.masks.kept < near.masks.kept < full(trained).total
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    near.masks.apply_(weights)
    assert evaluate(trained, TASK.validation()).error >= base + 5.0
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(before[name])


def test_a_first_cut_is_tried_out_and_goes_no_further_than_asked(trained: nn.Module) -> None:
    whole, tried = full(trained), []

    def trial(masks: Masks) -> float:
        tried.append(masks)
        return -float(masks.kept_of(list(whole)[-1]))  # the one that leaves the last layer the most

    by_scan = cut_to_error(trained, whole, TASK, Weights(), 30.0)
    choice = cut_to_error(trained, whole, TASK, Weights(), 30.0, trial=trial)
    assert choice.price <= by_scan.price
    assert set(choice.trials) == {"scan", "recovery", "lamp", "global"}
    assert choice.masks.kept_of(list(whole)[-1]) == max(
        masks.kept_of(list(whole)[-1]) for masks in tried[-4:]
    )
    least = by_scan.price + 100
    assert least - 2 <= cut_to_error(trained, whole, TASK, Weights(), 30.0, least).price <= least


def timed(model: nn.Module, example: Tensor, threads: int) -> float:
    """Zeros save no time in a layer before 98 % of its weights are gone."""
    del example, threads
    densities = [int(weight.count_nonzero()) / weight.numel() for weight in select_weights(model).values()]
    return sum(min(1.0, density / 0.02) for density in densities) / len(densities)


def test_a_first_cut_that_saves_no_time_is_made_all_the_same(trained: nn.Module) -> None:
    price = Milliseconds(torch.zeros(1, 1), 1, timed)
    whole = full(trained)
    first = cut_to_error(trained, whole, TASK, price, 1.0, trial=lambda masks: float(masks.kept))
    assert first.price == 1.0
    assert 0.02 * whole.total < first.masks.kept < whole.total
    second = cut_to_price(trained, first.masks, TASK, price, 0.75)
    assert 0.65 < second.price <= 0.75


def test_a_network_that_is_measured_within_the_limit_stays_as_it_is(trained: nn.Module) -> None:
    times = iter(
        [1.0, 0.5, 0.5, 0.5]
    )  # as it is and each layer at its lowest point, when the machine was busy
    price = Milliseconds(torch.zeros(1, 1), 1, lambda *_: next(times, 0.8))
    choice = cut_to_price(trained, full(trained), TASK, price, 0.9, trial=lambda masks: float(masks.kept))
    assert (choice.masks, choice.price) == (full(trained), 0.8)


def test_a_second_cut_starts_from_what_lives(trained: nn.Module) -> None:
    first = cut_to_price(trained, full(trained), TASK, Weights(), 1000)
    second = cut_to_price(trained, first.masks, TASK, Weights(), 400)
    assert second.masks.is_subset_of(first.masks)
    assert 399 <= second.masks.kept <= 400


def test_beyond_the_lowest_points_it_stops_there_and_then_refuses(trained: nn.Module) -> None:
    masks = full(trained)
    for _ in range(4):  # 0.01 each time, at least one weight a layer
        choice = cut_to_price(trained, masks, TASK, Weights(), 1)
        assert choice.masks.kept < masks.kept
        masks = choice.masks
        if masks.kept == 3:
            break
    assert masks.kept == 3
    with pytest.raises(UnreachableTargetError, match=r"no layer has a weight left to cut: .* keep 3 weights"):
        cut_to_price(trained, masks, TASK, Weights(), 1)


def test_the_record_of_a_choice_is_plain(trained: nn.Module) -> None:
    content = cut_to_price(trained, full(trained), TASK, Weights(), 1000).to_json()
    assert content.keys() == {"price", "by", "trials", "left", "scan", "kept"}
    assert sum(content["kept"].values()) == content["price"]
    assert content["scan"]["layers"][0]["layer"] == "fc1"


@pytest.mark.parametrize("winner", ["scan", "recovery", "lamp", "global"])
@pytest.mark.parametrize(("price", "limit"), [(Weights(), 700), (PackedBytes(), 4000)])
def test_of_allocations_of_one_price_the_best_one_in_a_trial_is_taken(
    trained: nn.Module, winner: str, price: Weights, limit: int
) -> None:
    tried: list[Masks] = []
    names = ("uncut", "fc1", "fc2", "fc3", "scan", "recovery", "lamp", "global")
    after = {"uncut": 1.0, "fc1": 1.1, "fc2": 2.0, "fc3": 1.0}

    def trial(masks: Masks) -> float:
        tried.append(masks)
        name = names[len(tried) - 1]
        return after.get(name, float(name != winner))

    alive = full(trained)
    choice = cut_to_price(trained, alive, TASK, price, limit, trial)
    by_name = dict(zip(names, tried, strict=True))
    assert by_name["uncut"] == alive
    for layer in ("fc1", "fc2", "fc3"):
        alone = by_name[layer]
        whole = [name for name in alive if alone.kept_of(name) == alive.kept_of(name)]
        assert whole == [name for name in alive if name != f"{layer}.weight"]
    for name in ("scan", "recovery", "lamp", "global"):
        assert 0.97 * limit < price.of(trained, by_name[name]) <= limit
    weights = select_weights(trained)
    assert by_name["lamp"] == keep_highest_globally(weights, lamp, by_name["lamp"].kept)
    assert by_name["global"] == keep_highest_globally(weights, magnitude, by_name["global"].kept)
    # Retraining left ten times as much of the harm in fc2 as in fc1, and nothing in fc3 but noise.
    more = by_name["recovery"].kept_of("fc2.weight") / by_name["scan"].kept_of("fc2.weight")
    assert more >= by_name["recovery"].kept_of("fc1.weight") / by_name["scan"].kept_of("fc1.weight")
    assert choice.left.keys() == {"fc1", "fc2", "fc3"}
    assert choice.masks == by_name[winner]
    assert choice.by == winner
    assert choice.trials == {name: float(name != winner) for name in names[4:]}
    assert choice.price == price.of(trained, choice.masks)
