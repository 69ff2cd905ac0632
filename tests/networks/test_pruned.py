"""Networks with residual sums, depthwise convolutions and batch normalisation: swept, compacted, compiled."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

import secateur
from secateur.networks import build_network
from secateur.pruning.channel_graph import channel_graph
from secateur.pruning.compaction import compact, expand_into
from secateur.pruning.layers import select_weights
from secateur.pruning.masks import Masks
from secateur.pruning.neurons import sweep_dead_neurons
from tests.networks.trained import as_if_trained

# Small pictures where the network takes them, so that each takes seconds.
SHAPES = {
    "resnet-20": (3, 32, 32),
    "vgg-16-cifar": (3, 32, 32),
    "resnet-18": (3, 64, 64),
    "resnet-50": (3, 64, 64),
    "mobilenet-v2": (3, 64, 64),
    "alexnet-torchvision": (3, 224, 224),
}
DEEP = ("resnet-50",)  # ResNet-56 has the blocks of ResNet-20, and takes seven seconds
RESIDUAL = ("resnet-20", "mobilenet-v2")


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return as_if_trained(build_network(name, num_classes=10))


def masks_with_dead_neurons(model: nn.Module) -> dict[str, Tensor]:
    """Half of the weights of every layer, no weight into the first neuron, no weight out of the second."""
    draw = torch.Generator().manual_seed(1)
    masks = {}
    for name, weight in select_weights(model).items():
        mask = torch.rand(weight.shape, generator=draw) < 0.5
        mask[0] = False
        if weight.shape[1] > 3:
            mask[:, 1] = False
        masks[name] = mask
    return masks


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.double()(images.double())
    return found


@pytest.mark.parametrize("name", RESIDUAL)
def test_sweeping_and_compacting_keep_the_outputs(name: str) -> None:
    model, images = network(name), torch.randn(2, *SHAPES[name])
    masks = masks_with_dead_neurons(model)
    Masks(masks).apply_(model)
    before = outputs(model, images)
    swept = sweep_dead_neurons(model, masks, SHAPES[name])
    torch.testing.assert_close(outputs(model, images), before)
    small = compact(model, swept.masks, SHAPES[name])
    torch.testing.assert_close(outputs(small.model, images), before)
    again = network(name).double()
    expand_into(again, small)
    torch.testing.assert_close(outputs(again, images), before)


@pytest.mark.parametrize("name", RESIDUAL)
def test_neurons_that_a_residual_sum_reads_count_as_living(name: str) -> None:
    graph = channel_graph(network(name), SHAPES[name])
    summed = ["layer1.0.conv2", "layer3.2.conv2"] if name == "resnet-20" else ["features.3.conv.2"]
    for layer in summed:
        assert "add" in (graph[layer].barrier or "")


def test_dead_neurons_within_a_block_are_swept() -> None:
    model = network("resnet-20")
    masks = {
        name: torch.ones_like(weight, dtype=torch.bool) for name, weight in select_weights(model).items()
    }
    masks["layer2.1.conv2.weight"][:, :5] = False  # nobody reads five neurons of conv1 behind it
    swept = sweep_dead_neurons(model, masks, SHAPES["resnet-20"])
    assert dead(swept.masks) == {"layer2.1.conv1.weight": 5}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in DEEP else []) for name in SHAPES],
)
def test_every_network_compiles_and_agrees_with_pytorch(name: str) -> None:
    model, images = network(name), torch.randn(2, *SHAPES[name])
    Masks(masks_with_dead_neurons(model)).apply_(model)
    program = secateur.compile(model, images, measure=False)
    found = torch.from_numpy(program(images.numpy()))
    expected = outputs(model, images)
    # Rounding, layer by layer, in float32 against float64.
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def dead(masks: Mapping[str, Tensor]) -> dict[str, int]:
    """Neurons without a weight, of every layer that has some."""
    counts = {name: int((~mask.flatten(1).any(1)).sum()) for name, mask in masks.items()}
    return {name: count for name, count in counts.items() if count}
