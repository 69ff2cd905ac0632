"""The paper's four networks with what it reports of them (arXiv 1506.02626, Tables 2 to 5)."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.networks.alexnet import AlexNet
from secateur.networks.lenet import LeNet5, LeNet300100
from secateur.networks.spec import NetworkSpec
from secateur.networks.vgg import VGG16, vgg16_from_torchvision

PAPER_NETWORKS: Mapping[str, NetworkSpec] = {
    "lenet-300-100": NetworkSpec(
        factory=LeNet300100,
        input_shape=(1, 28, 28),
        classes=10,
        dropout=True,
        paper_densities={"fc1": 0.08, "fc2": 0.09, "fc3": 0.26},
        paper_activation={"fc1": 0.38, "fc2": 0.65, "fc3": 1.00},
    ),
    "lenet-5": NetworkSpec(
        factory=LeNet5,
        input_shape=(1, 28, 28),
        classes=10,
        dropout=True,
        paper_densities={"conv1": 0.66, "conv2": 0.12, "fc1": 0.08, "fc2": 0.19},
        paper_activation={"conv1": 0.82, "conv2": 0.72, "fc1": 0.55, "fc2": 1.00},
    ),
    "alexnet": NetworkSpec(
        factory=AlexNet,
        input_shape=(3, 227, 227),
        classes=1000,
        dropout=True,
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
        dropout=True,
        translate=vgg16_from_torchvision,
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
