import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.errors import ConfigurationError, UnreachableTargetError
from secateur.pruning import selection
from secateur.pruning.masks import Masks
from secateur.pruning.scores import magnitude
from secateur.pruning.selection import (
    keep_above_threshold,
    keep_highest,
    keep_highest_globally,
    kept_count,
    surviving_deviation,
)

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ODD = (0.0, -0.0, math.inf, -math.inf, 1.0, -1.0, 1e-8, -1e-8, 65504.0)
# Few values, so that ties are everywhere, and whatever else a float32 can be.
some_score = st.sampled_from(ODD) | st.integers(-3, 3).map(float) | st.floats(allow_nan=False, width=32)
some_scores = st.lists(some_score, min_size=1, max_size=40)


def expected(scores: Tensor, count: int, alive: Tensor) -> Tensor:
    """The definition: sort the living by falling score, then by index, and take the first."""
    flat = scores.flatten().tolist()
    order = sorted(
        (index for index in range(len(flat)) if alive.flatten()[index]), key=lambda i: (-flat[i], i)
    )
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[order[:count]] = True
    return mask.view(scores.shape)


def identity(name: str, weight: Tensor) -> Tensor:
    del name
    return weight


@given(data=st.data(), values=some_scores, dtype=st.sampled_from(TYPES))
def test_keeps_exactly_the_highest_and_ties_by_index(
    data: st.DataObject, values: list[float], dtype: torch.dtype
) -> None:
    scores = torch.tensor(values).to(dtype)
    bits = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    alive = torch.tensor(bits)
    count = data.draw(st.integers(0, int(alive.sum())))
    before = scores.clone()
    mask = keep_highest(scores, count, alive)
    assert torch.equal(mask, expected(scores, count, alive))
    assert int(mask.sum()) == count
    assert torch.equal(scores, before)
    everything = torch.ones_like(alive)
    assert torch.equal(keep_highest(scores, count), expected(scores, count, everything))


@given(data=st.data(), values=some_scores, types=st.tuples(*[st.sampled_from(TYPES)] * 3))
def test_one_ranking_over_layers_of_mixed_types(
    data: st.DataObject, values: list[float], types: tuple[torch.dtype, ...]
) -> None:
    flat = torch.tensor(values, dtype=torch.float64)
    cuts = sorted(data.draw(st.tuples(*[st.integers(0, len(values))] * 2)))
    parts = torch.tensor_split(flat, cuts)
    weights = {name: part.to(dtype) for name, part, dtype in zip("cab", parts, types, strict=True)}
    bits = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    alive = Masks(dict(zip("cab", torch.tensor_split(torch.tensor(bits), cuts), strict=True)))
    count = data.draw(st.integers(0, alive.kept))
    masks = keep_highest_globally(weights, identity, count, alive)
    joined = torch.cat([weight.double() for weight in weights.values()])
    assert torch.equal(torch.cat(list(masks.values())), expected(joined, count, torch.tensor(bits)))
    assert masks.kept == count
    assert masks.is_subset_of(alive)
    assert list(masks) == list(weights)


@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.bfloat16, torch.float32, torch.float64]))
def test_magnitudes_need_no_scores_and_rank_as_scores_do(seed: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randint(-4, 5, shape, generator=draw).to(dtype) / 3
        for name, shape in (("a", (4, 5)), ("b", (3, 2, 2)))
    }
    before = {name: weight.clone() for name, weight in weights.items()}
    alive = Masks({name: torch.rand(weight.shape, generator=draw) < 0.8 for name, weight in weights.items()})
    count = alive.kept // 2
    ranked = keep_highest_globally(weights, magnitude, count, alive)
    assert ranked == keep_highest_globally(weights, lambda _, weight: weight.abs(), count, alive)
    assert all(torch.equal(weight, before[name]) for name, weight in weights.items())


@given(
    value=st.sampled_from(ODD), size=st.integers(1, 30), share=st.floats(0, 1), dtype=st.sampled_from(TYPES)
)
def test_constant_scores_are_kept_from_the_front(
    value: float, size: int, share: float, dtype: torch.dtype
) -> None:
    count = kept_count(share, size)
    mask = keep_highest(torch.full((size,), value).to(dtype), count)
    assert mask.tolist() == [True] * count + [False] * (size - count)


