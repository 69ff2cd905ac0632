"""What people do with their models goes on working while they are being pruned."""

import contextlib
import copy
import io
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from secateur.pruning.criteria import Density, GlobalDensity
from secateur.pruning.pruner import Pruner


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 4))


def pruned() -> tuple[nn.Sequential, Optimizer, Pruner]:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    train(model, optimizer)
    return model, optimizer, pruner


def train(model: nn.Module, optimizer: Optimizer, *inputs: Tensor, steps: int = 2) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        out = model(*(inputs or (torch.randn(8, 6, generator=generator),)))
        out = out[0] if isinstance(out, tuple) else out
        (out - 1).square().mean().backward()
        optimizer.step()


def assert_pruned(pruner: Pruner, model: nn.Module) -> None:
    for name, mask in pruner.masks.items():
        weight = model.get_parameter(name)
        assert not weight[~mask].any()
        assert weight[mask].all()


def test_parameters_stay_ordinary_leaves() -> None:
    model, _, pruner = pruned()
    plain = network()
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert not list(model.buffers())
    for parameter in model.parameters():
        assert type(parameter) is nn.Parameter
        assert parameter.is_leaf
        assert parameter.requires_grad
        assert not parameter._backward_hooks
    for module in model.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    assert pruner.masks.kept == 30


def test_the_state_loads_strictly_into_the_plain_class() -> None:
    model, _, _ = pruned()
    plain = network()
    assert list(model.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(model.state_dict(), strict=True)
    inputs = torch.randn(3, 6)
    assert torch.equal(plain(inputs), model(inputs))


def test_deepcopy_and_pickle_of_the_model() -> None:
    model, _, pruner = pruned()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301  our own bytes
        assert_pruned(pruner, other)
        optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
        again = Pruner(other, optimizer)
        again.load_state_dict(pruner.state_dict())
        train(other, optimizer)
        assert_pruned(again, other)


def test_deepcopy_and_pickle_of_the_optimizer() -> None:
    model, optimizer, pruner = pruned()
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):  # noqa: S301  our own bytes
        assert not other._optimizer_step_post_hooks
        state = other.state[other.param_groups[0]["params"][0]]["exp_avg"]
        assert torch.equal(state, optimizer.state[model[0].weight]["exp_avg"])
    train(model, optimizer)
    assert_pruned(pruner, model)


def test_the_optimizers_own_state_loads_strictly() -> None:
    model, optimizer, pruner = pruned()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    optimizer.load_state_dict(torch.load(file, weights_only=True))
    train(model, optimizer)
    assert_pruned(pruner, model)


def test_averaged_models() -> None:
    model, optimizer, pruner = pruned()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(3):
        train(model, optimizer, steps=1)
        averaged.update_parameters(model)
    assert_pruned(pruner, averaged.module)
    pruner.prune(Density(0.1))  # the average still remembers what was cut now
    assert averaged.module[0].weight[~pruner.masks["0.weight"]].any()
    pruner.masks.apply_(averaged.module)
    assert_pruned(pruner, averaged.module)


