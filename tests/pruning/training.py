"""A small network, its batches and a step, and what must hold of it under a pruner."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.pruning.pruner import Pruner


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 4))


def batches(count: int, seed: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(8, 6, generator=generator), torch.randn(8, 4, generator=generator)


def step(model: nn.Module, optimizer: Optimizer, batch: tuple[Tensor, Tensor]) -> None:
    optimizer.zero_grad()
    nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
    optimizer.step()


def assert_pruned(pruner: Pruner, model: nn.Module, optimizer: Optimizer | None = None) -> int:
    """Every pruned weight, and every state of its shape, is zero; how many states there were."""
    states = 0
    for name, mask in pruner.masks.items():
        weight = model.get_parameter(name)
        assert not weight[~mask].any()
        assert weight[mask].all()  # and nothing else was zeroed
        for state in (optimizer.state.get(weight, {}) if optimizer else {}).values():
            if isinstance(state, Tensor) and state.shape == weight.shape:
                states += 1
                assert not state[~mask].any()
                assert state[mask].any()
    return states
