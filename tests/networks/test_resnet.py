from __future__ import annotations

import pytest
import torch

from secateur.networks.resnet import ResNet20


@pytest.mark.parametrize(("width", "weights"), [(16, 268_336), (8, 67_352), (3, 9_597)])
def test_a_narrower_network_to_compare_a_pruned_one_with(width: int, weights: int) -> None:
    network = ResNet20(width=width)
    assert sum(parameter.numel() for parameter in network.parameters() if parameter.ndim > 1) == weights
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
