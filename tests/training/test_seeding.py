from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.training.seeding import derive_seed, generator, seeded

places = st.lists(st.text("abc-01", min_size=1, max_size=6) | st.integers(0, 99), max_size=3)


@given(st.integers(-5, 2**70), places, places)
def test_a_place_has_one_seed_and_other_places_others(
    seed: int, place: list[str | int], other: list[str | int]
) -> None:
    assert 0 <= derive_seed(seed, *place) < 2**63
    same = list(map(str, place)) == list(map(str, other))
    assert (derive_seed(seed, *place) == derive_seed(seed, *other)) is same


def test_seeds_stay_what_they_are() -> None:
    # runs of an earlier version continue with the draws they began with
    assert derive_seed(0, "dense", 1) == 5250620402277831289


def test_a_generator_begins_anew() -> None:
    assert torch.equal(torch.rand(3, generator=generator(1, "a")), torch.rand(3, generator=generator(1, "a")))


def test_a_seeded_block_draws_its_own_and_disturbs_nobody() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    with seeded(0, "here"):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(4), expected)
    with seeded(0, "here"):
        assert torch.equal(torch.rand(2), inside)
    with seeded(0, "there"):
        assert not torch.equal(torch.rand(2), inside)
