"""The paper's four networks, by name, with what it reports of them (arXiv 1506.02626, Tables 2 to 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from secateur.errors import ConfigurationError
from secateur.networks.alexnet import AlexNet
from secateur.networks.lenet import LeNet5, LeNet300100
from secateur.networks.vgg import VGG16

__all__ = ["NETWORKS", "VGG16", "AlexNet", "LeNet5", "LeNet300100", "NetworkSpec", "build_network"]


class NetworkFactory(Protocol):
    """What builds a network: one of the classes of this package."""

    def __call__(self, *, num_classes: int = ..., dropout: float = ...) -> nn.Module:
        """Build it, with fresh weights."""


@dataclass(frozen=True)
class NetworkSpec:
    """A network, what it eats, and what the paper reports of it.

    Attributes:
        factory: Builds the network.
        input_shape: Channels, height, width of one image.
        classes: Number of classes in the paper.
        paper_densities: Layer name -> fraction of weights kept in the paper ("Weights%"), in 0..1, in
            execution order.
        paper_activation: Layer name -> activation density of its output in the paper ("Act%"), in 0..1.
    """

    factory: NetworkFactory
    input_shape: tuple[int, int, int]
    classes: int
    paper_densities: Mapping[str, float]
    paper_activation: Mapping[str, float]


NETWORKS: Mapping[str, NetworkSpec] = {
    "lenet-300-100": NetworkSpec(
        factory=LeNet300100,
        input_shape=(1, 28, 28),
        classes=10,
        paper_densities={"fc1": 0.08, "fc2": 0.09, "fc3": 0.26},
        paper_activation={"fc1": 0.38, "fc2": 0.65, "fc3": 1.00},
    ),
    "lenet-5": NetworkSpec(
        factory=LeNet5,
        input_shape=(1, 28, 28),
        classes=10,
        paper_densities={"conv1": 0.66, "conv2": 0.12, "fc1": 0.08, "fc2": 0.19},
        paper_activation={"conv1": 0.82, "conv2": 0.72, "fc1": 0.55, "fc2": 1.00},
    ),
    "alexnet": NetworkSpec(
        factory=AlexNet,
        input_shape=(3, 227, 227),
        classes=1000,
        paper_densities={
            "conv1": 0.84,
            "conv2": 0.38,
            "conv3": 0.35,
            "conv4": 0.37,
            "conv5": 0.37,
            "fc1": 0.09,
            "fc2": 0.09,
            "fc3": 0.25,
        },
        paper_activation={
            "conv1": 0.88,
            "conv2": 0.52,
            "conv3": 0.37,
            "conv4": 0.40,
            "conv5": 0.34,
            "fc1": 0.36,
            "fc2": 0.40,
            "fc3": 1.00,
        },
    ),
    "vgg-16": NetworkSpec(
        factory=VGG16,
        input_shape=(3, 224, 224),
        classes=1000,
        paper_densities={
            "conv1_1": 0.58,
            "conv1_2": 0.22,
            "conv2_1": 0.34,
            "conv2_2": 0.36,
            "conv3_1": 0.53,
            "conv3_2": 0.24,
            "conv3_3": 0.42,
            "conv4_1": 0.32,
            "conv4_2": 0.27,
            "conv4_3": 0.34,
            "conv5_1": 0.35,
            "conv5_2": 0.29,
            "conv5_3": 0.36,
            "fc6": 0.04,
            "fc7": 0.04,
            "fc8": 0.23,
        },
        paper_activation={
            "conv1_1": 0.53,
            "conv1_2": 0.89,
            "conv2_1": 0.80,
            "conv2_2": 0.81,
            "conv3_1": 0.68,
            "conv3_2": 0.70,
            "conv3_3": 0.64,
            "conv4_1": 0.51,
            "conv4_2": 0.45,
            "conv4_3": 0.34,
            "conv5_1": 0.32,
            "conv5_2": 0.29,
            "conv5_3": 0.19,
            "fc6": 0.38,
            "fc7": 0.42,
            "fc8": 1.00,
        },
    ),
}


def build_network(name: str, *, num_classes: int | None = None, dropout: float | None = None) -> nn.Module:
    """A fresh network by name.

    Args:
        name: One of ``NETWORKS``.
        num_classes: Width of the last layer, at least 1; without it, the paper's.
        dropout: Dropout probability of the hidden fully connected layers, in [0, 1); without it, the
            network's own (0 for the LeNets, 0.5 for AlexNet and VGG-16).

    Returns:
        The network, in training mode, on PyTorch's current default device.

    Raises:
        ConfigurationError: The name is unknown or a value is out of its range.

    Example:
        >>> build_network("lenet-300-100", num_classes=7).fc3
        Linear(in_features=100, out_features=7, bias=True)
    """
    if name not in NETWORKS:
        raise ConfigurationError(
            f"network {name!r} is not known; expected one of {', '.join(NETWORKS)}; "
            "a network of your own needs no name: pass the module itself"
        )
    spec = NETWORKS[name]
    classes = spec.classes if num_classes is None else num_classes
    if classes < 1:
        raise ConfigurationError(f"network {name!r}: num_classes must be at least 1, but is {classes}")
    if dropout is None:
        return spec.factory(num_classes=classes)
    if not 0.0 <= dropout < 1.0:
        raise ConfigurationError(
            f"network {name!r}: dropout must be a probability in [0, 1), but is {dropout}"
        )
    return spec.factory(num_classes=classes, dropout=dropout)
