"""Every schedule is one row of the table, and every row passes the same checks."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import ConfigurationError
from secateur.pruning.schedules import (
    Cubic,
    Geometric,
    GrowingQuality,
    Linear,
    OneShot,
    Schedule,
    rounds,
)

# (from less pruned, to more pruned) -> schedule; densities fall from the first to the second, qualities grow.
Build = Callable[[float, float], Schedule]
DENSITY: dict[str, Build] = {
    "one shot": lambda initial, final: OneShot(final, initial),
    "linear": lambda initial, final: Linear(final, initial),
    "geometric": lambda initial, final: Geometric(final, initial),
    "cubic": lambda initial, final: Cubic(final, initial),
}
QUALITY: dict[str, Build] = {"growing quality": lambda initial, final: GrowingQuality(final, initial)}
ALL = DENSITY | QUALITY

every_schedule = pytest.mark.parametrize("name", ALL)
two = st.tuples(st.floats(1e-4, 1.0), st.floats(1e-4, 1.0))
progress = st.floats(0.0, 1.0)


def built(name: str, values: tuple[float, float]) -> tuple[Schedule, float, float]:
    low, high = sorted(values)
    initial, final = (high, low) if name in DENSITY else (low, high)
    return ALL[name](initial, final), initial, final


@every_schedule
@given(values=two)
def test_starts_and_ends_exactly(name: str, values: tuple[float, float]) -> None:
    schedule, initial, final = built(name, values)
    assert schedule(0.0) == initial
    assert schedule(1.0) == final


@every_schedule
@given(values=two, times=st.lists(progress, min_size=2, max_size=8))
def test_stays_in_range_and_never_turns_back(
    name: str, values: tuple[float, float], times: list[float]
) -> None:
    schedule, initial, final = built(name, values)
    course = [schedule(time) for time in (0.0, *sorted(times), 1.0)]
    assert all(min(initial, final) <= value <= max(initial, final) for value in course)
    for earlier, later in pairwise(course):
        assert later <= earlier if name in DENSITY else later >= earlier


@every_schedule
@given(values=two, time=progress)
def test_is_deterministic_and_flat_where_both_ends_are_one(
    name: str, values: tuple[float, float], time: float
) -> None:
    schedule, initial, _ = built(name, values)
    assert schedule(time) == schedule(time)
    assert built(name, (initial, initial))[0](time) == initial


@every_schedule
def test_outside_its_time_it_holds_its_ends(name: str) -> None:
    schedule, initial, final = built(name, (0.1, 0.9))
    assert schedule(-1.0) == initial
    assert schedule(2.0) == final


@every_schedule
@given(values=two, count=st.integers(1, 30))
def test_rounds_end_exactly(name: str, values: tuple[float, float], count: int) -> None:
    schedule, _, final = built(name, values)
    course = rounds(schedule, count)
    assert len(course) == count
    assert course[-1] == final


@pytest.mark.parametrize("name", DENSITY)
@pytest.mark.parametrize(
    ("initial", "final"), [(0.1, 0.2), (1.0, 0.0), (1.1, 0.5), (1.0, -0.1), (1.0, float("nan"))]
)
def test_refuses_densities_that_cannot_be(name: str, initial: float, final: float) -> None:
    with pytest.raises(ConfigurationError, match="0 < final <= initial <= 1; found initial="):
        DENSITY[name](initial, final)
