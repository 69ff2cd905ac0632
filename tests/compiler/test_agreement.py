"""What a program gives, beside the module that it was made from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.compiler.agreement import first_difference, outputs_of, sizes_to_compare
from secateur.errors import UnsupportedModelError
from tests.compiler.models import normal


class Function(nn.Module):
    """A module of one function, with a buffer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("count", torch.zeros(4))

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def _compiled(function: Callable[..., Any], *examples: Tensor) -> sc.Program:
    return sc.compile(Function(function), examples, measure=False, threads=1)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_an_if_on_a_batch_of_one_is_refused(batch: int) -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=r"Function: for inputs of shape \(1, 4\), the program gives \S+ where the module gives \S+ "
        r"\(output 1, place \(0, 0\)\)\. Either its forward decides by the batch size",
    ):
        _compiled(lambda _, x: x * 2 if x.shape[0] == 1 else x, torch.ones(batch, 4))


def test_an_if_on_an_even_batch_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"for inputs of shape \(1, 4\), the program gives"):
        _compiled(lambda _, x: x * 2 if x.shape[0] % 2 == 0 else x, torch.ones(2, 4))
    with pytest.raises(UnsupportedModelError, match=r"for inputs of shape \(2, 4\), the program gives"):
        _compiled(lambda _, x: x * 2 if x.shape[0] % 2 == 0 else x, torch.ones(3, 4))


@pytest.mark.parametrize(("batch", "sizes"), [(2, "0 to 100"), (150, "101 to")])
def test_an_if_on_a_large_batch_is_refused(batch: int, sizes: str) -> None:
    with pytest.raises(
        UnsupportedModelError, match=f"for batch sizes from {sizes} .*alone: its forward decides"
    ):
        _compiled(lambda _, x: x * 2 if x.shape[0] > 100 else x, torch.ones(batch, 4))


def test_another_shape_of_one_image_is_refused() -> None:
    with pytest.raises(
        UnsupportedModelError,
        match=r"output 1 of the program is \(1, 4\) where the module's is \(4,\)\. Either its",
    ):
        _compiled(lambda _, x: x[0] if x.shape[0] == 1 else x, torch.ones(2, 4))


def test_outputs_of_every_kind_are_compared() -> None:
    def several(_: nn.Module, x: Tensor, y: Tensor) -> Any:
        return {"b": [x * 2, (y, None)], "a": x - y}

    program = _compiled(several, torch.ones(2, 4), torch.zeros(2, 4))
    assert len(program(torch.ones(3, 4), torch.ones(3, 4))) == 3

    def decided(_: nn.Module, x: Tensor) -> Any:
        return {"b": x, "a": (x if x.shape[0] > 1 else -x,)}

    with pytest.raises(UnsupportedModelError, match="output 2, place"):
        _compiled(decided, torch.ones(2, 4))


def test_numbers_that_are_none_are_equal() -> None:
    program = _compiled(lambda _, x: torch.sqrt(x), -torch.ones(2, 4))
    assert bool(program(-torch.ones(1, 4)).isnan().all())


def test_rounded_weights_are_no_difference() -> None:
    module = nn.Sequential(*(nn.Linear(16, 16) for _ in range(8)))
    sc.compile(module, torch.randn(2, 16), measure=False, threads=1, values="bfloat16")


def test_nothing_of_the_module_changes() -> None:
    def counts(self: nn.Module, x: Tensor) -> Tensor:
        torch.rand(1)
        assert isinstance(self.count, Tensor)
        return nn.functional.relu_(x.add_(self.count.add_(1)))

    module = nn.Sequential(Function(counts), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
    module[1].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    buffers, example = list(module.buffers()), torch.randn(2, 4)
    given, drawn = example.clone(), torch.random.get_rng_state()
    program = sc.compile(module, example, measure=False, threads=1)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert torch.equal(example, given)
    assert [part.training for part in module] == [True, False, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(now is then for now, then in zip(module.buffers(), buffers, strict=True))
    assert program(torch.ones(1, 4)).shape == (1, 4)


def test_a_forward_that_fails_at_a_batch_size_has_nothing_to_compare() -> None:
    def never_one(_: nn.Module, x: Tensor) -> Tensor:
        if x.shape[0] == 1:
            raise ValueError("one image is no batch")
        return x * 2

    program = _compiled(never_one, torch.ones(2, 4))
    assert program(torch.ones(2, 4)).tolist() == [[2.0] * 4] * 2
    assert outputs_of(Function(never_one), [normal((1, 4))]) is None


def test_what_torch_compile_made_is_run_without_compiling_it() -> None:
    module = torch.compile(nn.Linear(4, 3), backend=lambda *_: pytest.fail("it was compiled"))
    sc.compile(module, torch.ones(2, 4), measure=False, threads=1)


def test_the_sizes_to_compare_are_few_and_small() -> None:
    assert [sizes_to_compare(batch) for batch in (0, 1, 2, 5, 60_000)] == [
        (1, 2),
        (1, 2),
        (1, 2),
        (1, 2, 5),
        (1, 2, 8),
    ]


def test_where_outputs_differ() -> None:
    one, infinite = np.ones((2, 3), np.float32), np.full(2, np.inf, np.float32)
    assert first_difference([one], [one * np.float32(1.0005)]) is None
    assert first_difference([infinite], [infinite]) is None
    assert first_difference([infinite], [-infinite]) is not None
    assert first_difference([one, one], [one]) == "the program gives 2 outputs where the module gives 1"
    other = one.copy()
    other[1, 1] = 1.1
    found = first_difference([one, other], [one, one])
    assert found is not None
    assert re.search(r"1\.1 where the module gives 1 \(output 2, place \(1, 1\)\)", found)


class Chaotic(nn.Module):
    """Every layer makes three of a difference of one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(40)))
        for each in self.layers:
            nn.init.normal_(each[0].weight, std=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_a_module_that_rounding_makes_another_is_not_refused() -> None:
    module, x = Chaotic().eval(), torch.randn(2, 64)
    with torch.no_grad():
        assert not torch.allclose(module(x), module(x * (1 + 1e-6)), atol=0.1)
    sc.compile(module, x, measure=False)
