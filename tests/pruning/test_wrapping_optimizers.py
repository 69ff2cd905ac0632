"""Optimizers around optimizers: whoever takes the step is the one that is watched."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.errors import ConfigurationError
from secateur.pruning.criteria import Density
from secateur.pruning.pruner import Pruner
from tests.pruning.training import assert_pruned, batches, network


class Sam(Optimizer):
    """Sharpness-aware minimisation: a step uphill, and from there the gradient of the step downhill."""

    def __init__(self, parameters: Iterable[nn.Parameter], **settings: Any) -> None:
        super().__init__(parameters, {})
        self.base_optimizer = torch.optim.SGD(self.param_groups, **settings)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["old"] = parameter.data.clone()
                parameter.add_(parameter.grad, alpha=0.05)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data = self.state[parameter]["old"]
        self.base_optimizer.step()
        self.zero_grad()

    def step(self, closure: Callable[[], Any]) -> None:
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.mse_loss(model(batch[0]), batch[1])


@pytest.mark.parametrize("closure", [True, False])
def test_sharpness_aware_minimisation(closure: bool) -> None:
    model = network()
    optimizer = Sam(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.5))
    for batch in batches(5):
        loss(model, batch).backward()
        if closure:
            optimizer.step(lambda batch=batch: loss(model, batch).backward())
        else:
            optimizer.first_step()
            loss(model, batch).backward()
            optimizer.second_step()
        assert assert_pruned(pruner, model, optimizer.base_optimizer) == 2
    assert pruner.steps == 5


class Lookahead(Optimizer):
    """Every few steps, half of the way back to where the weights were."""

    def __init__(self, inner: Optimizer, *, call_init: bool) -> None:
        if call_init:
            super().__init__(inner.param_groups, {})
        else:
            self.defaults: dict[str, Any] = {}
        self._base_optimizer = inner
        self.param_groups = inner.param_groups
        self.slow = [parameter.detach().clone() for parameter in self.weights()]
        self.count = 0

    def weights(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def step(self, closure: Any = None) -> None:
        self._base_optimizer.step(closure)
        self.count += 1
        if self.count % 2 == 0:
            for slow, weight in zip(self.slow, self.weights(), strict=True):
                slow.lerp_(weight.data, 0.5)
                weight.data.copy_(slow)


def test_lookahead() -> None:
    model = network()
    optimizer = Lookahead(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), call_init=True)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.5))
    for batch in batches(6):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
        assert assert_pruned(pruner, model, optimizer._base_optimizer) == 2
    assert pruner.steps == 6


def test_a_wrapper_whose_steps_end_unseen_is_refused() -> None:
    model = network()
    optimizer = Lookahead(torch.optim.SGD(model.parameters(), lr=0.1), call_init=False)
    with pytest.raises(ConfigurationError, match=r"Lookahead wraps an optimizer and has no hooks of its own"):
        Pruner(model, optimizer)
    Pruner(model, optimizer._base_optimizer)
