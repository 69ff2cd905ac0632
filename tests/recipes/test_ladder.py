from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.recipes.ladder import Ladder, Offer, descend, make_ladder, reach


@st.composite
def layers(draw: st.DrawFn) -> dict[str, list[Offer]]:
    found = {}
    for name in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        kept = sorted(draw(st.sets(st.integers(1, 40), min_size=1, max_size=5)), reverse=True)
        rising = sorted(draw(st.lists(st.integers(-5, 50), min_size=len(kept), max_size=len(kept))))
        found[name] = [Offer(count, 2.0 * count, harm / 8) for count, harm in zip(kept, rising, strict=True)]
    return found


def places(ladder: Ladder) -> list[float]:
    """What is saved at every joint of the ladder."""
    saved = [0.0]
    for rung in ladder.rungs:
        saved.append(saved[-1] + rung.saved)
    return saved


@given(layers())
def test_at_every_joint_no_choice_of_offers_harms_less(offers: dict[str, list[Offer]]) -> None:
    ladder = make_ladder(offers)
    by_count = {name: {point.kept: point for point in points} for name, points in offers.items()}
    for saved in places(ladder):
        counts = ladder.counts(saved)
        chosen = [by_count[name][count] for name, count in counts.items()]  # joints are offers
        price, harm = sum(each.price for each in chosen), sum(each.harm for each in chosen)
        for others in product(*offers.values()):
            if sum(each.price for each in others) <= price:
                assert sum(each.harm for each in others) >= harm - 1e-9


@given(layers(), st.floats(0, 1), st.floats(0, 1))
def test_further_down_no_layer_keeps_more(
    offers: dict[str, list[Offer]], first: float, second: float
) -> None:
    ladder = make_ladder(offers)
    low, high = sorted((first, second))
    above, below = ladder.counts(low * ladder.height), ladder.counts(high * ladder.height)
    assert all(below[name] <= above[name] for name in offers)
    assert ladder.counts(0.0) == {name: max(p.kept for p in points) for name, points in offers.items()}
    assert ladder.counts(ladder.height) == {
        name: min(p.kept for p in points) for name, points in offers.items()
    }


def test_a_step_that_went_too_far_is_taken_back() -> None:
    """A time stays what it is down to 600 weights of 1,000, and falls to nearly nothing from there."""
    ladder = make_ladder({"a": [Offer(1000, 1.0, 0.0), Offer(0, 0.0, 1.0)]})
    asked: list[int] = []

    def milliseconds(counts: object) -> float:
        asked.append(counts["a"])  # type: ignore[index]  # a mapping
        return min(1.0, 0.02 + asked[-1] / 600)

    counts = reach(ladder, milliseconds, 0.5)
    assert 0.47 < milliseconds(counts) <= 0.5
    assert len(asked) < 12


@given(layers(), st.floats(0, 200))
def test_a_limit_is_kept_and_hardly_undercut(offers: dict[str, list[Offer]], limit: float) -> None:
    ladder = make_ladder(offers)

    def price(counts: object) -> float:
        return 2.0 * sum(counts.values())  # type: ignore[attr-defined]  # a mapping

    counts = reach(ladder, price, limit)
    if price(ladder.counts(ladder.height)) > limit:
        assert counts == ladder.counts(ladder.height)
    else:
        assert price(counts) <= limit
        assert price(counts) > limit - 2.0 - 1e-3 or counts == dict(ladder.top)  # one weight more


def test_an_offer_above_the_line_between_two_others_is_never_stopped_at() -> None:
    ladder = make_ladder({"a": [Offer(9, 9.0, 0.0), Offer(6, 6.0, 5.0), Offer(3, 3.0, 6.0)]})
    assert [(rung.kept_from, rung.kept_to, rung.rate) for rung in ladder.rungs] == [(9, 3, 1.0)]


def test_what_helps_comes_first() -> None:
    ladder = make_ladder(
        {
            "a": [Offer(9, 9.0, 0.0), Offer(6, 6.0, 0.0)],
            "b": [Offer(9, 9.0, 0.0), Offer(6, 6.0, -1.0)],
        }
    )
    assert [rung.layer for rung in ladder.rungs] == ["b", "a"]


def test_the_price_decides_not_the_weights() -> None:
    offers = {
        "cheap": [Offer(10, 10.0, 0.0), Offer(0, 0.0, 1.0)],
        "dear": [Offer(10, 60.0, 0.0), Offer(0, 0.0, 1.5)],
    }
    assert make_ladder(offers).counts(30.0) == {"cheap": 10, "dear": 5}


def test_layers_that_offer_nothing_stay() -> None:
    ladder = make_ladder({"a": [Offer(4, 4.0, 0.0)]})
    assert (ladder.height, ladder.counts(3.0)) == (0, {"a": 4})
    assert reach(ladder, lambda counts: counts["a"], 1.0) == {"a": 4}


@pytest.mark.parametrize("threshold", [0, 3, 7, 10])
def test_the_descent_stops_where_it_is_enough(threshold: int) -> None:
    ladder = make_ladder({"a": [Offer(10, 10.0, 0.0), Offer(0, 0.0, 1.0)]})
    assert descend(ladder, lambda counts: counts["a"] <= threshold) == {"a": threshold}
