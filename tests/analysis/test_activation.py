from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.analysis.activation import (
    TableRow,
    activation_densities,
    flop_fraction,
    layer_table,
    total_row,
)
from secateur.analysis.costs import LayerCost, layer_costs
from secateur.errors import ConfigurationError, DataError, LayerSelectionError
from secateur.networks import PAPER_NETWORKS, LeNet5, build_network

# The columns "FLOP%" of the paper's Tables 2 to 5, layer by layer; totals of "Act%", "Weights%" and "FLOP%".
PAPER_FLOP = {
    "lenet-300-100": (8, 4, 17),
    "lenet-5": (66, 10, 6, 10),
    "alexnet": (84, 33, 18, 14, 14, 3, 3, 10),
    "vgg-16": (58, 12, 30, 29, 43, 16, 29, 21, 14, 15, 12, 9, 11, 1, 2, 9),
}
PAPER_TOTALS = {
    "lenet-300-100": (46, 8, 8),
    "lenet-5": (77, 8, 16),
    "alexnet": (54, 11, 30),
    "vgg-16": (64, 7.5, 21),
}


def paper_table(name: str) -> tuple[TableRow, ...]:
    spec = PAPER_NETWORKS[name]
    with torch.device("meta"):
        costs = layer_costs(build_network(name), spec.input_shape)
    kept = {cost.name: round(cost.weights * spec.paper_densities[cost.name]) for cost in costs}
    return layer_table(costs, kept, spec.paper_activation)


@pytest.mark.parametrize("name", PAPER_NETWORKS)
def test_flop_kept_is_the_papers_column(name: str) -> None:
    measured = [100 * row.flop_kept for row in paper_table(name)]
    # Within one point of rounded percentages, which themselves are known to half a point.
    assert measured == pytest.approx(PAPER_FLOP[name], abs=1.0)


@pytest.mark.parametrize("name", PAPER_NETWORKS)
def test_totals_are_the_papers(name: str) -> None:
    total = total_row(paper_table(name))
    act, weights, flop = PAPER_TOTALS[name]
    assert 100 * total.activation_density == pytest.approx(act, abs=1.0)
    assert 100 * total.density == pytest.approx(weights, abs=0.5)
    assert 100 * total.flop_kept == pytest.approx(flop, abs=1.0)


def test_totals_to_the_digit_that_was_derived_from_the_tables() -> None:
    totals = {}
    for name in PAPER_NETWORKS:
        rows = zip(paper_table(name), PAPER_FLOP[name], strict=True)
        totals[name] = total_row([replace(row, flop_kept=column / 100) for row, column in rows])
    assert [round(100 * total.flop_kept, 1) for total in totals.values()] == [7.6, 16.3, 30.0, 20.7]
    assert [round(100 * total.activation_density, 1) for total in totals.values()] == [46.1, 76.9, 54.0, 64.2]
    assert totals["lenet-300-100"].kept == 21_776
    assert totals["lenet-5"].kept == 36_280


def test_activations_are_counted_after_pooling() -> None:
    rows = {row.name: row.activations for row in paper_table("lenet-5")}
    assert rows == {"conv1": 20 * 12 * 12, "conv2": 50 * 4 * 4, "fc1": 500, "fc2": 10}


COSTS = (LayerCost("a", 100, 400, (10,), (20,)), LayerCost("b", 50, 50, (5,), (10,)))


def test_layers_that_were_not_pruned_keep_everything() -> None:
    rows = layer_table(COSTS, {}, {"a": 0.5, "b": 1.0})
    assert [(row.kept, row.density, row.flop_kept) for row in rows] == [(100, 1.0, 1.0), (50, 1.0, 0.5)]


