"""Residual networks (He et al., arXiv 1512.03385): for ImageNet (section 4.1) and for CIFAR (section 4.2)."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn import functional

from secateur.networks.convolution import convolution

_RESNET_WIDTHS = (64, 128, 256, 512)


@final
class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, and a shortcut around them.

    Args:
        inputs: Channels read.
        outputs: Channels made.
        stride: Of the first convolution.
        downsample: The shortcut; None passes the input on.

    Example:
        >>> import torch
        >>> BasicBlock(4, 4, 1, None)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 4, 6, 6])
    """

    def __init__(self, inputs: int, outputs: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = downsample
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output.

        Args:
            x: [batch, inputs, h, w].

        Returns:
            [batch, outputs, h / stride, w / stride], rounded up.
        """
        short = x if self.downsample is None else self.downsample(x)
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + short)  # type: ignore[no-any-return]  # nn.Module.__call__ is typed Any


@final
class Bottleneck(nn.Module):
    """A 1 x 1, a 3 x 3 and a 1 x 1 convolution that widens four times, and a shortcut around them.

    The stride is in the 3 x 3 convolution, as in torchvision ("version 1.5"); the paper has it in the first
    1 x 1, which throws three quarters of the map away unseen.

    Args:
        inputs: Channels read.
        width: Channels between; four times as many are made.
        stride: Of the 3 x 3 convolution.
        downsample: The shortcut; None passes the input on.

    Example:
        >>> import torch
        >>> Bottleneck(8, 2, 1, None)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 8, 6, 6])
    """

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(width, width, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = convolution(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = downsample
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output.

        Args:
            x: [batch, inputs, h, w].

        Returns:
            [batch, 4 width, h / stride, w / stride], rounded up.
        """
        short = x if self.downsample is None else self.downsample(x)
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        return self.relu3(self.bn3(self.conv3(y)) + short)  # type: ignore[no-any-return]  # as above


@final
class PaddedShortcut(nn.Module):
    """Option A of the paper: every second pixel, and zeros for the channels that are new; no weights.

    Args:
        channels: How many channels are added, behind those that are there.

    Example:
        >>> import torch
        >>> PaddedShortcut(2)(torch.ones(1, 1, 3, 3)).flatten(2).sum(2)
        tensor([[4., 0., 0.]])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """The shortened map.

        Args:
            x: [batch, c, h, w].

        Returns:
            [batch, c + channels, h / 2, w / 2], rounded up.
        """
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.channels))


class _ResNet(nn.Module):
    """The ImageNet networks; module names and shapes are torchvision's, so its state dictionaries load."""

    def __init__(self, layers: list[nn.Sequential], num_classes: int) -> None:
        super().__init__()
        self.conv1 = convolution(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        last = layers[-1][-1]
        self.fc = nn.Linear(2048 if isinstance(last, Bottleneck) else 512, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 3, 224, 224].

        Returns:
            [batch, num_classes] logits.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))  # type: ignore[no-any-return]  # as above


@final
class ResNet18(_ResNet):
    """ResNet-18 for 224 x 224 images: 11,689,512 parameters.

    Args:
        num_classes: Width of the last layer.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     ResNet18()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """

    def __init__(self, num_classes: int = 1000) -> None:
        layers, inputs = [], 64
        for number, width in enumerate(_RESNET_WIDTHS):
            stride = 1 if number == 0 else 2
            downsample = None if number == 0 else _projection(inputs, width, stride)
            first = BasicBlock(inputs, width, stride, downsample)
            layers.append(nn.Sequential(first, BasicBlock(width, width, 1, None)))
            inputs = width
        super().__init__(layers, num_classes)


@final
class ResNet50(_ResNet):
    """ResNet-50 for 224 x 224 images: 25,557,032 parameters.

    Args:
        num_classes: Width of the last layer.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     ResNet50()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """

    def __init__(self, num_classes: int = 1000) -> None:
        layers, inputs = [], 64
        for number, (width, blocks) in enumerate(zip(_RESNET_WIDTHS, (3, 4, 6, 3), strict=True)):
            stride = 1 if number == 0 else 2
            first = Bottleneck(inputs, width, stride, _projection(inputs, 4 * width, stride))
            rest = [Bottleneck(4 * width, width, 1, None) for _ in range(blocks - 1)]
            layers.append(nn.Sequential(first, *rest))
            inputs = 4 * width
        super().__init__(layers, num_classes)


class _CifarResNet(nn.Module):
    """6n + 2 layers: a convolution, three stages of n blocks with w, 2w and 4w channels, a linear layer."""

    def __init__(self, blocks: int, num_classes: int, first_width: int) -> None:
        super().__init__()
        self.conv1 = convolution(3, first_width, 3)
        self.bn1 = nn.BatchNorm2d(first_width)
        self.relu = nn.ReLU()
        stages, inputs = [], first_width
        for width in (first_width, 2 * first_width, 4 * first_width):
            same = width == inputs
            first = BasicBlock(
                inputs, width, 1 if same else 2, None if same else PaddedShortcut(width - inputs)
            )
            rest = [BasicBlock(width, width, 1, None) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            inputs = width
        self.layer1, self.layer2, self.layer3 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 3, 32, 32].

        Returns:
            [batch, num_classes] logits.
        """
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.flatten(self.avgpool(x)))  # type: ignore[no-any-return]  # as above


@final
class ResNet20(_CifarResNet):
    """ResNet-20 for 32 x 32 images: 268,336 weights, 269,722 parameters (the paper says 0.27 M).

    Args:
        num_classes: Width of the last layer.
        width: Channels of the first stage, at least 1; 16 was published.

    Example:
        >>> import torch
        >>> ResNet20()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    def __init__(self, num_classes: int = 10, width: int = 16) -> None:
        super().__init__(3, num_classes, width)


@final
class ResNet56(_CifarResNet):
    """ResNet-56 for 32 x 32 images: 848,944 weights, 853,018 parameters (the paper says 0.85 M).

    Args:
        num_classes: Width of the last layer.
        width: Channels of the first stage, at least 1; 16 was published.

    Example:
        >>> import torch
        >>> ResNet56()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    def __init__(self, num_classes: int = 10, width: int = 16) -> None:
        super().__init__(9, num_classes, width)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Option B of the paper: a 1 x 1 convolution for the shortcut."""
    return nn.Sequential(convolution(inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs))
