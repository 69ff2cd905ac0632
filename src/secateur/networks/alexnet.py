"""AlexNet: Caffe's reference model, which the paper prunes (arXiv 1506.02626, Table 4), and torchvision's."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class AlexNet(nn.Module):
    """BVLC AlexNet: 227 x 227 input, two groups in conv2, conv4 and conv5: 60,954,656 weights, 10,568 biases.

    The order is that of BVLC AlexNet (convolution, ReLU, local response normalisation, pooling), not
    CaffeNet's, which pools first. It is not torchvision's AlexNet either: that one has no groups and other
    widths. PyTorch's default initialisation is kept, as in torchvision.

    Args:
        num_classes: Width of the last layer.
        dropout: Probability, in [0, 1), of zeroing a unit of fc1 and of fc2 in training.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     AlexNet()(torch.zeros(1, 3, 227, 227)).shape
        torch.Size([1, 1000])
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        # Caffe rounds the size of a pooled map up.
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.relu1 = nn.ReLU()
        self.norm1 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.relu2 = nn.ReLU()
        self.norm2 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.relu4 = nn.ReLU()
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.relu5 = nn.ReLU()
        self.pool5 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(9216, 4096)
        self.relu6 = nn.ReLU()
        self.dropout1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(4096, 4096)
        self.relu7 = nn.ReLU()
        self.dropout2 = nn.Dropout(dropout)
        self.fc3 = nn.Linear(4096, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 3, 227, 227].

        Returns:
            [batch, num_classes] logits.
        """
        x = self.pool1(self.norm1(self.relu1(self.conv1(images))))
        x = self.pool2(self.norm2(self.relu2(self.conv2(x))))
        x = self.relu3(self.conv3(x))
        x = self.relu4(self.conv4(x))
        x = self.pool5(self.relu5(self.conv5(x)))
        x = self.flatten(x)
        x = self.dropout1(self.relu6(self.fc1(x)))
        x = self.dropout2(self.relu7(self.fc2(x)))
        return self.fc3(x)  # type: ignore[no-any-return]  # nn.Module.__call__ is typed Any


@final
class AlexNetTorchvision(nn.Module):
    """torchvision's AlexNet for 224 x 224 images: no groups, other widths: 61,100,840 parameters.

    Krizhevsky's "one weird trick" (arXiv 1404.5997). Module names and shapes are torchvision's, so its state
    dictionaries load. torchvision also averages to 6 x 6 before the linear layers, which at 224 x 224 changes
    nothing and is left out.

    Args:
        num_classes: Width of the last layer.
        dropout: Probability, in [0, 1), of zeroing an input of the first two linear layers in training.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     AlexNetTorchvision()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1000])
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 3, 224, 224].

        Returns:
            [batch, num_classes] logits.
        """
        return self.classifier(self.flatten(self.features(images)))  # type: ignore[no-any-return]  # as above
