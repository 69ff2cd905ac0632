from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.analysis.noninferiority import non_inferiority, paired_deviation
from secateur.analysis.significance import Interval, PairedDifference, paired_difference
from secateur.errors import ConfigurationError


def test_it_is_shown_where_the_whole_interval_is_within_the_margin() -> None:
    difference = PairedDifference(0.05, Interval(-0.02, 0.12), 1, 10_000)
    assert non_inferiority(difference, 0.12).shown
    assert not non_inferiority(difference, 0.11).shown
    assert non_inferiority(difference, 0.11).bound == 0.12


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf")])
def test_a_margin_is_a_finite_number_of_points(margin: float) -> None:
    with pytest.raises(ConfigurationError, match="a margin is a number of points at or above 0, found"):
        non_inferiority(PairedDifference(0.0, Interval(0.0, 0.0), 1, 10), margin)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_the_deviation_is_that_of_the_mean_of_the_paired_differences(pairs: list[tuple[bool, bool]]) -> None:
    first, second = np.array(pairs).T
    difference = 100.0 * (second.astype(float) - first.astype(float))
    assert paired_deviation(first, second) == pytest.approx(difference.std() / np.sqrt(len(pairs)), abs=1e-9)


def test_the_deviation_is_half_of_a_third_of_walds_interval() -> None:
    wrong = np.arange(10_000)
    first, second = wrong < 200, (wrong >= 50) & (wrong < 260)
    interval = paired_difference(first, second).interval
    assert paired_deviation(first, second) == pytest.approx((interval.high - interval.low) / 3.92, rel=0.02)
