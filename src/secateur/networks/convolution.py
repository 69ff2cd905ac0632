"""The convolution that the networks with many layers are made of."""

from __future__ import annotations

from torch import nn


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A convolution padded to keep the size of the map, from Kaiming's normal initialisation.

    PyTorch's default shrinks the signal at every layer, and thirteen of them leave nothing to learn from.

    Args:
        inputs: Channels read.
        outputs: Channels made.
        kernel: Height and width of a filter, odd.
        stride: Step of the filter in both directions.
        groups: Groups of channels.
        bias: Whether there are biases (zero at first); batch normalisation behind it makes them needless.

    Returns:
        The convolution.

    Example:
        >>> convolution(3, 8, 3, stride=2)
        Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)

    Source: He et al., arXiv 1502.01852; ``fan_out`` as in torchvision.
    """
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
