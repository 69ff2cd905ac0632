import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import ConfigurationError
from secateur.pruning.scores import ProbabilisticMagnitude, Random, Score, lamp, magnitude, score_of
from secateur.pruning.selection import keep_highest

# Exact in float32, squares included; many ties.
whole = st.lists(st.integers(-9, 9), min_size=1, max_size=60)


def test_magnitude_is_the_absolute_value() -> None:
    weight = torch.tensor([[-2.0, 0.5], [-0.0, 3.0]])
    assert torch.equal(magnitude("w", weight), torch.tensor([[2.0, 0.5], [0.0, 3.0]]))


@given(values=whole)
def test_lamp_is_its_definition(values: list[int]) -> None:
    scores = lamp("w", torch.tensor(values, dtype=torch.float64))
    for value, score in zip(values, scores.tolist(), strict=True):
        rest = sum(other**2 for other in values if other**2 >= value**2)
        assert score == (value**2 / rest if value else 0.0)


@given(values=whole)
def test_lamp_is_the_same_in_every_type_to_its_rounding(values: list[int]) -> None:
    exact = lamp("w", torch.tensor(values, dtype=torch.float64))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        scores = lamp("w", torch.tensor(values, dtype=dtype))
        assert scores.dtype == torch.float32
        assert torch.equal(scores, exact.float())


@given(values=whole)
def test_lamp_ranks_a_layer_as_magnitude_does(values: list[int]) -> None:
    weight = torch.tensor(values, dtype=torch.float32)
    for count in {0, 1, len(values) // 3, len(values) // 2, len(values) - 1, len(values)}:
        assert torch.equal(
            keep_highest(lamp("w", weight), count), keep_highest(magnitude("w", weight), count)
        )


def test_lamp_of_the_largest_weight_is_one_in_every_layer() -> None:
    for scale in (1e-6, 1.0, 1e6):
        weight = scale * torch.randn(8, 9, generator=torch.Generator().manual_seed(0))
        assert float(lamp("w", weight).max()) == 1.0


def test_lamp_does_not_lose_small_halves() -> None:
    scores = lamp("w", torch.tensor([1e-4, 2e-4], dtype=torch.float16))
    assert 0 < float(scores[0]) < float(scores[1]) == 1.0


def test_lamp_sums_in_double_precision() -> None:
    # A float32 running sum of squares stops at 2^24 ones; the first weights would share their score.
    weight = torch.ones(1 << 12)
    weight[0] = 2.0**13
    assert float(lamp("w", weight)[1]) == pytest.approx(1 / (2.0**26 + 2**12 - 1), rel=1e-7)


def test_lamp_of_no_weights_is_empty() -> None:
    assert lamp("w", torch.empty(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_what_is_not_finite_has_no_lamp_score_that_can_be_ranked(wrong: float, dtype: torch.dtype) -> None:
    scores = lamp("w", torch.tensor([1.0, wrong, 0.0], dtype=dtype))
    with pytest.raises(ConfigurationError, match="a score is NaN"):
        keep_highest(scores, 1)


def test_random_depends_on_the_seed_and_the_name_and_on_nothing_else() -> None:
    weight = torch.randn(40)
    scores = Random(1)("fc1.weight", weight)
    assert torch.equal(scores, Random(1)("fc1.weight", torch.zeros(40)))
    assert not torch.equal(scores, Random(2)("fc1.weight", weight))
    assert not torch.equal(scores, Random(1)("fc2.weight", weight))
    assert ((scores >= 0) & (scores < 1)).all()


def test_random_is_uniform() -> None:
    scores = Random(0)("w", torch.zeros(100_000, dtype=torch.float64))
    tenths = torch.histc(scores, 10, 0, 1)
    assert float((tenths - 10_000).abs().max()) < 500  # five standard deviations are 474


def test_probabilistic_draw_is_in_proportion_to_magnitude() -> None:
    # One of two weights, 1 and 3, is kept: the larger three times in four.
    weight = torch.tensor([1.0, -3.0])
    kept = sum(int(keep_highest(ProbabilisticMagnitude(seed)("w", weight), 1)[1]) for seed in range(600))
    assert abs(kept / 600 - 0.75) < 0.09  # five standard deviations


def test_probabilistic_draw_takes_a_zero_weight_last() -> None:
    weight = torch.tensor([0.0, 1e-30, 0.0, 1.0])
    scores = ProbabilisticMagnitude(0)("w", weight)
    assert scores[[0, 2]].tolist() == [-float("inf")] * 2
    assert keep_highest(scores, 3).tolist() == [True, True, False, True]


def test_probabilistic_draw_is_reproducible() -> None:
    weight = torch.randn(30)
    first = ProbabilisticMagnitude(4)("w", weight)
    assert torch.equal(first, ProbabilisticMagnitude(4)("w", weight))
    assert not torch.equal(first, ProbabilisticMagnitude(5)("w", weight))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_random_scores_of_half_precision_have_no_ties_to_go_by_index(dtype: torch.dtype) -> None:
    weight = torch.randn(200, 200).to(dtype)
    kept = keep_highest(Random(seed=0)("fc.weight", weight), 400)
    assert torch.equal(kept, keep_highest(Random(seed=0)("fc.weight", weight.float()), 400))
    tiny = (weight.float() * 1e-6).to(dtype)
    assert bool(ProbabilisticMagnitude(seed=0)("fc.weight", tiny)[tiny != 0].isfinite().all())


def test_complex_weights_are_ranked_by_their_absolute_value() -> None:
    weight = torch.tensor([10j, 1 + 0j, 0.5j, 2 + 0j])
    assert lamp("fc.weight", weight).argsort().tolist() == [2, 1, 3, 0]


@pytest.mark.parametrize(
    ("score", "found"),
    [
        (lambda _, weight: weight.norm(dim=1, keepdim=True), r"\(3, 1\)"),
        (lambda _, weight: weight.tolist(), "list"),
    ],
)
def test_a_score_that_is_not_a_number_for_every_connection(score: Score, found: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"score .* of 'a': .*shape \(3, 2\), .* found .*{found}"):
        score_of(score, "a", torch.ones(3, 2))
