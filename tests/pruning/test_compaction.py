import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from secateur.errors import ConfigurationError, MaskError
from secateur.pruning.compaction import Compacted, compact, expand_into
from secateur.pruning.masks import Masks
from secateur.pruning.neurons import sweep_dead_neurons

SHAPE = (1, 16, 16)


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.fc1 = nn.Linear(32, 20)
        self.fc2 = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.view(x.size(0), -1))))


def swept_lenet(seed: int = 0, density: float = 0.05) -> tuple[nn.Module, dict[str, Tensor]]:
    """A swept network in double precision, with dead neurons in every hidden layer."""
    torch.manual_seed(seed)
    model = LeNet().double()
    masks = {n: torch.rand_like(p) < density for n, p in model.named_parameters() if p.dim() > 1}
    masks["conv1.weight"][[1, 4]] = False
    masks["conv2.weight"][:, [0]] = False
    masks["conv2.weight"][[2, 7]] = False
    masks["fc1.weight"][10:] = False
    masks["fc2.weight"] |= torch.arange(20) < 10
    masks["fc1.weight"][3, 12] = True
    masks["conv2.weight"][3, 2] = True
    masks["conv1.weight"][2, 0, 0, 0] = True
    return model, sweep_dead_neurons(model, masks, SHAPE).masks


def sizes(compacted: Compacted) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in compacted.model.named_parameters() if p.dim() > 1}


