from __future__ import annotations

from functools import partial

import pytest

from secateur.errors import FormatError
from secateur.format.reader import parse_model
from tests.format.files import parsed, taken_apart
from tests.format.fuzz import SEEDS, broken, corpus, fuzz, promises, runs


def test_broken_files_are_refused_or_keep_every_promise() -> None:
    tally = fuzz(range(2000), seed=20261124, seconds=60)
    refused = sum(tally.refused.values())
    # A fuzzer that breaks everything at the first byte, or nothing, would test nothing.
    assert refused > 2 * tally.accepted > 20
    assert len(tally.refused) > 40


def test_what_is_accepted_runs_or_is_refused() -> None:
    assert fuzz(range(1000), seed=3, then=runs, seconds=60).accepted > 20


def test_an_input_is_the_same_whenever_it_is_made() -> None:
    source = corpus()
    once = [broken(number, 1, source) for number in range(4000)]
    assert len(set(once[:20])) == 20
    # After all the others, too: what an edit puts into one file, the next edits must not reach in others.
    assert [broken(number, 1, source) for number in range(4000)] == once


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_what_is_broken_was_whole(seed: int) -> None:
    promises(parsed(corpus().files[seed]))
    promises(parsed(taken_apart(corpus().files[seed]).joined()))


def test_a_reader_that_does_not_look_is_caught() -> None:
    trusting = partial(parse_model, validate=lambda *_: None)
    with pytest.raises((AssertionError, IndexError, ValueError)) as found:
        fuzz(range(4000), seed=1, read=trusting)
    assert "of seed 1" in found.value.__notes__[0]


def test_what_is_raised_but_no_refusal_ends_the_run() -> None:
    def reads(content: object) -> None:
        raise KeyError(content)

    with pytest.raises(KeyError):
        fuzz(range(1), seed=0, read=reads)  # type: ignore[arg-type]
    assert not issubclass(KeyError, FormatError)
