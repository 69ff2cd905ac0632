"""VGG-16, Simonyan and Zisserman's configuration D: that of arXiv 1506.02626, Table 5, and one for CIFAR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor, nn

from secateur.networks.convolution import convolution

_TORCHVISION_NAMES = {
    "features.0": "conv1_1",
    "features.2": "conv1_2",
    "features.5": "conv2_1",
    "features.7": "conv2_2",
    "features.10": "conv3_1",
    "features.12": "conv3_2",
    "features.14": "conv3_3",
    "features.17": "conv4_1",
    "features.19": "conv4_2",
    "features.21": "conv4_3",
    "features.24": "conv5_1",
    "features.26": "conv5_2",
    "features.28": "conv5_3",
    "classifier.0": "fc6",
    "classifier.3": "fc7",
    "classifier.6": "fc8",
}

# Channels of the convolutions, as multiples of the first one's; None is a pooling.
_CIFAR_PLAN = (1, 1, None, 2, 2, None, 4, 4, 4, None, 8, 8, 8, None, 8, 8, 8, None)


def vgg16_from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of torchvision's VGG-16 under the names of ours, which are those of the paper's tables.

    Args:
        state: Tensors by name. Names that are not torchvision's stay.

    Returns:
        The same tensors by their new names.

    Example:
        >>> import torch
        >>> list(vgg16_from_torchvision({"features.28.bias": torch.zeros(512)}))
        ['conv5_3.bias']
    """
    renamed = {}
    for name, tensor in state.items():
        module, dot, parameter = name.rpartition(".")
        renamed[_TORCHVISION_NAMES.get(module, module) + dot + parameter] = tensor
    return renamed


@final
class VGG16(nn.Module):
    """VGG-16 for 224 x 224 images: 138,344,128 weights and 13,416 biases.

    Convolutions start from Kaiming's normal initialisation with zero biases, as in torchvision; the fully
    connected layers keep PyTorch's default.

    Args:
        num_classes: Width of the last layer.
        dropout: Probability, in [0, 1), of zeroing a unit of fc6 and of fc7 in training.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     VGG16()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1_1 = _biased(3, 64)
        self.relu1_1 = nn.ReLU()
        self.conv1_2 = _biased(64, 64)
        self.relu1_2 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2_1 = _biased(64, 128)
        self.relu2_1 = nn.ReLU()
        self.conv2_2 = _biased(128, 128)
        self.relu2_2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.conv3_1 = _biased(128, 256)
        self.relu3_1 = nn.ReLU()
        self.conv3_2 = _biased(256, 256)
        self.relu3_2 = nn.ReLU()
        self.conv3_3 = _biased(256, 256)
        self.relu3_3 = nn.ReLU()
        self.pool3 = nn.MaxPool2d(2)
        self.conv4_1 = _biased(256, 512)
        self.relu4_1 = nn.ReLU()
        self.conv4_2 = _biased(512, 512)
        self.relu4_2 = nn.ReLU()
        self.conv4_3 = _biased(512, 512)
        self.relu4_3 = nn.ReLU()
        self.pool4 = nn.MaxPool2d(2)
        self.conv5_1 = _biased(512, 512)
        self.relu5_1 = nn.ReLU()
        self.conv5_2 = _biased(512, 512)
        self.relu5_2 = nn.ReLU()
        self.conv5_3 = _biased(512, 512)
        self.relu5_3 = nn.ReLU()
        self.pool5 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc6 = nn.Linear(25088, 4096)
        self.relu6 = nn.ReLU()
        self.dropout6 = nn.Dropout(dropout)
        self.fc7 = nn.Linear(4096, 4096)
        self.relu7 = nn.ReLU()
        self.dropout7 = nn.Dropout(dropout)
        self.fc8 = nn.Linear(4096, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 3, 224, 224].

        Returns:
            [batch, num_classes] logits.
        """
        x = self.relu1_1(self.conv1_1(images))
        x = self.pool1(self.relu1_2(self.conv1_2(x)))
        x = self.relu2_1(self.conv2_1(x))
        x = self.pool2(self.relu2_2(self.conv2_2(x)))
        x = self.relu3_1(self.conv3_1(x))
        x = self.relu3_2(self.conv3_2(x))
        x = self.pool3(self.relu3_3(self.conv3_3(x)))
        x = self.relu4_1(self.conv4_1(x))
        x = self.relu4_2(self.conv4_2(x))
        x = self.pool4(self.relu4_3(self.conv4_3(x)))
        x = self.relu5_1(self.conv5_1(x))
        x = self.relu5_2(self.conv5_2(x))
        x = self.pool5(self.relu5_3(self.conv5_3(x)))
        x = self.flatten(x)
        x = self.dropout6(self.relu6(self.fc6(x)))
        x = self.dropout7(self.relu7(self.fc7(x)))
        return self.fc8(x)  # type: ignore[no-any-return]  # nn.Module.__call__ is typed Any


@final
class VGG16Cifar(nn.Module):
    """VGG-16 for 32 x 32 images, with batch normalisation and one linear layer: 14,724,042 parameters.

    The thirteen convolutions of VGG-16 without biases, 14,715,584 weights with the 512-10 head. This is the
    network that pruning papers call VGG-16 on CIFAR-10 (Li et al., arXiv 1608.08710), less their second
    hidden linear layer.

    Args:
        num_classes: Width of the last layer.
        width: Channels of the first convolution, at least 1; 64 was published.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     VGG16Cifar()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    def __init__(self, num_classes: int = 10, width: int = 64) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        inputs = 3
        for multiple in _CIFAR_PLAN:
            if multiple is None:
                parts.append(nn.MaxPool2d(2))
                continue
            outputs = multiple * width
            parts += [convolution(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.features = nn.Sequential(*parts)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 3, 32, 32].

        Returns:
            [batch, num_classes] logits.
        """
        return self.fc(self.flatten(self.features(images)))  # type: ignore[no-any-return]  # as above


def _biased(inputs: int, outputs: int) -> nn.Conv2d:
    return convolution(inputs, outputs, 3, bias=True)
