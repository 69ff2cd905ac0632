import math

import pytest
import torch
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from secateur.errors import ConfigurationError
from secateur.pruning.criteria import Density, GlobalDensity, StdThreshold
from secateur.pruning.enforcement import (
    make_factors,
    multiply_,
    on_devices_of,
    refuse_without_values,
    revived,
    zero_,
)
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.pruner import Pruner

MASKS = Masks({"a": torch.tensor([True, False, False])})


def test_masks_follow_their_weights_to_another_device() -> None:
    here, elsewhere = torch.zeros(3), torch.zeros(3, device="meta")
    assert on_devices_of({"a": here}, MASKS) is MASKS
    moved = on_devices_of({"a": elsewhere}, MASKS)
    assert moved["a"].device.type == "meta"
    assert moved["a"].dtype == torch.bool


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "criterion",
    [StdThreshold(0.5), Density(0.25), GlobalDensity(0.25)],
    ids=lambda criterion: type(criterion).__name__,
)
def test_a_model_that_moves_to_a_gpu_under_the_pruner(criterion: Density) -> None:
    model = nn.Linear(6, 12)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.9))
    model.cuda()
    for _ in range(2):
        model(torch.ones(2, 6, device="cuda")).sum().backward()
        optimizer.step()
        assert pruner.report().revived == 0
        pruner.prune(criterion)
    assert pruner.masks["weight"].device == model.weight.device
    pruner.restrict({"weight": torch.ones(12, 6, dtype=torch.bool)})


def test_zero_is_exact_where_multiplying_is_not() -> None:
    weight = nn.Parameter(torch.tensor([-1.0, -2.0, math.inf]))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    optimizer.state[weight]["momentum_buffer"] = torch.tensor([1.0, math.nan, 2.0])
    multiply_(make_factors({"a": weight}, MASKS), optimizer)
    assert weight[2].isnan()
    assert revived(weight, MASKS["a"]) == 1
    zero_({"a": weight}, MASKS, optimizer)
    assert weight.tolist() == [-1.0, 0.0, 0.0]
    assert not weight[1:].signbit().any()
    assert optimizer.state[weight]["momentum_buffer"].tolist() == [1.0, 0.0, 0.0]
    assert revived(weight, MASKS["a"]) == 0


def test_a_weight_of_which_nothing_is_pruned_has_no_factor() -> None:
    weights = {"a": nn.Parameter(torch.ones(3)), "b": nn.Parameter(torch.ones(2))}
    factors = make_factors(weights, Masks({**MASKS, "b": torch.ones(2, dtype=torch.bool)}))
    assert [weight is weights["a"] for weight, _ in factors] == [True]
    multiply_(factors, None)
    assert [weight.tolist() for weight in weights.values()] == [[1.0, 0.0, 0.0], [1.0, 1.0]]


def test_weights_without_values_here_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'0' is on the meta device and has no values"):
        refuse_without_values(select_weights(nn.Sequential(nn.Linear(4, 3, device="meta"))))
    packed = {"0.weight": nn.Parameter(TwoTensor(torch.ones(3), torch.ones(3)))}
    with pytest.raises(ConfigurationError, match="'0' is a TwoTensor, whose numbers lie in other tensors"):
        refuse_without_values(packed)