def test_minus_zero_is_a_tie_of_zero() -> None:
    assert keep_highest(torch.tensor([-0.0, 0.0, -0.0]), 2).tolist() == [True, True, False]
    assert keep_highest(torch.tensor([-0.0, 0.0, -1.0]), 1).tolist() == [True, False, False]


def test_many_chunks_are_ranked_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randint(-4, 5, (37, 29), generator=torch.Generator().manual_seed(0)).float()
    alive = torch.rand(37, 29, generator=torch.Generator().manual_seed(1)) < 0.6
    alive[:7] = True  # whole chunks that live, and whole ones that do not
    alive[9:14] = False
    monkeypatch.setattr(selection, "_CHUNK", 64)
    for count in (0, 1, 63, 64, 65, 300, int(alive.sum())):
        assert torch.equal(keep_highest(scores, count, alive), expected(scores, count, alive))
        everything = torch.ones_like(alive)
        assert torch.equal(keep_highest(scores, count), expected(scores, count, everything))


def test_nothing_alive() -> None:
    dead = torch.zeros(4, dtype=torch.bool)
    assert not keep_highest(torch.ones(4), 0, dead).any()
    with pytest.raises(UnreachableTargetError, match=r"asked to keep 1 weights of .*, but only 0 are alive"):
        keep_highest(torch.ones(4), 1, dead)


def test_no_weights_at_all() -> None:
    assert keep_highest(torch.empty(0, 3), 0).shape == (0, 3)
    masks = keep_highest_globally({"a": torch.empty(0), "b": torch.ones(2)}, magnitude, 1)
    assert masks["b"].tolist() == [True, False]


def test_index_is_row_by_row_whatever_the_memory_format() -> None:
    scores = torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    assert torch.equal(keep_highest(scores, 5).flatten(), torch.arange(24) < 5)
    assert torch.equal(keep_highest(torch.zeros(3, 4).t(), 5).flatten(), torch.arange(12) < 5)


def test_float64_scores_are_not_rounded() -> None:
    scores = torch.tensor([1.0, 1.0 + 1e-12, 1.0 - 1e-12], dtype=torch.float64)
    assert keep_highest(scores, 1).tolist() == [False, True, False]
    assert keep_highest(scores, 2).tolist() == [True, True, False]


def test_float64_scores_of_float32_weights_are_not_rounded() -> None:
    exact = torch.tensor([1.0, 1.0 + 1e-12, 1.0 - 1e-12], dtype=torch.float64)

    def score(name: str, weight: Tensor) -> Tensor:
        del name, weight
        return exact

    masks = keep_highest_globally({"a": torch.zeros(3)}, score, 2)
    assert masks["a"].tolist() == [True, True, False]


def test_a_half_is_not_compared_with_a_rounded_threshold() -> None:
    weights = {"a": torch.tensor([0.99999]), "b": torch.tensor([1.0, 0.5], dtype=torch.float16)}
    masks = keep_highest_globally(weights, identity, 2)
    assert [mask.tolist() for mask in masks.values()] == [[True], [True, False]]


def test_ties_go_to_the_earlier_layer() -> None:
    weights = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor([1.0, 1.0])}
    masks = keep_highest_globally(weights, magnitude, 3)
    assert masks["b"].tolist() == [True, True]
    assert masks["a"].tolist() == [True, False]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_refuses_nan(dtype: torch.dtype) -> None:
    with pytest.raises(ConfigurationError, match="a score is NaN, which cannot be ranked; are the weights"):
        keep_highest(torch.tensor([1.0, math.nan], dtype=dtype), 1)


def test_refuses_a_negative_count_and_one_too_many() -> None:
    with pytest.raises(ConfigurationError, match="must be at least 0, found -1"):
        keep_highest(torch.ones(2), -1)
    with pytest.raises(
        UnreachableTargetError, match=r"keep 1,000 weights of fc1, but only 2 are alive; .* a lower density"
    ):
        keep_highest_globally({"fc1.weight": torch.ones(2)}, magnitude, 1000)