@given(
    kept=st.tuples(st.integers(0, 100), st.integers(0, 50)),
    activation=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_totals_lie_between_their_rows_and_counts_add_up(
    kept: tuple[int, int], activation: tuple[float, float]
) -> None:
    rows = layer_table(COSTS, dict(zip("ab", kept, strict=True)), dict(zip("ab", activation, strict=True)))
    total = total_row(rows)
    assert (total.kept, total.weights, total.flop, total.activations) == (sum(kept), 150, 900, 15)
    for column in ("density", "flop_kept", "activation_density"):
        values = [getattr(row, column) for row in rows]
        assert min(values) - 1e-12 <= getattr(total, column) <= max(values) + 1e-12


def test_a_tied_layer_has_no_weights_to_lose_but_computes() -> None:
    rows = layer_table((COSTS[0], replace(COSTS[1], weights=0)), {"a": 10}, {"a": 0.5, "b": 1.0})
    assert (rows[1].density, rows[1].flop_kept) == (1.0, 0.5)


def test_a_tied_layer_computes_with_what_is_left_of_the_tensor_it_shares() -> None:
    tied = (COSTS[0], replace(COSTS[1], weights=0))
    rows = layer_table(tied, {"a": 10}, {"a": 0.5, "b": 1.0}, densities={"a": 0.7, "b": 0.1})
    assert [(row.density, row.flop_kept) for row in rows] == [(0.1, 0.1), (0.1, 0.05)]
    total = total_row(rows)
    assert (total.weights, total.kept, total.density) == (100, 10, 0.1)
    assert total.flop_kept == pytest.approx((0.1 * COSTS[0].flop + 0.05 * COSTS[1].flop) / 900)
    with pytest.raises(LayerSelectionError, match="densities names 'c', which has no costs"):
        layer_table(tied, {}, {"a": 0.5, "b": 1.0}, densities={"c": 0.1})


@pytest.mark.parametrize("kept", [-1, 101])
def test_keeping_more_or_less_than_there_is_is_refused(kept: int) -> None:
    with pytest.raises(
        ConfigurationError, match=f"layer 'a': kept must be 0 to its 100 weights, but is {kept}"
    ):
        layer_table(COSTS, {"a": kept}, {"a": 0.5, "b": 1.0})


def test_a_name_without_costs_is_refused() -> None:
    with pytest.raises(LayerSelectionError, match="kept names 'c', which has no costs; expected any of a, b"):
        layer_table(COSTS, {"c": 1}, {"a": 0.5, "b": 1.0})


def test_a_missing_activation_density_is_refused() -> None:
    with pytest.raises(LayerSelectionError, match="no activation density for layer 'b'; found a; measure"):
        layer_table(COSTS, {}, {"a": 0.5})


def test_a_total_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="at least one row, found none"):
        total_row([])


@pytest.mark.parametrize(("density", "given_density"), [(8.0, 0.5), (0.5, -0.1), (float("nan"), 0.5)])
def test_percentages_are_refused_as_fractions(density: float, given_density: float) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a fraction in 0\.\.1, but is"):
        flop_fraction(density, given_density)


def chain() -> nn.Sequential:
    """One pixel is doubled and negated; after ReLU half of it is left."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Dropout(0.5), nn.Linear(2, 4), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        model[3].weight.zero_()
        model[3].bias.copy_(torch.tensor([1.0, 0.0, -1.0, 0.0]))
    return model


def test_density_is_measured_after_relu_without_dropout_and_the_last_layers_on_its_own_output() -> None:
    batches = [torch.ones(8, 1), -torch.ones(3, 1)]
    assert activation_densities(chain(), batches, ["3", "0"]) == {"3": 0.5, "0": 0.5}


def test_batches_weigh_by_their_size() -> None:
    batches = [torch.ones(6, 1), torch.zeros(2, 1)]
    assert activation_densities(chain(), batches, ["0"]) == {"0": 0.375}


def test_lenet_5_is_measured_after_pooling() -> None:
    torch.manual_seed(0)
    model, images = LeNet5().eval(), torch.randn(5, 1, 28, 28)
    measured = activation_densities(model, [images], ["conv1", "conv2", "fc1", "fc2"])
    with torch.no_grad():
        pooled = model.relu1(model.pool1(model.conv1(images)))
    assert measured["conv1"] == torch.count_nonzero(pooled).item() / pooled.numel()
    assert 0.5 < measured["conv1"] < 1.0  # before pooling, half of the responses would be negative
    assert measured["fc2"] == 1.0


def test_a_layer_called_twice_counts_both_of_its_outputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Linear(2, 2, bias=False)
            self.last = nn.Linear(2, 1)
            with torch.no_grad():
                self.same.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.last(torch.relu(self.same(input=self.same(x))))
            return result

    # (1, 1) -> (1, -1), dense -> (1, 1), dense; (1, -1) -> (1, 1) -> (1, -1), half of it left by ReLU.
    batch = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    assert activation_densities(Twice(), [batch], ["same"]) == {"same": 7 / 8}


def test_modes_and_hooks_are_put_back() -> None:
    model = chain().train()
    model[2].eval()
    activation_densities(model, [torch.ones(2, 1)], ["0"])
    assert [module.training for module in model] == [True, True, False, True, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_modes_and_hooks_are_put_back_after_an_error() -> None:
    model = chain().train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        activation_densities(model, [torch.ones(2, 7)], ["0"])
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_unknown_layer_is_refused_before_anything_runs() -> None:
    with pytest.raises(
        LayerSelectionError, match=r"'1' is no Linear or convolution layer of Sequential; .* 0, 3"
    ):
        activation_densities(chain(), [], ["0", "1"])


def test_a_layer_that_is_never_called_is_refused() -> None:
    model = chain()
    model[2].unused = nn.Linear(1, 1)
    with pytest.raises(LayerSelectionError, match=r"layer '2\.unused' is never called"):
        activation_densities(model, [torch.ones(1, 1)], ["2.unused"])


def test_no_batches_and_empty_batches_are_refused() -> None:
    with pytest.raises(DataError, match="at least one batch of inputs, found none"):
        activation_densities(chain(), [], ["0"])
    with pytest.raises(DataError, match="hold no input for layer '0'"):
        activation_densities(chain(), [torch.ones(0, 1)], ["0"])
