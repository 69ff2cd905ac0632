import copy
from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from secateur.errors import ConfigurationError, MaskError, UnreachableTargetError, UnsupportedModelError
from secateur.pruning.channel_graph import channel_graph
from secateur.pruning.neurons import DeadNeurons, KeptConstant, Obstacle, Sweep, sweep_dead_neurons


def masks_of(
    model: nn.Module, density: float, seed: int, leave_out: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(weight.shape, generator=generator) < density
        for name, weight in model.named_parameters()
        if weight.dim() > 1 and name not in leave_out
    }


def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masks.items():
            result.get_parameter(name).mul_(mask)
    return result


def check(model: nn.Module, masks: Mapping[str, Tensor], shape: tuple[int, ...]) -> Sweep | None:
    """Sweep, and hold it to its contract; None where the network was cut through."""
    model = model.double().eval()
    x = torch.randn(5, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    expected = masked(model, masks)(x)
    original = copy.deepcopy(model.state_dict())
    try:
        sweep = sweep_dead_neurons(model, masks, shape)
    except UnreachableTargetError:
        assert all(torch.equal(value, original[name]) for name, value in model.state_dict().items())
        return None
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert sweep.masks.keys() == masks.keys()
    assert all(not bool((sweep.masks[name] & ~masks[name]).any()) for name in masks)
    assert all(bool((model.get_parameter(name)[~mask] == 0).all()) for name, mask in sweep.masks.items())
    assert sweep.removed_weights == sum(int((masks[name] & ~sweep.masks[name]).sum()) for name in masks)
    after = copy.deepcopy(model.state_dict())
    again = sweep_dead_neurons(model, sweep.masks, shape)
    assert again.removed_weights == again.folded == 0
    assert again.dead == sweep.dead
    assert again.kept_constant == sweep.kept_constant
    assert all(torch.equal(value, after[name]) for name, value in model.state_dict().items())
    return sweep


ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.Hardswish, nn.Identity)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 7), min_size=2, max_size=5),
    activation=st.sampled_from(ACTIVATIONS),
    density=st.floats(0.1, 0.8),
    bias=st.lists(st.booleans(), min_size=5, max_size=5),
    seed=st.integers(0, 2**16),
)
def test_random_mlps_compute_the_same(
    sizes: list[int], activation: type[nn.Module], density: float, bias: list[bool], seed: int
) -> None:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        layers += [nn.Linear(n_in, n_out, bias=bias[i]), activation(), nn.Dropout(0.5)]
    model = nn.Sequential(*layers, nn.Linear(sizes[-1], 2))
    check(model, masks_of(model, density, seed), (sizes[0],))


class ConvNet(nn.Module):
    def __init__(
        self, *, padding: int = 0, groups: int = 1, norm: bool = False, activation: type[nn.Module] = nn.ReLU
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=padding)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.activation = activation()
        self.conv2 = nn.Conv2d(4, 6, 3, padding=padding, groups=groups)
        self.pool = 2 if padding else 1
        self.fc1 = nn.Linear(6 * (4 if padding else 1), 5)
        self.fc2 = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.activation(self.norm(self.conv1(x))), 2)
        x = functional.avg_pool2d(functional.relu(self.conv2(x)), self.pool)
        x = functional.dropout(x.view(x.size(0), -1), 0.5, self.training)
        return self.fc2(torch.tanh(self.fc1(x)))