@pytest.mark.parametrize("given", ["the network", "its wrapper"])
def test_compiled_models(given: str) -> None:
    model = network()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    pruner = Pruner(model if given == "the network" else compiled, optimizer)
    train(compiled, optimizer)
    for density in (0.5, 0.25):
        pruner.prune(Density(density))
        train(compiled, optimizer)
        assert_pruned(pruner, model)
    assert list(pruner.masks) == ["0.weight", "3.weight"]
    inputs = torch.randn(8, 6)
    torch.testing.assert_close(compiled(inputs), model(inputs))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_to_native_code() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
    compiled = torch.compile(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(compiled, optimizer)
    train(compiled, optimizer)
    pruner.prune(Density(0.25))
    train(compiled, optimizer)
    assert_pruned(pruner, model)
    inputs = torch.randn(8, 6)
    torch.testing.assert_close(compiled(inputs), model(inputs))


def test_export() -> None:
    model, _, pruner = pruned()
    inputs = torch.randn(3, 6)
    exported = torch.export.export(model, (inputs,))
    torch.testing.assert_close(exported.module()(inputs), model(inputs))
    for name, mask in pruner.masks.items():
        assert torch.equal(exported.state_dict[name] != 0, mask)


def test_data_parallel() -> None:
    model = network()
    wrapped = nn.DataParallel(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(wrapped, optimizer, layers="3")
    pruner.prune(Density(0.25))
    train(wrapped, optimizer)
    assert list(pruner.masks) == ["3.weight"]
    assert_pruned(pruner, model)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    with contextlib.ExitStack() as stack:
        stack.callback(torch.distributed.destroy_process_group)
        yield


@pytest.mark.usefixtures("one_process")
def test_distributed_data_parallel() -> None:
    model = network()
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(wrapped, optimizer)
    pruner.prune(Density(0.25, layers={"3": 0.5}))
    train(wrapped, optimizer)
    assert list(pruner.masks) == ["0.weight", "3.weight"]
    assert_pruned(pruner, model)
    network().load_state_dict(model.state_dict(), strict=True)


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    yield Accelerator(cpu=True, gradient_accumulation_steps=2)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_accelerates_optimizer(accelerator: Accelerator) -> None:
    model = accelerator.prepare(network())
    inner = torch.optim.Adam(model.parameters(), lr=0.1)
    optimizer = accelerator.prepare(inner)
    assert type(optimizer) is AcceleratedOptimizer
    pruner = Pruner(model, optimizer)
    pruner.prune(Density(0.25))
    for batch in torch.randn(6, 8, 6, generator=torch.Generator().manual_seed(0)):
        with accelerator.accumulate(model):
            accelerator.backward((model(batch) - 1).square().mean())
            optimizer.step()
            optimizer.zero_grad()
        assert_pruned(pruner, model)
    assert pruner.steps == 3
    assert not inner.state[model[0].weight]["exp_avg"][~pruner.masks["0.weight"]].any()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 5), (6,)),
        (nn.Conv1d(3, 4, 3), (3, 9)),
        (nn.Conv2d(3, 4, 3, groups=1), (3, 9, 9)),
        (nn.Conv3d(2, 3, 2), (2, 5, 5, 5)),
        (nn.ConvTranspose1d(3, 4, 3), (3, 9)),
        (nn.ConvTranspose2d(3, 4, 3), (3, 5, 5)),
        (nn.ConvTranspose3d(2, 3, 2), (2, 3, 3, 3)),
        (nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), (3, 9, 9)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_layers_of_every_kind(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer = copy.deepcopy(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    pruner = Pruner(layer, optimizer)
    count = layer.weight.numel()
    assert pruner.prune(GlobalDensity(0.3)).kept == round(0.3 * count)
    strides = layer.weight.stride()
    train(layer, optimizer, torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)))
    assert_pruned(pruner, layer)
    assert layer.weight.stride() == strides
    assert layer.bias.all()


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_layers(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    layer = kind(5, 7, num_layers=2, bidirectional=True, batch_first=True)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    pruner = Pruner(layer, optimizer)
    assert len(pruner.prune(Density(0.3))) == 8
    train(layer, optimizer, torch.randn(3, 4, 5))
    for name, mask in pruner.masks.items():
        assert not layer.get_parameter(name)[~mask].any()
    # The flattened weights that the forward pass uses are these, and not what they were.
    plain = kind(5, 7, num_layers=2, bidirectional=True, batch_first=True)
    plain.load_state_dict(layer.state_dict(), strict=True)
    inputs = torch.randn(2, 4, 5)
    torch.testing.assert_close(layer(inputs)[0], plain(inputs)[0])
    layer.flatten_parameters()
    torch.testing.assert_close(layer(inputs)[0], plain(inputs)[0])


def test_attention() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    pruner = Pruner(layer, optimizer)
    masks = pruner.prune(Density(0.5, layers={"out_proj": 0.25}))
    assert (masks.kept_of("in_proj_weight"), masks.kept_of("out_proj.weight")) == (96, 16)
    inputs = torch.randn(2, 3, 8)
    train(layer, optimizer, inputs, inputs, inputs)
    assert_pruned(pruner, layer)


def test_a_transformers_norms_are_left_alone() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    pruner = Pruner(layer, optimizer, layers="*weight")
    assert {name for name in pruner.masks if "norm" in name} == set()
    assert len(pruner.masks) == 4
    pruner.prune(Density(0.3))
    train(layer, optimizer, torch.randn(2, 3, 8))
    assert_pruned(pruner, layer)
    assert layer.norm1.weight.all()


def test_tied_weights_are_one_weight() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"embedding": nn.Embedding(9, 4), "decoder": nn.Linear(4, 9, bias=False)})
    model["decoder"].weight = model["embedding"].weight
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer, layers="decoder")
    masks = pruner.prune(Density(1.0, layers={"decoder": 0.25}))
    assert (list(masks), masks.total, masks.kept) == (["embedding.weight"], 36, 9)
    model["decoder"](model["embedding"](torch.arange(9))).square().sum().backward()
    optimizer.step()
    assert model["decoder"].weight is model["embedding"].weight
    assert int(model["decoder"].weight.count_nonzero()) == 9
    assert pruner.report().weights == 36


def test_biases_and_norms_are_pruned_when_they_are_asked_for() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    pruner = Pruner(model, optimizer, layers=["0", "0.bias", "1.weight"])
    masks = pruner.prune(Density(0.5))
    assert {name: masks.kept_of(name) for name in masks} == {"0.weight": 36, "0.bias": 6, "1.weight": 6}
    train(model, optimizer)
    for name, mask in masks.items():
        assert not model.get_parameter(name)[~mask].any()
    assert model[3].weight.all()
    assert model[1].bias.all()
