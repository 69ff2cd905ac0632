"""Whole networks of torch, exported, compiled and compared with ONNX Runtime at batch sizes of every kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from secateur.compiler.network import Network
from secateur.compiler.reading import load_network, onnx_of_module
from secateur.format.graph import Activation, Convolution, LayerNorm, Linear, LocalResponseNorm
from secateur.networks import AlexNet, LeNet5, LeNet300100
from tests.compiler.models import check, normal


class Residual(nn.Module):
    """ResNet's block: the second one halves the image and has a convolution of its own on the short way."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.short = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.short(x))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, one filter a channel, narrow, and add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 3 * channels
        self.block = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class Squeeze(nn.Module):
    """Squeeze and excitation: a factor for every channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, 2, 1)
        self.fc2 = nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = nn.functional.hardsigmoid(self.fc2(nn.functional.silu(self.fc1(self.pool(x)))))
        return x * gate


class PatchTransformer(nn.Module):
    """A tiny vision transformer: patches, a class token, positions, one encoder layer, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 5, 16))
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, 0.1, activation="gelu", batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 7)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.layer(x))[:, 0])


class SmallAlexNet(nn.Module):
    """AlexNet's kinds of layers, small: groups, normalisation across channels, pools that round up."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2),
            nn.ReLU(),
            nn.LocalResponseNorm(5, alpha=1e-2, beta=0.75, k=1.0),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(8, 12, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        self.fc1 = nn.Linear(12 * 4 * 4, 20)
        self.fc2 = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.features(x), 1)
        return self.fc2(nn.functional.dropout(torch.relu(self.fc1(x)), 0.5, self.training))


def small_vgg() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.LeakyReLU(0.1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
        nn.Softmax(dim=1),
    )


def speech() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 8, 5, stride=2, padding=2, dilation=1),
        nn.BatchNorm1d(8),
        nn.GELU(),
        nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.PReLU(8),
        nn.MaxPool1d(2),
        nn.GroupNorm(2, 8),
        nn.Conv1d(8, 3, 1),
        nn.Tanh(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
    )


def shaken(module: nn.Module) -> nn.Module:
    """Batch normalisation with statistics as if trained."""
    torch.manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (part.running_mean, part.weight, part.bias):
                    assert tensor is not None
                    tensor.normal_()
                assert part.running_var is not None
                part.running_var.uniform_(0.5, 2.0)
    return module


def kinds(network: Network) -> dict[str, int]:
    return dict(Counter(type(node).__name__ for node in network.graph.nodes))


def activations(network: Network) -> list[str | None]:
    layers = [node for node in network.graph.nodes if isinstance(node, Convolution | Linear)]
    return [None if layer.activation is None else layer.activation.kind for layer in layers]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, int]]] = {
    "lenet-300-100": (LeNet300100, (1, 28, 28), {"Reshape": 1, "Linear": 3}),
    "lenet-5": (LeNet5, (1, 28, 28), {"Convolution": 2, "Pool": 2, "Reshape": 1, "Linear": 2}),
    "small-alexnet": (
        SmallAlexNet,
        (3, 35, 35),
        {"Convolution": 2, "LocalResponseNorm": 1, "Pool": 2, "Reshape": 1, "Linear": 2},
    ),
    "small-vgg": (
        small_vgg,
        (3, 16, 16),
        {"Convolution": 3, "Pool": 2, "Reshape": 1, "Linear": 1, "Softmax": 1},
    ),
    "residual": (
        lambda: nn.Sequential(Residual(4, 4, 1), Residual(4, 8, 2)),
        (4, 9, 9),
        {"Convolution": 5},
    ),
    "inverted residual": (lambda: InvertedResidual(5), (5, 7, 7), {"Convolution": 3}),
    "squeeze": (lambda: Squeeze(6), (6, 5, 5), {"Reduce": 1, "Convolution": 2, "Binary": 1}),
}


@cache
def exported(name: str) -> onnx.ModelProto:
    factory, shape, _ = NETWORKS[name]
    return onnx_of_module(shaken(factory()), [torch.zeros(1, *shape)])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_what_onnx_runtime_gives(name: str) -> None:
    _, shape, expected = NETWORKS[name]
    proto = exported(name)
    for batch in (1, 3, 5):
        network = check(proto, {proto.graph.input[0].name: normal((batch, *shape), batch)})
    assert kinds(network) == expected


def test_layers_are_known_by_their_paths_and_hold_their_activations() -> None:
    network = load_network(exported("lenet-5"))
    layers = [node.name for node in network.graph.nodes if isinstance(node, Convolution | Linear)]
    assert layers == ["conv1", "conv2", "fc1", "fc2"]
    assert activations(network) == ["relu", "relu", "relu", None]


def test_a_residual_block_is_its_convolutions_alone() -> None:
    network = load_network(exported("residual"))
    layers = [node for node in network.graph.nodes if isinstance(node, Convolution)]
    assert [layer.residual is not None for layer in layers].count(True) == 2
    assert all(layer.bias is not None for layer in layers)
    assert sorted(map(str, activations(network))) == ["None", "relu", "relu", "relu", "relu"]


def test_a_one_dimensional_network() -> None:
    proto = onnx_of_module(shaken(speech()), [torch.zeros(1, 4, 32)])
    network = check(proto, {proto.graph.input[0].name: normal((3, 4, 32))})
    layers = [node for node in network.graph.nodes if isinstance(node, Convolution)]
    assert [layer.groups for layer in layers] == [1, 8, 1]
    assert layers[0].activation == Activation("gelu")


def test_a_vision_transformer() -> None:
    proto = onnx_of_module(shaken(PatchTransformer()), [torch.zeros(2, 3, 8, 8)])
    for batch in (1, 4):
        network = check(proto, {proto.graph.input[0].name: normal((batch, 3, 8, 8))})
    found = kinds(network)
    assert found["LayerNorm"] == 3
    assert found["MatMul"] == 2
    assert found["Expand"] == 1
    linears = [node for node in network.graph.nodes if isinstance(node, Linear)]
    assert Activation("gelu") in [layer.activation for layer in linears]


def test_a_fixed_batch_stays_fixed() -> None:
    proto = onnx_of_module(LeNet300100(), [np.zeros((4, 1, 28, 28), np.float32)], dynamic_batch=False)
    network = check(proto, {proto.graph.input[0].name: normal((4, 1, 28, 28))})
    assert {value.shape[0] for value in network.graph.values} == {4}


@pytest.mark.slow
def test_alexnet_itself() -> None:
    proto = onnx_of_module(AlexNet(), [torch.zeros(1, 3, 227, 227)])
    network = check(proto, {proto.graph.input[0].name: normal((1, 3, 227, 227))})
    norms = [node for node in network.graph.nodes if isinstance(node, LocalResponseNorm)]
    assert [(norm.size, norm.k) for norm in norms] == [(5, 1.0), (5, 1.0)]
    assert not any(isinstance(node, LayerNorm) for node in network.graph.nodes)
