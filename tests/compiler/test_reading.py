from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.compiler.reading import load_network, network_of_module, onnx_of_module
from secateur.compiler.reference import run
from secateur.errors import InputError, UnsupportedModelError
from secateur.format.graph import Batch, Linear
from tests.compiler.models import assert_close


class Two(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a + 2 * b, a - b


class Several(nn.Module):
    def forward(self, first: Tensor, *rest: Tensor) -> Tensor:
        return first * rest[0] + rest[1]


class Counted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 2, 4)


class Rest(nn.Module):
    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        return torch.relu(x) + len(rest)


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Chunks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) + sum(part.sum() for part in torch.ones(4).split(2))


class Speaking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("forward was here", file=sys.stderr)
        return torch.relu(x)


class Sinus(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


@contextmanager
def silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_modes_weights_and_gradients_stay_as_they_are() -> None:
    module = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4).eval(), nn.Dropout(0.5), nn.ReLU())
    module[0].weight.grad = torch.ones_like(module[0].weight)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    parameters = list(module.parameters())
    with silent():
        network_of_module(module, [torch.ones(2, 8)])
    assert [part.training for part in module] == [True, False, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(now is then for now, then in zip(module.parameters(), parameters, strict=True))
    assert torch.equal(module[0].weight.grad, torch.ones(4, 8))


@contextmanager
def logged() -> Iterator[list[str]]:
    """What the exporters' loggers say: torch's pass nothing on, so that each is listened to."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [
        logging.getLogger(name)
        for name in ("torch", "onnxscript", "onnx_ir", *logging.root.manager.loggerDict)
        if name.split(".")[0] in ("torch", "onnxscript", "onnx_ir")
    ]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield said
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 10)), (3, 8, 8)),
        (Undecided(), (2, 8)),
        (nn.ReLU(), (2, 8)),
        (Chunks(), (2, 8)),
    ],
    ids=["no batch", "undecided", "plain", "chunks"],
)
def test_exporting_says_nothing_and_levels_are_put_back(
    module: nn.Module, shape: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("torch", "onnxscript", "onnx_ir")
    before = [logging.getLogger(name).level for name in names]
    with logged() as said, suppress(UnsupportedModelError):
        onnx_of_module(module, [torch.ones(shape)])
    assert (said, *capsys.readouterr()) == ([], "", "")
    assert [logging.getLogger(name).level for name in names] == before


def test_what_a_module_itself_says_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    onnx_of_module(Speaking(), [torch.ones(2, 8)])
    assert "forward was here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "count"), [(nn.Linear(8, 3), 1), (Two(), 2), (Several(), 3)], ids=lambda item: str(item)[:8]
)
@pytest.mark.parametrize("batch", [1, 3])
def test_inputs_of_every_number_and_batch(module: nn.Module, count: int, batch: int) -> None:
    arrays = [
        np.random.default_rng(index).standard_normal((batch, 8)).astype(np.float32) for index in range(count)
    ]
    with silent():
        network = network_of_module(module, arrays)
    assert all(value.shape[0] == Batch() for value in network.graph.values)
    with torch.no_grad():
        expected = module(*map(torch.from_numpy, arrays))
    found = run(network, dict(zip(network.graph.inputs, arrays, strict=True)))
    for name, tensor in zip(
        network.graph.outputs, expected if isinstance(expected, tuple) else (expected,), strict=True
    ):
        assert_close(found[name], tensor.numpy())


def test_what_is_left_out_of_a_variable_number_of_inputs() -> None:
    with silent():
        network = network_of_module(Rest(), [np.ones((2, 8), np.float32)])
    assert len(network.graph.inputs) == 1


def test_an_example_without_a_batch() -> None:
    with pytest.raises(UnsupportedModelError, match="this example has no batch as its first dimension"):
        network_of_module(nn.Linear(8, 3), [torch.ones(8)])


def test_a_batch_that_is_taken_for_a_number() -> None:
    with pytest.raises(UnsupportedModelError, match=r"fixed the batch of Counted .* to 2: .* \(len\(x\)"):
        network_of_module(Counted(), [torch.ones(2, 8)])
    network = network_of_module(Counted(), [torch.ones(2, 8)], dynamic_batch=False)
    assert network.graph.values[0].shape == (2, 8)


class Masked(nn.Module):
    def forward(self, x: Tensor, mask: Tensor, *more: Tensor) -> Tensor:
        return x + mask.sum() + sum(each.sum() for each in more)


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ([(2, 4), (5, 5)], "input 'x' has 2, 'mask' has 5. "),
        ([(4, 4), (1,)], "input 'x' has 4, 'mask' has 1. "),
        ([(2, 4), (), (2, 4), (3, 2, 4)], "input 'x' has 2, 'more[0]' has 2, 'more[1]' has 3. "),
    ],
)
def test_inputs_without_the_batch_are_named(shapes: list[tuple[int, ...]], found: str) -> None:
    with pytest.raises(
        InputError,
        match=f"the first dimension of every input of Masked must be the batch, the same for all; "
        f"{re.escape(found)}Let a mask, .* be a buffer .register_buffer.",
    ):
        network_of_module(Masked(), [torch.ones(shape) for shape in shapes])


def test_inputs_of_a_fixed_batch_may_have_any_shape() -> None:
    network = network_of_module(Masked(), [torch.ones(2, 4), torch.ones(5, 5)], dynamic_batch=False)
    assert [value.shape for value in network.graph.values[:2]] == [(2, 4), (5, 5)]


def test_a_forgotten_batch_is_seen_in_the_message() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 10))
    with pytest.raises(
        UnsupportedModelError,
        match=r"here of shape \(3, 8, 8\), of which the first dimension is the batch; if",
    ):
        onnx_of_module(module, [torch.ones(3, 8, 8)])


def test_a_module_that_torch_cannot_export() -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=r"torch.onnx.export cannot export Undecided: .*; expected a module without data-dependent",
    ):
        network_of_module(Undecided(), [torch.ones(2, 8)])


def test_an_operator_that_is_not_supported() -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"node '.*': operator 'Sin' is not supported; supported: Abs, "
    ):
        network_of_module(Sinus(), [torch.ones(2, 8)])


def test_a_module_in_half_precision() -> None:
    with pytest.raises(UnsupportedModelError, match="is of type float16; supported: float32"):
        network_of_module(nn.Linear(8, 4).half(), [torch.ones(2, 8, dtype=torch.float16)])


def test_the_model_in_memory_is_a_valid_one() -> None:
    proto = onnx_of_module(nn.Linear(8, 4), [torch.ones(1, 8)])
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert {tensor.name for tensor in proto.graph.initializer} == {"weight", "bias"}


class Attention(nn.Module):
    """One head over a sequence: torch exports the weights of such layers turned, under no name."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.query(x) @ self.key(x).transpose(-1, -2), -1)
        return weights @ self.value(x)  # type: ignore[no-any-return]


def test_layers_over_sequences_keep_their_names() -> None:
    module = nn.Sequential(Attention(), nn.LayerNorm(8), nn.Linear(8, 4))
    network = network_of_module(module, [torch.zeros(1, 5, 8)])
    linear = [node for node in network.graph.nodes if isinstance(node, Linear)]
    assert [node.name for node in linear] == ["0.query", "0.key", "0.value", "2"]
    assert [node.weight for node in linear] == [f"{node.name}.weight" for node in linear]


@pytest.mark.parametrize("scopes", ["", "[", "['']", "[1, 2]", "7", "['', '', 'linear']"])
def test_a_path_that_torch_did_not_write_costs_the_name_alone(scopes: str) -> None:
    model = onnx_of_module(nn.Linear(8, 4), [torch.zeros(1, 5, 8)])
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    for entry in product.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            entry.value = scopes
    (linear,) = [node for node in load_network(model).graph.nodes if isinstance(node, Linear)]
    assert linear.name == product.name


def test_a_module_without_numbers_is_refused_in_words() -> None:
    with pytest.raises(
        UnsupportedModelError, match="2 of its parameters are on the device 'meta', 'weight' the"
    ):
        network_of_module(nn.Linear(3, 2, device="meta"), [torch.zeros(1, 3)])
