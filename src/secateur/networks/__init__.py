"""The built-in networks, by name: the paper's four, and those that pruning is compared on today."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from secateur.errors import ConfigurationError
from secateur.networks.alexnet import AlexNet, AlexNetTorchvision
from secateur.networks.lenet import LeNet5, LeNet300100
from secateur.networks.mobilenet import MobileNetV2
from secateur.networks.paper import PAPER_NETWORKS
from secateur.networks.resnet import ResNet18, ResNet20, ResNet50, ResNet56
from secateur.networks.spec import NetworkSpec
from secateur.networks.vgg import VGG16, VGG16Cifar

__all__ = [
    "NETWORKS",
    "PAPER_NETWORKS",
    "VGG16",
    "AlexNet",
    "AlexNetTorchvision",
    "LeNet5",
    "LeNet300100",
    "MobileNetV2",
    "NetworkSpec",
    "ResNet18",
    "ResNet20",
    "ResNet50",
    "ResNet56",
    "VGG16Cifar",
    "build_network",
]

NETWORKS: Mapping[str, NetworkSpec] = {
    **PAPER_NETWORKS,
    "resnet-20": NetworkSpec(factory=ResNet20, input_shape=(3, 32, 32), classes=10),
    "resnet-56": NetworkSpec(factory=ResNet56, input_shape=(3, 32, 32), classes=10),
    "vgg-16-cifar": NetworkSpec(factory=VGG16Cifar, input_shape=(3, 32, 32), classes=10),
    "resnet-18": NetworkSpec(factory=ResNet18, input_shape=(3, 224, 224), classes=1000),
    "resnet-50": NetworkSpec(factory=ResNet50, input_shape=(3, 224, 224), classes=1000),
    "mobilenet-v2": NetworkSpec(factory=MobileNetV2, input_shape=(3, 224, 224), classes=1000, dropout=True),
    "alexnet-torchvision": NetworkSpec(
        factory=AlexNetTorchvision, input_shape=(3, 224, 224), classes=1000, dropout=True
    ),
}


def build_network(name: str, *, num_classes: int | None = None, dropout: float | None = None) -> nn.Module:
    """A fresh network by name.

    Args:
        name: One of ``NETWORKS``.
        num_classes: Width of the last layer, at least 1; without it, what was published.
        dropout: Dropout probability of the fully connected layers, in [0, 1); without it, the network's own
            (0 for the LeNets, 0.5 for AlexNet and VGG-16, 0.2 for MobileNetV2).

    Returns:
        The network, in training mode, on PyTorch's current default device.

    Raises:
        ConfigurationError: The name is unknown, a value is out of its range, or dropout is asked of a network
            that has none.

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
    if not spec.dropout:
        raise ConfigurationError(f"network {name!r} has no dropout to set to {dropout}; leave it away")
    if not 0.0 <= dropout < 1.0:
        raise ConfigurationError(
            f"network {name!r}: dropout must be a probability in [0, 1), but is {dropout}"
        )
    return spec.factory(num_classes=classes, dropout=dropout)
