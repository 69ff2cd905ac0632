from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.errors import LayerSelectionError
from secateur.networks import build_network
from secateur.pruning.criteria import GlobalDensity
from secateur.pruning.default import weights_to_prune
from secateur.pruning.layers import select_weights
from secateur.pruning.pruner import Pruner


def separable() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1)
    )


@given(groups=st.sampled_from([1, 2, 4, 8]), multiplier=st.integers(1, 3))
def test_only_one_filter_a_channel_is_depthwise(groups: int, multiplier: int) -> None:
    model = nn.Sequential(nn.Conv2d(8, 8 * multiplier, 3, groups=groups), nn.Conv2d(8 * multiplier, 2, 1))
    expected = ["1.weight"] if groups == 8 else ["0.weight", "1.weight"]
    assert list(weights_to_prune(model)) == expected


def test_a_single_channel_is_an_ordinary_convolution() -> None:
    assert list(weights_to_prune(nn.Sequential(nn.Conv2d(1, 4, 3)))) == ["0.weight"]


def test_transposed_and_one_dimensional_ones_are_left_out_too() -> None:
    model = nn.Sequential(
        nn.Conv1d(4, 4, 3, groups=4), nn.ConvTranspose2d(4, 4, 2, groups=4), nn.Linear(4, 2)
    )
    assert list(weights_to_prune(model)) == ["2.weight"]


def test_named_they_are_pruned() -> None:
    assert list(weights_to_prune(separable(), "2")) == ["2.weight"]
    assert list(weights_to_prune(separable(), "*")) == ["0.weight", "2.weight", "3.weight"]
    assert Pruner(separable(), layers=["2", "3"]).prune(GlobalDensity(0.5)).total == 8 * 9 + 8 * 16


def test_a_pruner_leaves_them_whole() -> None:
    torch.manual_seed(0)
    model = separable()
    before = model[2].weight.clone()
    Pruner(model).prune(GlobalDensity(0.5))
    assert torch.equal(model[2].weight, before)
    assert sum(int(model[index].weight.count_nonzero()) for index in (0, 3)) == (8 * 27 + 16 * 8) // 2


def test_excluding_and_naming_them_goes_as_for_other_layers() -> None:
    assert list(weights_to_prune(separable(), exclude="2")) == ["0.weight", "3.weight"]
    assert list(weights_to_prune(separable(), exclude="0")) == ["3.weight"]


def test_a_network_of_nothing_else_is_refused() -> None:
    with pytest.raises(
        LayerSelectionError, match=r"nothing to prune: 0 are depthwise .* asked for by name; give `layers`"
    ):
        weights_to_prune(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)))


def test_what_is_left_whole_of_mobilenet_is_a_fiftieth() -> None:
    with torch.device("meta"):
        model = build_network("mobilenet-v2")
    every, pruned = select_weights(model), weights_to_prune(model)
    left = {name: weight.numel() for name, weight in every.items() if name not in pruned}
    assert len(left) == 17
    assert sum(left.values()) == 64_224
    assert sum(weight.numel() for weight in every.values()) == 3_469_760


@pytest.mark.parametrize("name", ["alexnet", "vgg-16", "resnet-50", "lenet-5"])
def test_other_networks_are_pruned_whole(name: str) -> None:
    with torch.device("meta"):
        model = build_network(name)
    assert weights_to_prune(model).keys() == select_weights(model).keys()
