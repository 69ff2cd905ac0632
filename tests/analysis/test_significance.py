from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from secateur.analysis import significance
from secateur.analysis.significance import Interval, error_interval, paired_difference
from secateur.errors import DataError

Bools = NDArray[np.bool_]
Z = 1.959963984540054


@st.composite
def pairs(draw: st.DrawFn, min_seeds: int = 1, max_seeds: int = 4) -> tuple[Bools, Bools]:
    shape = (draw(st.integers(min_seeds, max_seeds)), draw(st.integers(1, 40)))
    return draw(hnp.arrays(np.bool_, shape)), draw(hnp.arrays(np.bool_, shape))


def wrong(count: int, of: int) -> Bools:
    return np.arange(of) < count


@pytest.mark.parametrize(("count", "images"), [(0, 10_000), (164, 10_000), (3, 7), (7, 7)])
def test_error_interval_is_wilsons_formula(count: int, images: int) -> None:
    p = count / images
    centre = (p + Z**2 / (2 * images)) / (1 + Z**2 / images)
    reach = Z / (1 + Z**2 / images) * math.sqrt(p * (1 - p) / images + Z**2 / (4 * images**2))
    interval = error_interval(wrong(count, images))
    assert interval.low == pytest.approx(100 * (centre - reach), abs=1e-9)
    assert interval.high == pytest.approx(100 * (centre + reach), abs=1e-9)


@given(hnp.arrays(np.bool_, st.integers(1, 200)))
def test_error_interval_holds_the_error_and_is_not_a_point(errors: Bools) -> None:
    interval = error_interval(errors)
    assert 0.0 <= interval.low <= 100 * errors.mean() + 1e-9
    assert 100 * errors.mean() - 1e-9 <= interval.high <= 100.0
    assert interval.low < interval.high


def test_one_seed_is_bonett_and_prices_interval() -> None:
    dense, pruned = np.zeros(1_000, dtype=bool), np.zeros(1_000, dtype=bool)
    dense[:9] = True
    pruned[5:20] = True  # 11 got worse, 5 got better
    difference = paired_difference(dense, pruned)
    worse, better = 12 / 1002, 6 / 1002
    reach = Z * math.sqrt((worse + better - (worse - better) ** 2) / 1002)
    assert (difference.seeds, difference.images) == (1, 1_000)
    assert difference.mean == pytest.approx(0.6)
    assert difference.interval.low == pytest.approx(100 * (worse - better - reach))
    assert difference.interval.high == pytest.approx(100 * (worse - better + reach))


def test_one_seed_may_come_with_or_without_its_dimension() -> None:
    dense, pruned = wrong(30, 500), wrong(25, 500)
    assert paired_difference(dense, pruned) == paired_difference(dense[None], pruned[None])


@pytest.mark.parametrize("shape", [(10_000,), (1, 10_000), (5, 10_000)])
def test_perfect_agreement_leaves_an_interval(shape: tuple[int, ...]) -> None:
    errors = np.broadcast_to(wrong(160, 10_000), shape).copy()
    difference = paired_difference(errors, errors)
    reach = 100 * Z * math.sqrt(2) / 10_002
    assert difference.mean == 0.0
    assert difference.interval.low == pytest.approx(-reach)
    assert difference.interval.high == pytest.approx(reach)


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_the_interval_holds_the_mean_within_100_points(pair: tuple[Bools, Bools]) -> None:
    difference = paired_difference(*pair)
    assert difference.mean == pytest.approx(100 * (pair[1].mean() - pair[0].mean()), abs=1e-9)
    assert -100 <= difference.interval.low <= difference.mean + 1e-9
    assert difference.mean - 1e-9 <= difference.interval.high <= 100
    assert difference.interval.low < difference.interval.high


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_swapping_the_networks_mirrors_everything(pair: tuple[Bools, Bools]) -> None:
    dense, pruned = pair
    there, back = paired_difference(dense, pruned), paired_difference(pruned, dense)
    assert back.mean == -there.mean
    assert back.interval.low == pytest.approx(-there.interval.high, abs=1e-12)
    assert back.interval.high == pytest.approx(-there.interval.low, abs=1e-12)


def test_the_same_numbers_come_out_whatever_the_global_generator_does() -> None:
    generator = np.random.default_rng(3)
    dense, pruned = generator.random((3, 400)) < 0.1, generator.random((3, 400)) < 0.1
    first = paired_difference(dense, pruned)
    np.random.seed(7)  # noqa: NPY002  # the point is that the global generator does not matter
    assert paired_difference(dense, pruned) == first


