"""VGG-16 (Simonyan and Zisserman's configuration D), as the paper prunes it (arXiv 1506.02626, Table 5)."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    # PyTorch's default shrinks the signal at every layer, and thirteen of them leave nothing to learn from.
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


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
        self.conv1_1 = _conv(3, 64)
        self.relu1_1 = nn.ReLU()
        self.conv1_2 = _conv(64, 64)
        self.relu1_2 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2_1 = _conv(64, 128)
        self.relu2_1 = nn.ReLU()
        self.conv2_2 = _conv(128, 128)
        self.relu2_2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.conv3_1 = _conv(128, 256)
        self.relu3_1 = nn.ReLU()
        self.conv3_2 = _conv(256, 256)
        self.relu3_2 = nn.ReLU()
        self.conv3_3 = _conv(256, 256)
        self.relu3_3 = nn.ReLU()
        self.pool3 = nn.MaxPool2d(2)
        self.conv4_1 = _conv(256, 512)
        self.relu4_1 = nn.ReLU()
        self.conv4_2 = _conv(512, 512)
        self.relu4_2 = nn.ReLU()
        self.conv4_3 = _conv(512, 512)
        self.relu4_3 = nn.ReLU()
        self.pool4 = nn.MaxPool2d(2)
        self.conv5_1 = _conv(512, 512)
        self.relu5_1 = nn.ReLU()
        self.conv5_2 = _conv(512, 512)
        self.relu5_2 = nn.ReLU()
        self.conv5_3 = _conv(512, 512)
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