@settings(max_examples=60, deadline=None)
@given(
    padding=st.integers(0, 1),
    groups=st.sampled_from([1, 2]),
    norm=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    density=st.floats(0.03, 0.6),
    seed=st.integers(0, 2**16),
    leave_out=st.sampled_from([(), ("conv2.weight",), ("fc1.weight", "conv1.weight")]),
)
def test_random_convnets_compute_the_same(
    padding: int,
    groups: int,
    norm: bool,
    activation: type[nn.Module],
    density: float,
    seed: int,
    leave_out: tuple[str, ...],
) -> None:
    torch.manual_seed(seed)
    model = ConvNet(padding=padding, groups=groups, norm=norm, activation=activation)
    if norm:
        nn.init.uniform_(model.norm.bias, -1, 1)
        nn.init.uniform_(model.norm.running_mean, -1, 1)
    untouched = {name: model.get_parameter(name).detach().double() for name in leave_out}
    masks = masks_of(model, density, seed, leave_out)
    check(model, masks, (2, 8, 8))
    for name, weight in untouched.items():
        assert torch.equal(model.get_parameter(name), weight)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.inner1 = nn.Linear(6, 5)
        self.inner2 = nn.Linear(5, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head(torch.relu(x + self.inner2(torch.relu(self.inner1(x)))))


@settings(max_examples=40, deadline=None)
@given(density=st.floats(0.1, 0.6), seed=st.integers(0, 2**16))
def test_a_residual_sum_is_a_barrier(density: float, seed: int) -> None:
    torch.manual_seed(seed)
    model = Residual()
    masks = masks_of(model, density, seed)
    sweep = check(model, masks, (4,))
    graph = channel_graph(model, (4,))
    assert [graph[name].barrier is None for name in ("stem", "inner1", "inner2", "head")] == [
        False,
        True,
        False,
        False,
    ]
    if sweep is not None:
        assert torch.equal(sweep.masks["stem.weight"], masks["stem.weight"])


def test_a_producer_with_two_understood_readers_needs_both_to_be_dead() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.left, self.right = nn.Linear(2, 4), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.left(torch.relu(x)) + self.right(torch.sigmoid(x))

    model = Fork()
    every = torch.ones(2, 4, dtype=torch.bool)
    masks = {
        "stem.weight": every.T & torch.tensor([[True], [True], [False], [True]]),
        "left.weight": every & torch.tensor([True, False, True, False]),
        "right.weight": every & torch.tensor([False, True, True, False]),
    }
    nn.init.constant_(model.stem.bias, -1.0)
    sweep = check(model, masks, (2,))
    assert sweep is not None
    assert sweep.masks["stem.weight"].any(1).tolist() == [True, True, False, False]
    assert sweep.folded == 1  # relu(-1) is zero on the left, sigmoid(-1) is not on the right
    assert sweep.masks["left.weight"].any(0).tolist() == [True, False, False, False]
    assert sweep.masks["right.weight"].any(0).tolist() == [False, True, False, False]


def lenet() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2)),
    )


def full(model: nn.Module) -> dict[str, Tensor]:
    return {n: torch.ones_like(p, dtype=torch.bool) for n, p in model.named_parameters() if p.dim() > 1}


def test_a_conv_channel_without_inputs_takes_its_flattened_features_along() -> None:
    torch.manual_seed(0)
    model = lenet()
    masks = full(model)
    masks["3.weight"][1] = False
    nn.init.constant_(model[3].bias, 0.25)
    before = model[7].bias.detach().double().clone()
    given_weight = model[7].weight.detach().double()[:, 4:8].sum(1)
    sweep = check(model, masks, (1, 16, 16))
    assert sweep is not None
    assert sweep.folded == 1
    assert sweep.removed_weights == 5 * 4
    assert not sweep.masks["7.weight"][:, 4:8].any()
    assert sweep.masks["7.weight"].sum() == 5 * 12
    torch.testing.assert_close(model[7].bias.detach(), before + 0.25 * given_weight)
    assert model[3].bias[1] == 0
    assert sweep.dead["3"] == DeadNeurons(without_inputs=1, without_outputs=1, total=4)
    assert sweep.dead["9"] == DeadNeurons(without_inputs=0, without_outputs=0, total=2)


def test_a_chain_of_unread_neurons_is_removed_back_to_the_input() -> None:
    model = lenet()
    masks = full(model)
    masks["7.weight"][:, :12] = False  # nobody reads channels 0..2 of the second convolution
    masks["3.weight"][3, 0] = False  # and so nobody reads channel 0 of the first
    sweep = check(model, masks, (1, 16, 16))
    assert sweep is not None
    assert sweep.masks["3.weight"].flatten(1).any(1).tolist() == [False, False, False, True]
    assert sweep.masks["0.weight"].flatten(1).any(1).tolist() == [False, True, True]
    assert model[3].bias[:3].tolist() == [0, 0, 0]
    assert model[0].bias[0] == 0


