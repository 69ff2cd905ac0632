from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.analysis.prefix import DividedNetwork, Route
from secateur.errors import UnsupportedModelError
from secateur.networks import AlexNet, LeNet5
from tests.small import SIDE, Conv, Dense, Tied


class Residual(nn.Module):
    """Branches, batch normalisation, an addition and in-place activations, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        out = self.conv2(self.relu(self.norm(self.conv1(x))))
        out += x
        return self.head(self.relu(out).mean(dim=(2, 3)))


class Functional(nn.Module):
    """A weight that no module holds, read twice, and a second input with a default."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
        x = functional.relu(self.first(x)) * scale
        x = functional.relu(functional.linear(x, self.second.weight, self.second.bias))
        return functional.linear(x, self.second.weight)


class Overwriting(nn.Module):
    """What comes before the second layer is written over after it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(x)
        return y + x.relu_()


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) if x.sum() > 0 else x


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + torch.rand(5)


NETWORKS = [
    (Dense, (1, SIDE, SIDE)),
    (Conv, (1, SIDE, SIDE)),
    (Tied, (1, SIDE, SIDE)),
    (LeNet5, (1, 28, 28)),
    (Residual, (1, 6, 6)),
    (Functional, (5,)),
]


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.mark.parametrize(("kind", "shape"), NETWORKS)
def test_wherever_it_is_cut_it_gives_the_same_bits(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    model, images = kind().eval(), torch.randn(7, *shape)
    whole = model(images)
    divided = DividedNetwork(model)
    state = divided.start(images)
    for position in sorted(divided.positions.values()):
        state = divided.advance(state, position)
        assert torch.equal(divided.finish(state), whole)
        assert torch.equal(divided.finish(state), whole)  # the state was not used up


@pytest.mark.parametrize(("kind", "shape"), NETWORKS)
def test_before_its_position_no_layer_matters_and_at_it_its_own_does(
    kind: type[nn.Module], shape: tuple[int, ...]
) -> None:
    model, images = kind().eval(), torch.randn(7, *shape)
    divided = DividedNetwork(model)
    for name, position in divided.positions.items():
        state = divided.advance(divided.start(images), position)
        weight = model.get_parameter(name)
        before = weight.clone()
        weight.mul_(0.5)
        assert torch.equal(divided.finish(state), model(images))
        weight.copy_(before)


def test_a_state_holds_only_what_is_read_later() -> None:
    model, images = LeNet5().eval(), torch.randn(3, 1, 28, 28)
    divided = DividedNetwork(model)
    state = divided.advance(divided.start(images), divided.positions["conv2.weight"])
    assert state.bytes == 3 * 20 * 12 * 12 * 4
    state = divided.advance(state, divided.positions["fc2.weight"])
    assert state.bytes == 3 * 500 * 4


def test_a_residual_holds_both_branches() -> None:
    model, images = Residual().eval(), torch.randn(2, 1, 6, 6)
    divided = DividedNetwork(model)
    state = divided.advance(divided.start(images), divided.positions["conv2.weight"])
    assert state.bytes == 2 * (2 * 4 * 6 * 6 * 4)


def test_alexnet_is_traced_on_the_meta_device() -> None:
    with torch.device("meta"):
        divided = DividedNetwork(AlexNet().eval())
    weights = [name for name in divided.positions if name.endswith("weight")]
    assert weights == [f"conv{n}.weight" for n in range(1, 6)] + [f"fc{n}.weight" for n in (1, 2, 3)]


def test_a_state_that_is_written_over_is_refused() -> None:
    divided = DividedNetwork(Overwriting().eval())
    state = divided.advance(divided.start(torch.randn(2, 5)), divided.positions["second.weight"])
    with pytest.raises(UnsupportedModelError, match="writes over what comes before the layer"):
        divided.finish(state)


def test_control_flow_cannot_be_traced() -> None:
    with pytest.raises(UnsupportedModelError, match=r"Branching cannot be traced .* out of forward"):
        DividedNetwork(Branching().eval())


def route(model: nn.Module, images: Tensor, size: int, memory: int = 1 << 30) -> Route:
    parts = list(torch.split(images, size))
    return Route(model.eval(), parts, (model(parts[0]), model(parts[-1])), memory)


def test_a_network_that_draws_at_random_is_not_divided() -> None:
    found = route(Random(), torch.randn(4, 5), 2)
    assert found.note == (
        "traced by torch.fx, Random gives other results than itself; does it draw at random, keep a state or "
        "carry hooks?"
    )
    with pytest.raises(UnsupportedModelError, match="other results than itself"):
        next(found.from_layer("first.weight"))


@pytest.mark.parametrize(("memory", "groups"), [(1 << 30, [3]), (5_000, [2, 1]), (1, [1, 1, 1])])
def test_batches_go_in_groups_that_fit_into_memory(memory: int, groups: list[int]) -> None:
    model, images = Dense(), torch.randn(11, 1, SIDE, SIDE)
    found = route(model, images, 4, memory)
    whole = torch.cat([model(part) for part in torch.split(images, 4)])
    for name in ("fc1.weight", "fc2.weight", "fc3.weight", "fc1.weight"):  # back again as well
        outputs: list[Tensor] = []
        sizes = []
        for group in found.from_layer(name):
            sizes.append(len(group))
            outputs += [rest() for rest in group]
        assert sizes == groups
        assert torch.equal(torch.cat(outputs), whole)


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match=r"where none\.weight is read"):
        next(route(Dense(), torch.randn(4, 1, SIDE, SIDE), 2).from_layer("none.weight"))
