from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.benchmarking.statistics import median, median_interval, ratios

times = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60)


@given(times)
def test_the_median_lies_in_its_interval_and_that_in_the_range(samples: list[float]) -> None:
    found = median(samples)
    assert min(samples) <= found.low <= found.value <= found.high <= max(samples)
    assert (found.low, found.high) == median_interval(list(reversed(samples)))


def test_few_samples_give_their_range() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


@given(times, st.floats(0.1, 10))
def test_a_constant_factor_is_found_exactly_whatever_disturbs_the_rounds(
    samples: list[float], factor: float
) -> None:
    found = ratios([factor * sample for sample in samples], samples)
    assert found.value == pytest.approx(factor, rel=1e-12)
    assert found.low == pytest.approx(found.high, rel=1e-12)


def test_rounds_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0, 2.0], [1.0])
