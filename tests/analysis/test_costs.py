from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.analysis.costs import layer_costs, weight_layers
from secateur.errors import UnsupportedModelError


def test_flop_is_twice_the_macs() -> None:
    (cost,) = layer_costs(nn.Sequential(nn.Linear(12, 5)), (12,))
    assert (cost.name, cost.weights, cost.macs, cost.flop) == ("0", 60, 60, 120)
    assert (cost.input_shape, cost.output_shape) == ((12,), (5,))


@pytest.mark.parametrize(
    ("layer", "shape", "weights", "macs"),
    [
        (nn.Linear(6, 4), (10, 6), 24, 240),  # a sequence of ten
        (nn.Conv1d(3, 8, 5), (3, 20), 120, 120 * 16),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), (4, 9, 9), 8 * 2 * 9, 8 * 2 * 9 * 25),
        (nn.Conv2d(6, 6, 3, groups=6, bias=False), (6, 5, 5), 54, 54 * 9),
        (nn.Conv2d(1, 1, 3, dilation=2), (1, 7, 7), 9, 81),
        (nn.Conv3d(2, 3, 2), (2, 4, 4, 4), 48, 48 * 27),
        (nn.ConvTranspose1d(3, 5, 4, stride=4), (3, 6), 60, 60 * 6),
        (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (4, 5, 5), 4 * 3 * 4, 4 * 3 * 4 * 25),
        (nn.ConvTranspose3d(2, 3, 2), (2, 3, 3, 3), 48, 48 * 27),
    ],
)
def test_each_kind_of_layer(layer: nn.Module, shape: tuple[int, ...], weights: int, macs: int) -> None:
    (cost,) = layer_costs(layer, shape)
    assert (cost.name, cost.weights, cost.macs) == ("weight", weights, macs)


class _Backwards(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.never = nn.Linear(4, 4)
        self.first = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.first(input=torch.relu(self.first(x))))
        return result


def test_order_is_that_of_execution_and_a_second_call_counts_macs_but_not_weights() -> None:
    costs = layer_costs(_Backwards(), (4,))
    assert [(cost.name, cost.weights, cost.macs) for cost in costs] == [("first", 16, 32), ("last", 8, 8)]


def test_a_tied_weight_counts_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert [(cost.weights, cost.macs) for cost in layer_costs(model, (4,))] == [(16, 16), (0, 16)]


def test_a_parametrised_weight_is_counted_as_it_is_used() -> None:
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 5)),
        nn.utils.parametrizations.weight_norm(nn.Linear(5, 2)),
    )
    assert [cost.weights for cost in layer_costs(model, (3,))] == [15, 10]


def test_the_callers_model_and_random_state_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    model[1].eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    layer_costs(model, (4,))
    assert [module.training for module in model] == [True, False, True, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_half_precision_is_counted_too() -> None:
    (cost,) = layer_costs(nn.Sequential(nn.Linear(4, 2)).to(torch.bfloat16), (4,))
    assert cost.macs == 8


def test_wrappers_are_looked_through() -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    assert [cost.name for cost in layer_costs(nn.DataParallel(model), (4,))] == ["0"]
    assert list(weight_layers(nn.DataParallel(model))) == ["0"]


def test_a_wrong_shape_is_refused_with_the_shape() -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"Sequential does not run on one input of shape \(5,\).*Check"
    ):
        layer_costs(nn.Sequential(nn.Linear(4, 2)), (5,))


class _LooksAtValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(x) if x.sum().item() > 0 else self.fc(-x)
        return result


def test_control_flow_on_values_is_refused_with_its_reason() -> None:
    with pytest.raises(UnsupportedModelError, match="neither looks at values"):
        layer_costs(_LooksAtValues(), (4,))


def test_a_network_without_weight_layers_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="Sequential called no Linear or convolution layer"):
        layer_costs(nn.Sequential(nn.ReLU()), (4,))