def test_a_negative_constant_dies_in_relu_and_frees_its_reader() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))
    masks = full(model)
    masks["0.weight"][0] = False
    nn.init.constant_(model[0].bias, -1.0)
    sweep = check(model, masks, (2,))
    assert sweep is not None
    assert (sweep.folded, sweep.removed_weights, sweep.kept_constant) == (0, 2, ())
    assert model[0].bias.tolist() == [0.0, -1.0]


def constant_through(*between: nn.Module, consumer: nn.Module, shape: tuple[int, ...]) -> Sweep:
    """A convolution whose first channel is the constant 1, and what became of it."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), *between, consumer)
    masks = full(model)
    masks["0.weight"][0] = False
    nn.init.constant_(model[0].bias, 1.0)
    sweep = check(model, masks, shape)
    assert sweep is not None
    return sweep


def test_a_padded_convolution_keeps_a_constant_and_says_so() -> None:
    sweep = constant_through(nn.ReLU(), consumer=nn.Conv2d(2, 3, 3, padding=1), shape=(1, 4, 4))
    assert sweep.kept_constant == (KeptConstant("0", 1, Obstacle.PADDED, "2"),)
    assert (sweep.folded, sweep.removed_weights) == (0, 0)
    assert sweep.dead["0"] == DeadNeurons(without_inputs=1, without_outputs=0, total=2)
    same = constant_through(consumer=nn.Conv2d(2, 3, 3, padding="same"), shape=(1, 4, 4))
    assert same.kept_constant[0].obstacle is Obstacle.PADDED


@pytest.mark.parametrize(
    "consumer",
    [
        nn.Conv2d(2, 3, 3),
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 3, 1, padding="same"),
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 3, 3, stride=2, dilation=2),
    ],
)
def test_other_convolutions_take_the_constant(consumer: nn.Conv2d) -> None:
    sweep = constant_through(nn.ReLU(), consumer=copy.deepcopy(consumer), shape=(1, 6, 6))
    assert sweep.folded == 1
    assert not [kept for kept in sweep.kept_constant if kept.layer == "0"]


@pytest.mark.parametrize(
    ("between", "consumer", "obstacle", "where"),
    [
        ((nn.BatchNorm2d(2),), nn.Conv2d(2, 1, 1), Obstacle.NORMALISED, "2"),
        ((nn.AvgPool2d(3, 1, padding=1),), nn.Conv2d(2, 1, 1), Obstacle.UNEVEN, "2"),
        ((), nn.Conv2d(2, 1, 1, bias=False), Obstacle.NO_BIAS, "1"),
        ((nn.LocalResponseNorm(2),), nn.Conv2d(2, 1, 1), Obstacle.BARRIER, "call_module _1"),
    ],
)
def test_what_stops_a_constant(
    between: tuple[nn.Module, ...], consumer: nn.Module, obstacle: Obstacle, where: str
) -> None:
    sweep = constant_through(*between, consumer=copy.deepcopy(consumer), shape=(1, 4, 4))
    assert sweep.kept_constant == (KeptConstant("0", 1, obstacle, where),)
    assert sweep.folded == 0


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, padding=1),
        nn.AvgPool2d(3, 1, padding=1, count_include_pad=False),
        nn.AvgPool2d(3, 2),
    ],
)
def test_pools_that_keep_a_constant_are_followed(pool: nn.Module) -> None:
    assert constant_through(pool, consumer=nn.Conv2d(2, 1, 1), shape=(1, 7, 7)).folded == 1


def test_a_reader_without_a_mask_keeps_everything() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    nn.init.constant_(model[0].bias, 1.0)
    before = model[2].weight.detach().double().clone()
    sweep = check(model, {"0.weight": torch.tensor([[True, True], [False, False]])}, (2,))
    assert sweep is not None
    assert sweep.kept_constant == (KeptConstant("0", 1, Obstacle.NO_MASK, "2"),)
    assert torch.equal(model[2].weight, before)


def test_a_pruned_bias_takes_no_constant() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    nn.init.constant_(model[0].bias, 1.0)
    masks = full(model) | {"2.bias": torch.tensor([True, False])}
    masks["0.weight"][1] = False
    sweep = check(model, masks, (2,))
    assert sweep is not None
    assert sweep.kept_constant == (KeptConstant("0", 1, Obstacle.PRUNED_BIAS, "2"),)


def test_outputs_without_inputs_stay_and_are_reported() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    masks = full(model)
    masks["2.weight"][0] = False
    bias = model[2].bias.detach().double().clone()
    sweep = check(model, masks, (2,))
    assert sweep is not None
    assert torch.equal(model[2].bias, bias)
    assert sweep.kept_constant == (KeptConstant("2", 1, Obstacle.BARRIER, "the network's output"),)


def test_a_network_cut_through_is_refused_and_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    masks = {
        "0.weight": torch.tensor([[True, True], [False, False]]),
        "2.weight": torch.tensor([[False, True]]),
    }
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        UnreachableTargetError, match=r"layer '0': none of its 2 living weights \(of 4\) lies on a path"
    ):
        sweep_dead_neurons(model, masks, (2,))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Unusual(nn.Module):
    """Every way of reading ``first`` that must not be taken for channelwise."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        if kind == "tied":
            self.second.weight = self.first.weight
        if kind == "hook":
            self.first.register_forward_hook(lambda _module, _inputs, output: output * 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        match self.kind:
            case "twice":
                x = self.first(x)
            case "softmax":
                x = functional.softmax(x, 1)
            case "unbatched pool":
                x = functional.max_pool1d(x, 1)
            case "transposed":
                x = x.reshape(-1, 2, 2).transpose(1, 2).flatten(1)
            case "always dropout":
                x = functional.dropout(x, 0.5)
            case "weight read":
                x = functional.linear(x, self.first.weight)
            case "in place":
                y = x.view(x.size(0), -1)
                return self.second(functional.relu(y, inplace=True)) + self.second.weight.sum() * x
            case "shape alone":
                x = x.flatten(1) * x.shape[1]
        return self.second(x)


@pytest.mark.parametrize(
    "kind",
    [
        "tied",
        "hook",
        "twice",
        "softmax",
        "unbatched pool",
        "transposed",
        "always dropout",
        "weight read",
        "in place",
    ],
)
def test_what_is_not_understood_keeps_every_neuron(kind: str) -> None:
    torch.manual_seed(0)
    model = Unusual(kind)
    graph = channel_graph(model, (4,))
    assert "first" not in graph or graph["first"].barrier is not None
    masks = {"first.weight": torch.ones(4, 4, dtype=torch.bool)}
    masks["first.weight"][1] = False
    sweep = sweep_dead_neurons(model, masks, (4,))
    assert torch.equal(sweep.masks["first.weight"], masks["first.weight"])
    assert sweep.removed_weights == 0


def test_in_place_activation_that_another_reader_sees_is_a_barrier() -> None:
    class Aliased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(3, 2)
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.b(self.act(x.view(x.size(0), -1))) + self.c(x)

    assert channel_graph(Aliased(), (2,))["a"].barrier == "call_module act"


def test_training_flags_buffers_and_hooks_are_left_as_they_were() -> None:
    model = ConvNet(norm=True)
    model.fc1.eval()
    flags = [module.training for module in model.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    channel_graph(model, (2, 8, 8))
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())


def test_errors_say_what_and_what_to_do() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with pytest.raises(
        ConfigurationError, match=r"does not run on a batch of shape \(2, 3\): .*cannot be multiplied.*batch"
    ):
        channel_graph(model, (3,))
    with pytest.raises(MaskError, match=r"mask of '0.weight': its shape \(1, 1\)"):
        sweep_dead_neurons(model, {"0.weight": torch.ones(1, 1, dtype=torch.bool)}, (2,))

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedModelError, match=r"Branching cannot be traced by torch\.fx"):
        channel_graph(Branching(), (2,))


def test_single_precision_masks_of_conv_nets_stay_close() -> None:
    torch.manual_seed(1)
    model = lenet().eval()
    masks = full(model)
    masks["0.weight"][2] = False
    masks["3.weight"][0] = False
    x = torch.randn(4, 1, 16, 16)
    expected = masked(model, masks)(x)
    sweep = sweep_dead_neurons(model, masks, (1, 16, 16))
    assert sweep.removed_weights > 0
    assert model[0].weight.dtype == torch.float32
    torch.testing.assert_close(model(x), expected)
