"""MobileNetV2 (Sandler et al., arXiv 1801.04381): inverted residuals around depthwise convolutions."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from secateur.networks.convolution import convolution

# Table 2 of the paper: how many times a block widens, channels it makes, blocks, stride of the first one.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@final
class InvertedResidual(nn.Module):
    """Widen, filter every channel by itself, narrow without a nonlinearity; a shortcut where sizes allow it.

    Args:
        inputs: Channels read.
        outputs: Channels made.
        stride: Of the depthwise convolution.
        widen: How many times as many channels there are between; 1 leaves the first convolution out.

    Example:
        >>> import torch
        >>> InvertedResidual(4, 4, 1, 6)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 4, 6, 6])
    """

    def __init__(self, inputs: int, outputs: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = inputs * widen
        self.conv = nn.Sequential(
            *([] if widen == 1 else [_activated(inputs, wide, 1)]),
            _activated(wide, wide, 3, stride=stride, groups=wide),
            convolution(wide, outputs, 1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """The block's output.

        Args:
            x: [batch, inputs, h, w].

        Returns:
            [batch, outputs, h / stride, w / stride], rounded up.
        """
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


@final
class MobileNetV2(nn.Module):
    """MobileNetV2 at width 1.0 for 224 x 224 images: 3,504,872 parameters.

    Module names and shapes are torchvision's, so its state dictionaries load.

    Args:
        num_classes: Width of the last layer.
        dropout: Probability, in [0, 1), of zeroing an input of the last layer in training.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     MobileNetV2()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_activated(3, 32, 3, stride=2)]
        inputs = 32
        for widen, outputs, count, stride in _STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(inputs, outputs, stride if number == 0 else 1, widen))
                inputs = outputs
        self.features = nn.Sequential(*blocks, _activated(inputs, 1280, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        last = nn.Linear(1280, num_classes)
        nn.init.normal_(last.weight, 0.0, 0.01)
        nn.init.zeros_(last.bias)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 3, 224, 224].

        Returns:
            [batch, num_classes] logits.
        """
        x = self.flatten(self.avgpool(self.features(images)))
        return self.classifier(x)  # type: ignore[no-any-return]  # nn.Module.__call__ is typed Any


def _activated(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        convolution(inputs, outputs, kernel, stride=stride, groups=groups),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )
