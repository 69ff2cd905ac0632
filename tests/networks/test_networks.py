from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from secateur.analysis.costs import LayerCost, layer_costs
from secateur.errors import ConfigurationError
from secateur.networks import NETWORKS, PAPER_NETWORKS, LeNet5, build_network
from secateur.networks.resnet import PaddedShortcut
from secateur.pruning.layers import select_weights

ALEXNET_WEIGHTS = {
    "conv1": 34_848,
    "conv2": 307_200,
    "conv3": 884_736,
    "conv4": 663_552,
    "conv5": 442_368,
    "fc1": 37_748_736,
    "fc2": 16_777_216,
    "fc3": 4_096_000,
}
ALEXNET_MACS = {
    "conv1": 105_415_200,
    "conv2": 223_948_800,
    "conv3": 149_520_384,
    "conv4": 112_140_288,
    "conv5": 74_760_192,
    "fc1": 37_748_736,
    "fc2": 16_777_216,
    "fc3": 4_096_000,
}


def meta_network(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_network(name)


def costs_of(name: str) -> dict[str, LayerCost]:
    return {cost.name: cost for cost in layer_costs(meta_network(name), NETWORKS[name].input_shape)}


def biases(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("name", "weights", "bias", "macs"),
    [
        ("lenet-300-100", 266_200, 410, 266_200),
        ("lenet-5", 430_500, 580, 2_293_000),
        ("alexnet", 60_954_656, 10_568, 724_406_816),
        ("vgg-16", 138_344_128, 13_416, 15_470_264_320),
    ],
)
def test_totals_are_those_of_section_6(name: str, weights: int, bias: int, macs: int) -> None:
    model = meta_network(name)
    costs = costs_of(name).values()
    assert sum(cost.weights for cost in costs) == weights
    assert sum(cost.macs for cost in costs) == macs
    assert biases(model) == bias
    assert sum(p.numel() for p in model.parameters()) == weights + bias


@pytest.mark.parametrize(
    ("name", "weights", "parameters"),
    [
        ("resnet-20", 268_336, 269_722),
        ("resnet-56", 848_944, 853_018),
        ("vgg-16-cifar", 14_715_584, 14_724_042),
        ("resnet-18", 11_678_912, 11_689_512),
        ("resnet-50", 25_502_912, 25_557_032),
        ("mobilenet-v2", 3_469_760, 3_504_872),
        ("alexnet-torchvision", 61_090_496, 61_100_840),
    ],
)
def test_the_other_networks_have_as_many_parameters_as_was_published(
    name: str, weights: int, parameters: int
) -> None:
    model = meta_network(name)
    assert sum(weight.numel() for weight in select_weights(model).values()) == weights
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_traced(name: str) -> None:
    model = meta_network(name)
    # torch's own; ours are traced through
    modules = {
        name for name, module in model.named_modules() if type(module).__module__.startswith("torch.nn.")
    }
    modules -= {name for name, module in model.named_modules() if isinstance(module, nn.Sequential)}
    called = [node.target for node in torch.fx.symbolic_trace(model).graph.nodes if node.op == "call_module"]
    assert sorted(called) == sorted(modules)  # each once


def test_resnet_20_halves_its_maps_and_pads_its_channels() -> None:
    costs = costs_of("resnet-20")
    assert len(costs) == 20  # option A: no weights in the shortcuts
    assert costs["layer2.0.conv1"].output_shape == (32, 16, 16)
    assert costs["layer3.2.conv2"].output_shape == (64, 8, 8)
    assert sum(cost.macs for cost in costs.values()) == 40_551_040


def test_the_padded_shortcut_passes_every_second_pixel_on() -> None:
    images = torch.arange(2 * 3 * 5 * 4, dtype=torch.float32).view(2, 3, 5, 4)
    short = PaddedShortcut(2)(images)
    assert short.shape == (2, 5, 3, 2)
    assert torch.equal(short[:, :3], images[:, :, ::2, ::2])
    assert not short[:, 3:].any()


def test_dropout_is_refused_where_there_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"'resnet-20' has no dropout to set to 0\.5; leave it away"):
        build_network("resnet-20", dropout=0.5)


def test_lenet_300_100_layer_by_layer() -> None:
    costs = costs_of("lenet-300-100")
    assert {name: cost.weights for name, cost in costs.items()} == {
        "fc1": 235_200,
        "fc2": 30_000,
        "fc3": 1_000,
    }
    assert {name: cost.macs for name, cost in costs.items()} == {"fc1": 235_200, "fc2": 30_000, "fc3": 1_000}


def test_lenet_5_layer_by_layer() -> None:
    costs = costs_of("lenet-5")
    assert {name: cost.weights for name, cost in costs.items()} == {
        "conv1": 500,
        "conv2": 25_000,
        "fc1": 400_000,
        "fc2": 5_000,
    }
    assert {name: cost.macs for name, cost in costs.items()} == {
        "conv1": 288_000,
        "conv2": 1_600_000,
        "fc1": 400_000,
        "fc2": 5_000,
    }


