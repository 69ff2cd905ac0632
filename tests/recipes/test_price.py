from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.analysis.sensitivity import scan_counts
from secateur.format.packing import pack
from secateur.pruning.criteria import Density, compute_masks
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.scores import magnitude
from secateur.recipes.price import (
    Milliseconds,
    PackedBytes,
    Weights,
    layer_prices,
    price_of,
    program_milliseconds,
)
from secateur.recipes.target import MaxBytes, MaxError, MaxErrorIncrease, MaxMilliseconds, MaxWeights
from tests.analysis.test_sensitivity import labelled
from tests.small import SIDE, Conv, Dense

BIASES = 24 + 16 + 4


def pruned(model: nn.Module, density: float, **only: float) -> Masks:
    weights = select_weights(model)
    return compute_masks(weights, Density(density, only))


def by_nonzeros(model: nn.Module, example: Tensor, threads: int) -> float:
    """A timer for tests: a microsecond a living weight and image, and ten for the start."""
    living = sum(int(weight.count_nonzero()) for weight in select_weights(model).values())
    return (10 + living * len(example) / threads) / 1000


def test_weights_are_those_of_the_whole_network() -> None:
    model = Dense()
    masks = pruned(model, 0.25)
    assert Weights().of(model, masks) == masks.kept
    part = Masks({"fc1.weight": masks["fc1.weight"]})  # the other layers are excluded
    assert Weights().of(model, part) == masks.kept_of("fc1.weight") + 24 * 16 + 16 * 4


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 0.03])
def test_bytes_are_those_of_the_smallest_layouts_and_of_the_rest(density: float) -> None:
    torch.manual_seed(0)
    for model in (Dense(), Conv()):
        masks = pruned(model, density)
        weights = select_weights(model)
        masks.apply_(weights)
        expected = 4 * sum(bias.numel() for name, bias in model.named_parameters() if name.endswith("bias"))
        for weight in weights.values():
            layout = pack(weight.detach().numpy()).layout
            expected += sum(part.nbytes for part in vars(layout).values() if isinstance(part, np.ndarray))
        assert PackedBytes().of(model, masks) == expected


def test_excluded_layers_cost_their_dense_bytes() -> None:
    model = Dense()
    part = Masks({"fc1.weight": pruned(model, 0.1)["fc1.weight"]})
    alone = PackedBytes().of_layer(part["fc1.weight"])
    assert PackedBytes().of(model, part) == alone + 4 * (BIASES + 24 * 16 + 16 * 4)


def test_time_is_measured_on_the_network_with_its_zeros_which_is_put_back() -> None:
    model = Dense()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masks = pruned(model, 0.1)
    price = Milliseconds(torch.zeros(4, 1, SIDE, SIDE), 2, by_nonzeros)
    assert price.of(model, masks) == (10 + masks.kept * 4 / 2) / 1000
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("target", "spent_on", "expected"),
    [
        (MaxErrorIncrease(max_error_increase=0.0), "weights", Weights()),
        (MaxError(error=1.0), "bytes", PackedBytes()),
        (MaxWeights(weights=10), "bytes", Weights()),
        (MaxBytes(bytes=10), "weights", PackedBytes()),
    ],
)
def test_what_a_target_saves(target: MaxError, spent_on: str, expected: object) -> None:
    assert price_of(target, spent_on, torch.zeros, by_nonzeros) == expected


def test_a_time_budget_is_measured_at_its_batch_and_threads() -> None:
    target = MaxMilliseconds(milliseconds=1.0, batch=5, threads=2)
    price = price_of(target, "weights", torch.ones, by_nonzeros)
    assert isinstance(price, Milliseconds)
    assert (price.example.tolist(), price.threads) == ([1.0] * 5, 2)


@pytest.mark.parametrize(
    "price", [Weights(), PackedBytes(), Milliseconds(torch.zeros(1, 1, SIDE, SIDE), 1, by_nonzeros)]
)
def test_points_of_a_scan_cost_what_the_network_costs_with_them(price: Weights) -> None:
    torch.manual_seed(0)
    model = Dense()
    alive = pruned(model, 0.5)
    alive.apply_(model)
    counts = {name: [alive.kept_of(name), alive.kept_of(name) // 2, 3] for name in alive}
    scan = scan_counts(model, *labelled(8, 1, SIDE, SIDE), counts, alive=alive)
    prices = layer_prices(price, model, alive, scan.layers, magnitude)
    now, weights = price.of(model, alive), select_weights(model)
    for layer in scan.layers:
        name = layer.parameter
        for point in layer.points:
            density = {name: point.kept / layer.weights}
            mask = compute_masks({name: weights[name]}, Density(1.0, density), Masks({name: alive[name]}))
            exact = price.of(model, Masks({**alive, **mask}))
            difference = prices[name][alive.kept_of(name)] - prices[name][point.kept]
            assert now - exact == pytest.approx(difference, rel=1e-6, abs=1e-9)


def test_a_compiled_program_is_timed() -> None:
    model = Dense().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    milliseconds = program_milliseconds(model, torch.zeros(2, 1, SIDE, SIDE), threads=1)
    assert 0 < milliseconds < 100
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