def test_the_bootstrap_draws_images_and_seeds_crossed() -> None:
    # Against the plain double loop of the definition, on data where image, seed and rest all vary.
    generator = np.random.default_rng(5)
    rate = generator.beta(0.5, 5, 300) + np.linspace(0, 0.1, 8)[:, None]
    dense, pruned = generator.random((8, 300)) < 0.1, generator.random((8, 300)) < rate
    d = pruned.astype(float) - dense
    means = [
        d[np.ix_(generator.integers(0, 8, 8), generator.integers(0, 300, 300))].mean() for _ in range(4_000)
    ]
    low, high = 100 * np.quantile(means, (0.025, 0.975))
    interval = paired_difference(dense, pruned).interval
    assert interval.low == pytest.approx(low, abs=0.3)
    assert interval.high == pytest.approx(high, abs=0.3)


def test_pairing_narrows_the_interval() -> None:
    generator = np.random.default_rng(11)
    dense = generator.random((3, 5_000)) < 0.05
    alike = dense ^ (generator.random((3, 5_000)) < 0.002)
    unlike = generator.random((3, 5_000)) < 0.05
    close, far = paired_difference(dense, alike).interval, paired_difference(dense, unlike).interval
    assert close.high - close.low < 0.5 * (far.high - far.low)


def simulated_coverage(seeds: int, images: int, seed_effect: float, simulations: int) -> float:
    """Share of intervals that hold the true difference of 1 point, which no seed and no image need share."""
    generator = np.random.default_rng(2015)
    truth, held = 0.01, 0
    for _ in range(simulations):
        hard = generator.beta(2, 18, images)
        shift = truth + np.clip(generator.normal(0, seed_effect, (seeds, 1)), -0.04, 0.04)
        dense = generator.random((seeds, images)) < 0.05 + 0.5 * hard
        pruned = generator.random((seeds, images)) < 0.05 + 0.5 * hard + shift
        interval = paired_difference(dense, pruned).interval
        held += interval.low <= 100 * truth <= interval.high
    return held / simulations


@pytest.mark.parametrize(("seeds", "images", "seed_effect"), [(1, 300, 0.0), (3, 150, 0.0), (4, 600, 0.015)])
def test_coverage_is_at_least_nine_in_ten(
    seeds: int, images: int, seed_effect: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fewer replicates, for time: they only make the ends of the interval rougher.
    monkeypatch.setattr(significance, "_REPLICATES", 500)
    assert simulated_coverage(seeds, images, seed_effect, simulations=300) >= 0.9


def test_a_few_seeds_that_differ_are_not_outvoted_by_many_images() -> None:
    # Three seeds at 0, 1 and 2 points: Student's interval for their mean is 1 +- 4.303 x 1 / sqrt(3).
    dense = np.zeros((3, 10_000), dtype=bool)
    pruned = np.stack([wrong(0, 10_000), wrong(100, 10_000), np.roll(wrong(200, 10_000), 5_000)])
    interval = paired_difference(dense, pruned).interval
    assert interval.low == pytest.approx(1 - 4.303 / math.sqrt(3), abs=0.05)
    assert interval.high == pytest.approx(1 + 4.303 / math.sqrt(3), abs=0.05)


def test_five_seeds_of_the_mnist_test_set_take_under_two_seconds() -> None:
    generator = np.random.default_rng(0)
    dense = generator.random((5, 10_000)) < 0.016
    pruned = dense ^ (generator.random((5, 10_000)) < 0.01)
    start = time.perf_counter()
    paired_difference(dense, pruned)
    assert time.perf_counter() - start < 2.0


def test_a_single_image_under_several_seeds_says_nothing() -> None:
    difference = paired_difference(np.array([[False], [False]]), np.array([[True], [True]]))
    assert difference.mean == 100.0
    assert difference.interval == Interval(0.0, 100.0)


def test_predictions_instead_of_errors_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"errors must be a boolean array.*is int64; pass predictions != labels"
    ):
        error_interval(np.arange(5))  # type: ignore[arg-type]


def test_wrong_dimensions_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"error_interval: errors must have shape \[images\], but has \(2, 3\)"
    ):
        error_interval(np.zeros((2, 3), dtype=bool))
    cube = np.zeros((2, 3, 4), dtype=bool)
    with pytest.raises(
        DataError, match=r"dense_errors must have shape \[images\] or \[seeds, images\], but has"
    ):
        paired_difference(cube, cube)


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="at least one image"):
        error_interval(np.zeros(0, dtype=bool))
    with pytest.raises(DataError, match="at least one image"):
        paired_difference(np.zeros((3, 0), dtype=bool), np.zeros((3, 0), dtype=bool))


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(5,\) and pruned_errors \(6,\); expected the same images"):
        paired_difference(np.zeros(5, dtype=bool), np.zeros(6, dtype=bool))
