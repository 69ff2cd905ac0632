"""Gradients of pruned weights are set to zero by compiled code as by multiplication, or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur._masking import Masks as CompiledMasks
from secateur._masking import has_threads
from secateur.pruning import gradients as module
from secateur.pruning.enforcement import make_factors
from secateur.pruning.gradients import GradientMasks, overlap
from secateur.pruning.masks import Masks

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64)


@pytest.fixture(params=["compiled", "multiplied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "_HAS_THREADS", request.param == "compiled")
    return str(request.param)


def masks_of(weight: nn.Parameter, mask: Tensor) -> GradientMasks:
    return GradientMasks(make_factors({"a": weight}, Masks({"a": mask})))


def test_torch_brings_threads_that_are_shared() -> None:
    assert has_threads()
    assert GradientMasks([(nn.Parameter(torch.ones(2)), torch.zeros(2))])._compiled is not None


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 7, 63, 64, 65, 1000, 40_000]), min_size=1, max_size=4),
    dtype=st.sampled_from(DTYPES),
    without=st.sets(st.integers(0, 3)),
    threads=st.sampled_from([1, 2, 3]),
    offset=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_gradients_are_those_of_a_multiplication(
    sizes: Sequence[int], dtype: torch.dtype, without: set[int], threads: int, offset: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    factors, expected, around = [], [], []
    for index, size in enumerate(sizes):
        weight = nn.Parameter(torch.zeros(size, dtype=dtype))
        factor = (torch.rand(size, generator=draw) < 0.3).to(dtype)
        memory = torch.randn(offset + size + 9, generator=draw).to(dtype)
        if index not in without:
            weight.grad = memory[offset : offset + size]
        around.append((memory, memory.clone()))
        factors.append((weight, factor))
        expected.append(None if index in without else weight.grad * factor)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert GradientMasks(factors).apply_()
    finally:
        torch.set_num_threads(before)
    for (weight, _), right, (memory, was), size in zip(factors, expected, around, sizes, strict=True):
        assert (weight.grad is None) == (right is None)
        assert right is None or torch.equal(weight.grad, right)
        assert torch.equal(memory[:offset], was[:offset])
        assert torch.equal(memory[offset + size :], was[offset + size :])


def test_a_gradient_that_is_no_number_is_none_any_more_where_its_weight_is_pruned() -> None:
    weight = nn.Parameter(torch.ones(4))
    weight.grad = torch.tensor([torch.nan, torch.inf, torch.nan, 1.0])
    assert masks_of(weight, torch.tensor([False, False, True, True])).apply_()
    assert weight.grad[:2].eq(0).all()
    assert weight.grad[2].isnan()


def test_gradients_that_cannot_be_written_to(way: str) -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    masks = masks_of(weight, torch.eye(2, 3) > 0)
    for gradient in (
        torch.ones(2, 3).to_sparse(),
        torch.ones(1).expand(2, 3),
        torch.ones(2, 3, requires_grad=True) * 2,
    ):
        weight.grad = gradient
        before = gradient.detach().to_dense().clone()
        assert not masks.apply_()
        assert weight.grad.to_dense().eq(before).all()
    with torch.inference_mode():
        gradient = torch.ones(2, 3)
    weight.grad = gradient
    assert masks.apply_() is (way == "compiled")  # PyTorch's operators refuse it
    weight.grad = torch.ones(2, 3)
    assert masks.apply_()
    assert weight.grad.sum() == 2


@pytest.mark.usefixtures("way")
def test_where_one_gradient_is_refused_none_is_written_to() -> None:
    first, second = nn.Parameter(torch.ones(1, 6)), nn.Parameter(torch.ones(4, 6))
    first.grad = torch.ones(1, 6)
    second.grad = first.grad.expand(4, 6)
    assert not GradientMasks([(first, torch.zeros(1, 6)), (second, torch.zeros(4, 6))]).apply_()
    assert bool(first.grad.all())


@pytest.mark.usefixtures("way")
def test_gradients_with_channels_last() -> None:
    weight = nn.Parameter(torch.ones(4, 3, 2, 2))
    mask = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    weight.grad = torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    expected = weight.grad * mask
    assert masks_of(weight, mask).apply_()
    assert torch.equal(weight.grad, expected)


@pytest.mark.usefixtures("way")
def test_masks_with_channels_last() -> None:
    weight = nn.Parameter(torch.ones(4, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    mask = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    mask = mask.contiguous(memory_format=torch.channels_last)
    weight.grad = torch.ones(4, 3, 2, 2)
    assert masks_of(weight, mask).apply_()
    assert torch.equal(weight.grad, mask.float())


@pytest.mark.skipif(not hasattr(Tensor, "grad_dtype"), reason="gradients have their weights' type here")
@pytest.mark.usefixtures("way")
def test_gradients_of_another_type() -> None:
    weight = nn.Parameter(torch.ones(4, dtype=torch.float16))
    weight.grad_dtype = torch.float32
    masks = masks_of(weight, torch.arange(4) < 2)
    weight.grad = torch.ones(4)
    assert masks.apply_()
    assert weight.grad.tolist() == [1, 1, 0, 0]


@pytest.mark.usefixtures("way")
def test_who_remembers_a_gradient_is_told_that_it_was_written_to() -> None:
    weight, other = nn.Parameter(torch.ones(4)), torch.ones(4, requires_grad=True)
    weight.grad = torch.ones(4)
    product = (weight.grad * other).sum()
    assert masks_of(weight, torch.arange(4) < 2).apply_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_masks_outlive_whom_they_came_from() -> None:
    weight = nn.Parameter(torch.ones(100_000))
    weight.grad = torch.ones(100_000)
    masks = masks_of(weight, torch.arange(100_000) < 10)
    for _ in range(20):
        torch.rand(100_000)
    assert masks.apply_()
    assert weight.grad.sum() == 10


def test_masks_of_large_weights_are_others_too_who_may_move_them(way: str) -> None:
    size = (1 << 20) + 8
    weight, mask = nn.Parameter(torch.zeros(size)), torch.arange(size) % 5 == 0
    masks = masks_of(weight, mask)
    for move in (lambda: None, mask.share_memory_, lambda: setattr(mask, "data", mask.data.clone())):
        move()
        weight.grad = torch.ones(size)
        assert masks.apply_()
        assert torch.equal(weight.grad, mask.float())
    assert (masks._compiled is None) == (way == "multiplied")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("view", [lambda w: w.view(6, 4), lambda w: w.view(torch.float16)])
def test_weights_of_another_shape_over_the_same_memory(view: Callable[[Tensor], Tensor]) -> None:
    weight = nn.Parameter(torch.ones(4, 6))
    masks = masks_of(weight, torch.eye(4, 6) > 0)
    weight.data = view(weight.data)
    weight.grad = torch.ones_like(weight)
    assert not masks.apply_()
    assert bool(weight.grad.all())


def test_what_overlaps() -> None:
    memory = torch.zeros(20)

    def parameter(begin: int, end: int) -> nn.Parameter:
        made = nn.Parameter(torch.zeros(end - begin))
        made.grad = memory[begin:end]
        return made

    every, first, middle, last = (parameter(*ends) for ends in ((0, 20), (0, 5), (5, 8), (8, 20)))
    assert not overlap([first, last], [middle])
    assert not overlap([], [every, first])  # nobody writes to them
    assert not overlap([first], [nn.Parameter(torch.zeros(5))])
    for one in (first, middle, last):
        assert overlap([one], [every])
        assert overlap([every], [one])
        assert overlap([one, every], [])
        assert overlap([one, parameter(19, 20)], [every])


def test_at_the_end_of_an_interpreter_nothing_is_said() -> None:
    # A pruner that torch holds, within a hook, is there until the end.
    program = (
        "import torch; from secateur.pruning.pruner import Pruner\n"
        "from secateur.pruning.criteria import Density\n"
        "model = torch.nn.Linear(8, 8); optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "pruner = Pruner(model, optimizer); pruner.prune(Density(0.5))\n"
        "model.weight.register_post_accumulate_grad_hook(lambda _: optimizer.step())\n"
        "for _ in range(4):\n"
        "    optimizer.zero_grad(); model(torch.ones(2, 8)).sum().backward()\n"
    )
    ended = subprocess.run(  # noqa: S603  # own script
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""


def test_what_the_compiled_masks_refuse() -> None:
    with pytest.raises(ValueError, match="1, 2, 4 or 8 bytes"):
        CompiledMasks([(0, 0, 16)])
    with pytest.raises(ValueError, match="an address for every mask"):
        CompiledMasks([(0, 0, 4)]).keep([], 1)
