from __future__ import annotations

import math
from collections.abc import Callable

from secateur.compiler.turns import Timed, in_turns


def test_contenders_take_turns_and_the_hopeless_are_let_go() -> None:
    turns: list[str] = []

    def contender(name: str, nanoseconds: int) -> object:
        def run(times: int) -> list[int]:
            turns.append(name)
            return [nanoseconds] * times

        return run

    found = in_turns({"a": contender("a", 2000), "b": contender("b", 1000), "c": contender("c", 9000)})  # type: ignore[dict-item]
    assert {name: timed.microseconds for name, timed in found.items()} == {"a": 2.0, "b": 1.0, "c": 9.0}
    # One more burst for the hopeless.
    assert turns == ["a", "a", "b", "b", "c", "c", "a", "b", "c", *["a", "b"] * 6]


def test_nobody_is_let_go_where_all_times_count() -> None:
    runs = 0

    def slow(times: int) -> list[int]:
        nonlocal runs
        runs += times
        return [9000] * times

    in_turns({"slow": slow, "fast": lambda times: [1000] * times}, rounds=3, hopeless=math.inf)
    assert runs == 1 + 1 + 3 * 50


def test_what_others_left_in_the_caches_and_what_a_contender_left_itself() -> None:
    # In 2 ms there is time for one run of them.
    found = in_turns(
        {"a": lambda times: [1_300_000, 1_000_000][:times], "b": lambda times: [1_400_000, 900_000][:times]}
    )
    assert found == {"a": Timed(1300.0, 1000.0), "b": Timed(1400.0, 900.0)}


def test_one_disturbed_run_does_not_let_a_contender_go() -> None:
    runs = 0

    def disturbed(times: int) -> list[int]:
        nonlocal runs
        runs += 1
        return [9000 if runs <= 2 else 1000] * times

    found = in_turns({"disturbed": disturbed, "calm": lambda times: [2000] * times})
    assert found == {"disturbed": Timed(1.0, 1.0), "calm": Timed(2.0, 2.0)}


def test_a_minute_of_noise_does_not_choose_the_kernel() -> None:
    # Two of three runs of the faster one are disturbed, and of the other one none.
    def noisy(times: int) -> list[int]:
        return [1000 if run % 3 == 0 else 4000 for run in range(times)]

    found = in_turns({"noisy": noisy, "calm": lambda times: [1100] * times})
    assert found == {"noisy": Timed(1.0, 1.0), "calm": Timed(1.1, 1.1)}


def test_those_close_to_the_best_are_timed_again() -> None:
    turns: list[str] = []

    def contender(name: str, nanoseconds: int) -> Callable[[int], list[int]]:
        def run(times: int) -> list[int]:
            turns.append(name)
            return [nanoseconds] * times

        return run

    in_turns({"a": contender("a", 1000), "b": contender("b", 1100), "c": contender("c", 2000)}, rounds=2)
    assert turns[6:] == [*["a", "b", "c"] * 2, *["a", "b"] * 2]


def test_those_close_right_after_another_run_are_timed_again_too() -> None:
    turns: list[str] = []

    def contender(name: str, first: int, again: int) -> Callable[[int], list[int]]:
        def run(times: int) -> list[int]:
            turns.append(name)
            return [first, again][:times]

        return run

    in_turns({"a": contender("a", 1_100_000, 1_000_000), "b": contender("b", 2_000_000, 900_000)}, rounds=2)
    assert turns[4:] == ["a", "b"] * 4