def same(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), density=st.floats(0.01, 0.4), multiple_of=st.integers(1, 8))
def test_compacting_and_expanding_is_the_identity(seed: int, density: float, multiple_of: int) -> None:
    model, masks = swept_lenet(seed, density)
    before = copy.deepcopy(model)
    compacted = compact(model, masks, SHAPE, multiple_of=multiple_of)
    assert same(model, before)
    x = torch.randn(4, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(compacted.model(x), model(x), rtol=1e-12, atol=1e-12)
    assert sum(int(mask.sum()) for mask in compacted.masks.values()) == sum(
        int(m.sum()) for m in masks.values()
    )
    target = LeNet().double()
    expand_into(target, compacted)
    assert same(target, model)
    for layer, (name, shape) in zip(("conv1", "conv2", "fc1"), sizes(compacted).items(), strict=False):
        whole = model.get_parameter(name).shape[0]
        living = int(masks[f"{layer}.weight"].flatten(1).any(1).sum())
        assert shape[0] == min(-(-living // multiple_of) * multiple_of, whole)


def test_shapes_names_and_indices_of_the_smaller_network() -> None:
    model, masks = swept_lenet(density=0.3)
    compacted = compact(model, masks, SHAPE)
    assert sizes(compacted) == {
        "conv1.weight": (3, 1, 5, 5),
        "conv2.weight": (6, 3, 3, 3),
        "fc1.weight": (10, 24),
        "fc2.weight": (3, 10),
    }
    small = compacted.model
    assert isinstance(small, LeNet)
    assert (small.conv2.in_channels, small.conv2.out_channels) == (3, 6)
    assert (small.fc1.in_features, small.fc1.out_features) == (24, 10)
    assert [index.tolist() for index in compacted.kept["conv1.weight"][:2]] == [[2, 3, 5], [0]]
    assert compacted.kept["conv2.bias"][0].tolist() == [0, 1, 3, 4, 5, 6]
    assert compacted.kept["fc1.weight"][1].tolist() == [*range(8), *range(12, 28)]
    assert all(mask.shape == small.get_parameter(name).shape for name, mask in compacted.masks.items())
    assert sizes(compact(model, masks, SHAPE, multiple_of=4))["conv2.weight"] == (8, 4, 3, 3)


def test_training_the_smaller_network_is_training_the_full_one() -> None:
    model, masks = swept_lenet(density=0.3)
    compacted = compact(model, masks, SHAPE)
    x = torch.randn(16, *SHAPE, dtype=torch.float64)
    y = torch.randint(0, 3, (16,))
    start = copy.deepcopy(model)
    for network, its in ((model, Masks(masks)), (compacted.model, Masks(compacted.masks))):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        for _ in range(5):
            optimizer.zero_grad()
            functional.cross_entropy(network(x), y).backward()
            optimizer.step()
            its.apply_(network)
    expanded = copy.deepcopy(start)
    expand_into(expanded, compacted)
    assert not same(expanded, start)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(expanded.get_parameter(name), parameter, rtol=1e-9, atol=1e-12)


def keep_two_of_four(model: nn.Sequential, *, first: int, second: int) -> dict[str, Tensor]:
    masks = {f"{i}.weight": torch.ones_like(model[i].weight, dtype=torch.bool) for i in (first, second)}
    masks[f"{first}.weight"][2:] = False
    view = masks[f"{second}.weight"]
    view[:, view.shape[1] // 2 :] = False
    return masks


def test_batch_normalisation_keeps_everything_and_its_buffers_travel() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    masks = keep_two_of_four(model, first=0, second=2)
    compacted = compact(model, masks, (1, 2, 2))
    assert sizes(compacted)["0.weight"] == (4, 1, 1, 1)
    compacted.model(torch.randn(8, 1, 2, 2))
    expand_into(model, compacted)
    assert torch.equal(model[1].running_mean, compacted.model[1].running_mean)
    assert model[1].running_mean.any()


def test_grouped_convolutions_keep_everything() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2))
    masks = keep_two_of_four(model, first=0, second=2)
    masks["2.weight"][:] = True
    masks["2.weight"][2:] = False  # the second group reads nothing
    assert sizes(compact(model, masks, (1, 2, 2)))["0.weight"] == (4, 1, 1, 1)


class Named(nn.Module):
    """Flattens to a size that is written down, which a smaller network would not have."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.conv, self.fc = nn.Conv2d(1, 4, 1), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        return self.fc(x.view(-1, self.features) if self.features > 0 else x.view((x.shape[0], -1)))


@pytest.mark.parametrize(("features", "channels"), [(16, 4), (-1, 2)])
def test_a_size_written_down_keeps_everything(features: int, channels: int) -> None:
    model = Named(features)
    masks = {
        "conv.weight": torch.ones(4, 1, 1, 1, dtype=torch.bool),
        "fc.weight": torch.ones(2, 16, dtype=torch.bool),
    }
    masks["conv.weight"][2:] = False
    masks["fc.weight"][:, 8:] = False
    compacted = compact(model, masks, (1, 2, 2))
    assert sizes(compacted)["conv.weight"][0] == channels
    x = torch.randn(3, 1, 2, 2)
    torch.testing.assert_close(compacted.model(x), masked(model, masks)(x))


def masked(model: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    result = copy.deepcopy(model)
    Masks(masks).apply_(result)
    return result


def test_dead_inputs_stay_and_frozen_parameters_stay_frozen() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    masks = keep_two_of_four(model, first=0, second=2)
    masks["0.weight"][:, 1:] = False
    model[0].requires_grad_(requires_grad=False)
    small = compact(model, masks, (4,)).model
    assert (small[0].in_features, small[0].out_features, small[2].in_features) == (4, 2, 2)
    assert not small[0].weight.requires_grad
    assert small[2].weight.requires_grad


def test_errors() -> None:
    model, masks = swept_lenet()
    with pytest.raises(ConfigurationError, match="multiple_of: expected 1 or more, found 0"):
        compact(model, masks, SHAPE, multiple_of=0)
    compacted = compact(model, masks, SHAPE)
    other = LeNet()
    other.fc2 = nn.Linear(20, 4)
    with pytest.raises(
        MaskError, match=r"'fc2.bias' was of shape \(3,\) and is \(4,\); expand into the network that"
    ):
        expand_into(other, compacted)
