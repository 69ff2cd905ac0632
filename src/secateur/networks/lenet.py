"""LeNet-300-100 and LeNet-5, the paper's two MNIST networks (arXiv 1506.02626, Tables 2 and 3)."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class LeNet300100(nn.Module):
    """The fully connected 784-300-100-10 network: 266,200 weights and 410 biases.

    PyTorch's default initialisation is kept: two hidden layers are too shallow for it to matter.

    Args:
        num_classes: Width of the last layer.
        dropout: Probability, in [0, 1), of zeroing a hidden unit in training. The modules are there at 0.0
            too, so that the graph does not depend on it.

    Example:
        >>> import torch
        >>> LeNet300100()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(784, 300)
        self.relu1 = nn.ReLU()
        self.dropout1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(300, 100)
        self.relu2 = nn.ReLU()
        self.dropout2 = nn.Dropout(dropout)
        self.fc3 = nn.Linear(100, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 1, 28, 28] or anything else with 784 numbers an image.

        Returns:
            [batch, num_classes] logits.
        """
        x = self.flatten(images)
        x = self.dropout1(self.relu1(self.fc1(x)))
        x = self.dropout2(self.relu2(self.fc2(x)))
        return self.fc3(x)  # type: ignore[no-any-return]  # nn.Module.__call__ is typed Any


@final
class LeNet5(nn.Module):
    """Caffe's LeNet-5 (20 and 50 filters of 5x5, then 500 units): 430,500 weights and 580 biases.

    Unlike Caffe's, the convolutions are followed by ReLU: the activation densities of Table 3 (82 % and 72 %)
    cannot be had without. PyTorch's default initialisation is kept.

    Args:
        num_classes: Width of the last layer.
        dropout: Probability, in [0, 1), of zeroing a unit of fc1 in training.

    Example:
        >>> import torch
        >>> LeNet5()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.relu2 = nn.ReLU()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(800, 500)
        self.relu3 = nn.ReLU()
        self.dropout1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(500, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            images: [batch, 1, 28, 28].

        Returns:
            [batch, num_classes] logits.
        """
        # ReLU is monotone, so max(relu(x)) = relu(max(x)): after the pooling it is the same function on a
        # quarter of the numbers.
        x = self.relu1(self.pool1(self.conv1(images)))
        x = self.relu2(self.pool2(self.conv2(x)))
        x = self.flatten(x)
        x = self.dropout1(self.relu3(self.fc1(x)))
        return self.fc2(x)  # type: ignore[no-any-return]  # nn.Module.__call__ is typed Any
