from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import ConfigurationError
from secateur.pruning.schedules import Cubic, Geometric, GrowingQuality, Linear, OneShot, rounds

times = st.floats(0.0, 1.0)
initials, finals = st.floats(0.5, 1.0), st.floats(0.001, 0.5)


def test_one_shot_cuts_at_the_first_chance() -> None:
    assert rounds(OneShot(0.1), 3) == (0.1, 0.1, 0.1)
    assert OneShot(0.1, initial=0.5)(0.0) == 0.5


@given(initial=initials, final=finals, time=times)
def test_linear_cuts_the_same_number_every_time(initial: float, final: float, time: float) -> None:
    assert Linear(final, initial)(time) == pytest.approx(initial + (final - initial) * time, rel=1e-12)


@given(initial=initials, final=finals, count=st.integers(1, 20))
def test_geometric_cuts_the_same_fraction_every_time(initial: float, final: float, count: int) -> None:
    course = (initial, *rounds(Geometric(final, initial), count))
    fraction = (final / initial) ** (1 / count)
    for earlier, later in pairwise(course):
        assert later / earlier == pytest.approx(fraction, rel=1e-9)


@given(initial=initials, final=finals, time=times)
def test_cubic_is_the_formula(initial: float, final: float, time: float) -> None:
    assert Cubic(final, initial)(time) == pytest.approx(
        final + (initial - final) * (1 - time) ** 3, rel=1e-12
    )


def test_cubic_cuts_most_at_first() -> None:
    course = [1.0, *rounds(Cubic(0.1), 4)]
    cuts = [earlier - later for earlier, later in pairwise(course)]
    assert cuts == sorted(cuts, reverse=True)


def test_growing_quality_grows_in_equal_steps() -> None:
    assert rounds(GrowingQuality(2.0, initial=1.0), 4) == (1.25, 1.5, 1.75, 2.0)


@pytest.mark.parametrize(("initial", "final"), [(2.0, 1.0), (-1.0, 1.0), (0.0, float("nan"))])
def test_growing_quality_refuses_to_shrink(initial: float, final: float) -> None:
    with pytest.raises(ConfigurationError, match="needs 0 <= initial <= final; found initial="):
        GrowingQuality(final, initial)


@pytest.mark.parametrize("count", [0, -1])
def test_rounds_refuses_fewer_than_one(count: int) -> None:
    with pytest.raises(ConfigurationError, match=f"rounds must be at least 1, found {count}"):
        rounds(Linear(0.1), count)


def test_a_schedule_never_asks_for_more_than_it_did() -> None:
    # initial^(1-t) final^t came out below its end: a weight was gone that the last round wanted.
    schedule = Geometric(0.3, 0.3)
    assert {schedule(step / 1000) for step in range(1001)} == {0.3}


@pytest.mark.parametrize("schedule", [OneShot, Linear, Geometric, Cubic, GrowingQuality])
def test_refuses_what_is_no_number(schedule: type[Cubic]) -> None:
    with pytest.raises(ConfigurationError, match=r"final='0\.1'$"):
        schedule("0.1")  # type: ignore[arg-type]
