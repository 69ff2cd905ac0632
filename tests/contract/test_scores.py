"""Every score is one row of the table; every row passes the same checks, alone and with every criterion."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from secateur.pruning.allocation import ALLOCATIONS
from secateur.pruning.criteria import Criterion, Density, GlobalDensity, compute_masks
from secateur.pruning.masks import Masks
from secateur.pruning.scores import ProbabilisticMagnitude, Random, Score, lamp, magnitude
from secateur.pruning.selection import kept_count

SCORES: dict[str, Score] = {
    "magnitude": magnitude,
    "lamp": lamp,
    "random": Random(seed=3),
    "probabilistic magnitude": ProbabilisticMagnitude(seed=3),
}
CRITERIA: dict[str, Callable[[float, Score], Criterion]] = {
    "global": lambda density, score: GlobalDensity(density, score=score),
    **{
        name: lambda density, score, allocation=allocation: Density(
            density, score=score, allocation=allocation
        )
        for name, allocation in ALLOCATIONS.items()
    },
}
SHAPES = ((7,), (3, 5), (4, 3, 2, 2), (1, 1))

every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())
every_type = pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)


def weight_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    # At a power of two and away from zero, so that halves hold it exactly.
    whole = torch.randint(1, 200, shape, generator=torch.Generator().manual_seed(seed))
    signs = 1 - 2 * (whole % 2)
    return (whole * signs / 256).to(dtype)


def network(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {
        "conv.weight": weight_of((6, 1, 5, 5), dtype, 1),
        "fc1.weight": weight_of((30, 17), dtype, 2),
        "fc2.weight": weight_of((3, 11), dtype, 3),
    }


@every_score
@every_type
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_type_and_values(score: Score, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    weight = weight_of(shape, dtype)
    scores = score("fc.weight", weight)
    assert scores.shape == weight.shape
    assert scores.is_floating_point()
    assert torch.finfo(scores.dtype).bits >= torch.finfo(dtype).bits
    assert scores.isfinite().all()


@every_score
def test_does_not_change_its_input_and_is_deterministic(score: Score) -> None:
    weight = weight_of((12, 9))
    before = copy.deepcopy(weight)
    first, second = score("fc.weight", weight), score("fc.weight", weight)
    assert torch.equal(weight, before)
    assert torch.equal(first, second)
    assert first.data_ptr() != weight.data_ptr()


@every_score
def test_does_not_touch_the_global_generator(score: Score) -> None:
    state = torch.get_rng_state()
    score("fc.weight", weight_of((12, 9)))
    assert torch.equal(torch.get_rng_state(), state)


@every_score
def test_takes_a_parameter_and_gives_no_graph(score: Score) -> None:
    assert not score("fc.weight", torch.nn.Parameter(weight_of((4, 4)))).requires_grad


@every_score
def test_memory_format_does_not_matter(score: Score) -> None:
    weight = weight_of((4, 3, 5, 5))
    last = weight.contiguous(memory_format=torch.channels_last)
    assert torch.equal(score("conv.weight", weight), score("conv.weight", last))


@every_score
@every_type
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA.keys())
def test_with_every_criterion_counts_are_exact_and_nothing_comes_back(
    score: Score, dtype: torch.dtype, criterion: Callable[[float, Score], Criterion]
) -> None:
    weights = network(dtype)
    total = sum(weight.numel() for weight in weights.values())
    alive = None
    for density in (0.71, 0.4, 0.4, 0.19):
        asked = criterion(density, score)
        masks = compute_masks(weights, asked, alive)
        assert alive is None or masks.is_subset_of(alive)
        assert masks == compute_masks(weights, asked, alive)
        if isinstance(asked, Density):
            shares = asked.allocation({name: weight.shape for name, weight in weights.items()}, density)
            for name, weight in weights.items():
                assert masks.kept_of(name) == kept_count(shares[name], weight.numel())
            assert abs(masks.kept - density * total) <= 0.5 * len(weights)
        else:
            assert masks.kept == kept_count(density, total)
        alive = masks


@every_score
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA.keys())
def test_with_every_criterion_what_is_dead_stays_dead_whatever_it_scores(
    score: Score, criterion: Callable[[float, Score], Criterion]
) -> None:
    weights = {f"fc{seed}.weight": weight_of((20, 17), seed=seed) for seed in (1, 2)}
    alive = Masks(
        {name: torch.arange(weight.numel()).view(weight.shape) % 2 == 1 for name, weight in weights.items()}
    )
    masks = compute_masks(weights, criterion(0.2, score), alive)
    assert masks.is_subset_of(alive)
    assert masks.kept == 136


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA.keys())
@pytest.mark.parametrize("score", [magnitude, lamp], ids=["magnitude", "lamp"])
def test_with_every_criterion_equal_weights_are_kept_by_index(
    score: Score, criterion: Callable[[float, Score], Criterion]
) -> None:
    weights = {"a.weight": torch.full((9, 5), -0.5), "b.weight": torch.full((9, 5), 0.5)}
    masks = compute_masks(weights, criterion(0.7, score))
    for name in weights:
        flat = masks[name].flatten()
        kept = int(flat.sum())
        assert flat[:kept].all()
        assert not flat[kept:].any()
    assert masks.kept in (62, 63)


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA.keys())
def test_magnitude_keeps_no_weight_below_one_it_cuts(
    criterion: Callable[[float, Score], Criterion],
) -> None:
    weights = network()
    masks = compute_masks(weights, criterion(0.3, magnitude))
    for name, weight in weights.items():
        kept, cut = weight.abs()[masks[name]], weight.abs()[~masks[name]]
        assert cut.numel() == 0 or kept.min() >= cut.max()