def test_alexnet_layer_by_layer() -> None:
    costs = costs_of("alexnet")
    assert {name: cost.weights for name, cost in costs.items()} == ALEXNET_WEIGHTS
    assert {name: cost.macs for name, cost in costs.items()} == ALEXNET_MACS
    maps = {name: (cost.input_shape, cost.output_shape) for name, cost in costs.items()}
    assert maps["conv1"] == ((3, 227, 227), (96, 55, 55))
    assert maps["conv2"] == ((96, 27, 27), (256, 27, 27))
    assert maps["conv3"][0] == (256, 13, 13)
    assert maps["fc1"][0] == (256 * 6 * 6,)


def test_alexnet_normalises_before_it_pools() -> None:
    kinds = [type(module).__name__ for module in meta_network("alexnet").children()]
    assert kinds[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert kinds[4:8] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]


def test_vgg_fc6_and_the_shapes_between_its_blocks() -> None:
    costs = costs_of("vgg-16")
    assert costs["fc6"].weights == costs["fc6"].macs == 102_760_448
    assert len(costs) == 16
    assert costs["conv1_2"].macs == 64 * 64 * 9 * 224 * 224
    assert costs["conv5_3"].output_shape == (512, 14, 14)


@pytest.mark.parametrize("name", PAPER_NETWORKS)
def test_the_layers_of_the_papers_tables_are_the_networks_layers_in_order(name: str) -> None:
    spec = NETWORKS[name]
    assert list(costs_of(name)) == list(spec.paper_densities) == list(spec.paper_activation)
    assert all(0 < value <= 1 for value in (*spec.paper_densities.values(), *spec.paper_activation.values()))


@pytest.mark.parametrize("name", PAPER_NETWORKS)
def test_modules_are_called_once_each_in_the_order_of_registration(name: str) -> None:
    model = meta_network(name)
    graph = torch.fx.symbolic_trace(model).graph
    called = [node.target for node in graph.nodes if node.op == "call_module"]
    assert called == [path for path, _ in model.named_children()]
    assert {node.op for node in graph.nodes} == {"placeholder", "call_module", "output"}


@pytest.mark.parametrize("name", NETWORKS)
def test_num_classes_sets_the_last_layer(name: str) -> None:
    with torch.device("meta"):
        model = build_network(name, num_classes=7)
        assert model(torch.empty(2, *NETWORKS[name].input_shape)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("lenet-300-100", 0.0),
        ("lenet-5", 0.0),
        ("alexnet", 0.5),
        ("vgg-16", 0.5),
        ("alexnet-torchvision", 0.5),
        ("mobilenet-v2", 0.2),
    ],
)
def test_dropout_has_a_default_and_can_be_set(name: str, default: float) -> None:
    def rates(model: nn.Module) -> set[float]:
        return {module.p for module in model.modules() if isinstance(module, nn.Dropout)}

    with torch.device("meta"):
        assert rates(build_network(name)) == {default}
        assert rates(build_network(name, dropout=0.25)) == {0.25}
        assert (
            build_network(name, dropout=0.25).state_dict().keys() == build_network(name).state_dict().keys()
        )


def test_lenet_5_pools_before_relu_without_changing_the_function() -> None:
    torch.manual_seed(0)
    model = LeNet5().eval()
    images = torch.randn(3, 1, 28, 28)
    x = model.pool1(torch.relu(model.conv1(images)))
    x = model.pool2(torch.relu(model.conv2(x))).flatten(1)
    assert torch.equal(model(images), model.fc2(torch.relu(model.fc1(x))))


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
def test_lenets_learn_survive_copying_and_are_deterministic(name: str) -> None:
    torch.manual_seed(1)
    model = build_network(name)
    images, labels = torch.randn(16, 1, 28, 28), torch.arange(16) % 10
    assert torch.equal(copy.deepcopy(model)(images), model(images))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = nn.functional.cross_entropy(model(images), labels)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    assert nn.functional.cross_entropy(model(images), labels) < 0.9 * before


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"'lenet5' is not known; expected one of lenet-300-100, lenet-5, alexnet, vgg-16",
    ):
        build_network("lenet5")


@pytest.mark.parametrize("classes", [0, -1])
def test_no_classes_are_refused(classes: int) -> None:
    with pytest.raises(
        ConfigurationError, match=f"'lenet-5': num_classes must be at least 1, but is {classes}"
    ):
        build_network("lenet-5", num_classes=classes)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_dropout_that_is_no_probability_is_refused(dropout: float) -> None:
    with pytest.raises(ConfigurationError, match=r"dropout must be a probability in \[0, 1\), but is"):
        build_network("lenet-5", dropout=dropout)
