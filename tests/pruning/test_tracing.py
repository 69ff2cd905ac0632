import pytest
import torch
from torch import Tensor, nn

from secateur.analysis.prefix import DividedNetwork
from secateur.pruning.criteria import Density
from secateur.pruning.pruner import Pruner
from secateur.pruning.tracing import trace


class WithDefaults(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(
        self,
        x: Tensor,
        skip: Tensor | None = None,
        features: bool = False,
        times: int = 2,
        kind: str = "relu",
        *,
        scale: float = 2.0,
    ) -> Tensor:
        h: Tensor = self.first(x)
        if skip is not None:
            h = h + skip
        for _ in range(times):
            h = torch.relu(h) if kind == "relu" else torch.tanh(h)
        if features:
            return h
        result: Tensor = self.second(h) * scale
        return result


def test_arguments_with_defaults_are_at_their_defaults() -> None:
    model, x = WithDefaults(), torch.randn(3, 6)
    traced = trace(model)
    assert [node.name for node in traced.graph.nodes] == [
        "x", "first", "relu", "relu_1", "second", "mul", "output",
    ]  # fmt: skip
    assert torch.equal(traced(x), model(x))


def test_such_a_network_is_swept_and_divided() -> None:
    model, x = WithDefaults(), torch.randn(3, 6)
    pruner = Pruner(model)
    pruner.prune(Density(0.3))
    with torch.no_grad():
        model.second.weight[:, 1] = 0
    pruner.restrict({"second.weight": (torch.arange(5) != 1).expand(2, 5)})
    before = model(x)
    assert pruner.sweep((6,)).removed_weights > 0
    torch.testing.assert_close(model(x), before)
    divided = DividedNetwork(model.eval())
    with torch.no_grad():
        state = divided.advance(divided.start(x), divided.positions["second.weight"])
        assert torch.equal(divided.finish(state), model(x))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor, y: Tensor, *, scale: float = 1.0) -> Tensor:
        result: Tensor = self.layer(x + y) * scale
        return result


@pytest.mark.parametrize("network", [nn.Sequential(nn.Linear(2, 2)), TwoInputs()])
def test_others_are_traced_as_ever(network: nn.Module) -> None:
    batch = [torch.ones(1, 2)] * (2 if isinstance(network, TwoInputs) else 1)
    assert torch.equal(trace(network)(*batch), network(*batch))