@given(density=st.floats(0, 1), total=st.integers(0, 10**9))
def test_kept_count_is_the_nearest(density: float, total: int) -> None:
    count = kept_count(density, total)
    assert 0 <= count <= total
    assert abs(count - density * total) <= 0.5


@pytest.mark.parametrize("density", [-0.1, 1.01, math.nan, math.inf])
def test_kept_count_refuses_what_is_no_density(density: float) -> None:
    with pytest.raises(ConfigurationError, match=r"a fraction of weights kept, in 0\.\.1; found"):
        kept_count(density, 10)


@given(
    values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40),
    threshold=st.floats(0, 10, width=32),
)
def test_a_threshold_keeps_what_is_not_below_it(values: list[float], threshold: float) -> None:
    weight = torch.tensor(values)
    mask = keep_above_threshold(weight, threshold)
    assert mask.tolist() == [abs(value) >= threshold for value in values]
    alive = torch.arange(len(values)) % 2 == 0
    assert torch.equal(keep_above_threshold(weight, threshold, alive), mask & alive)


@given(values=st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=40))
def test_deviation_is_of_the_living_about_their_mean(values: list[float]) -> None:
    weight = torch.tensor([*values, 100.0, -100.0])
    alive = torch.tensor([True] * len(values) + [False, False])
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    assert surviving_deviation(weight, alive) == pytest.approx(deviation, rel=1e-9, abs=1e-9)


def test_deviation_of_fewer_than_two_weights_is_zero() -> None:
    assert surviving_deviation(torch.tensor([3.0])) == 0.0
    assert surviving_deviation(torch.tensor([3.0, 4.0]), torch.tensor([False, True])) == 0.0
    assert surviving_deviation(torch.tensor([3.0, 4.0]), torch.tensor([False, False])) == 0.0


def test_why_the_deviation_is_of_the_living() -> None:
    # Over all weights, the zeros of pruned places shrink it with the square root of the density, and the
    # second round of the same quality cuts nothing; over the living ones the quality parameter keeps its
    # meaning.
    weight = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    alive = keep_above_threshold(weight, 1.7 * surviving_deviation(weight))
    pruned = weight * alive
    density = float(alive.double().mean())
    over_all, living = surviving_deviation(pruned), surviving_deviation(pruned, alive)
    assert over_all == pytest.approx(living * math.sqrt(density), rel=1e-3)
    assert int(keep_above_threshold(pruned, 1.7 * over_all, alive).sum()) == int(alive.sum())
    assert int(keep_above_threshold(pruned, 1.7 * living, alive).sum()) < 0.1 * int(alive.sum())


def test_a_threshold_refuses_nan() -> None:
    weight = torch.tensor([1.0, math.nan, 2.0])
    with pytest.raises(ConfigurationError, match=r"1 weights are NaN and the threshold is 1\.5; NaN cannot"):
        keep_above_threshold(weight, 1.5)
    with pytest.raises(ConfigurationError, match="0 weights are NaN and the threshold is nan"):
        keep_above_threshold(torch.ones(2), math.nan)
    with pytest.raises(ConfigurationError, match="1 weights are NaN and 0 infinite"):
        surviving_deviation(weight)
    alive = ~weight.isnan()
    assert keep_above_threshold(weight, 1.5, alive).tolist() == [False, False, True]
    assert surviving_deviation(weight, alive) == 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@given(seed=st.integers(0, 1 << 16), threshold=st.floats(0, 3))
def test_a_threshold_is_not_rounded_to_the_weights_type(
    dtype: torch.dtype, seed: int, threshold: float
) -> None:
    weight = torch.randn(400, generator=torch.Generator().manual_seed(seed)).to(dtype)
    mask = keep_above_threshold(weight, threshold)
    assert torch.equal(mask, weight.double().abs() >= threshold)


def test_a_threshold_beyond_the_weights_type_keeps_nothing() -> None:
    assert not keep_above_threshold(torch.tensor([65504.0], dtype=torch.float16), 1e6).any()


def test_the_deviation_of_complex_weights() -> None:
    assert surviving_deviation(torch.tensor([1j, -1j])) == 1.0
