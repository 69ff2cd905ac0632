from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from secateur.report.tables import human_count, layer_table, summary


def record() -> dict[str, Any]:
    def row(name: str, weights: int, kept: int) -> dict[str, Any]:
        flop = {"flop": 2 * weights, "activation_density": 0.384, "flop_kept": 0.081}
        return {"name": name, "weights": weights, "kept": kept, **flop}

    return {
        "name": "lenet",
        "seed": 4,
        "layers": [row("fc1", 235_200, 18_816), row("fc2", 30_000, 2_700)],
        "total": row("total", 265_200, 21_516),
        "weights": {"total": 265_200, "kept": 21_516},
        "compression": 265_200 / 21_516,
        "error": {
            "dense": 1.64,
            "pruned": 1.59,
            "dense_interval": [1.41, 1.91],
            "pruned_interval": [1.36, 1.85],
            "difference": -0.05,
            "difference_interval": [-0.21, 0.11],
            "test_images": 10_000,
        },
        "dead_neurons": {
            "fc1": {"without_inputs": 31, "without_outputs": 30, "total": 300},
            "fc2": {"without_inputs": 0, "without_outputs": 2, "total": 100},
        },
    }


def text(thing: Any, width: int = 120) -> list[str]:
    out = StringIO()
    Console(file=out, width=width).print(thing)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip(" ─")]


def test_the_table_has_the_papers_form() -> None:
    lines = text(layer_table(record()))
    assert lines[0] == "lenet, seed 4"
    assert [line.split() for line in lines[1:]] == [
        ["layer", "weights", "FLOP", "Act", "%", "Weights", "%", "FLOP", "%"],
        ["fc1", "235K", "470K", "38", "8.0", "8.1"],
        ["fc2", "30K", "60K", "38", "9.0", "8.1"],
        ["total", "265K", "530K", "38", "8.1", "8.1"],
    ]


def test_a_tied_layer_has_no_weights_of_its_own() -> None:
    tied = record()
    tied["layers"][1] |= {"weights": 0, "kept": 0}
    assert text(layer_table(tied))[3].split() == ["fc2", "0", "60K", "38", "tied", "8.1"]


def test_what_could_not_be_counted_is_a_dash() -> None:
    uncounted = record()
    for row in (*uncounted["layers"], uncounted["total"]):
        row |= {"flop": None, "activation_density": None, "flop_kept": None}
    assert text(layer_table(uncounted))[2].split() == ["fc1", "235K", "-", "-", "8.0", "-"]


def test_the_summary_says_what_was_won_and_lost() -> None:
    assert text(summary(record())) == [
        "weights     265,200 -> 21,516   12.3x fewer",
        "test error  dense 1.64 % [1.41, 1.91], pruned 1.59 % [1.36, 1.85]",
        "difference  -0.05 points, 95 % interval [-0.21, +0.11], paired over 10,000 test images",
        "dead        fc1 30 of 300",
    ]


def test_the_summary_says_what_became_of_a_budget() -> None:
    searched = record() | {"search": {"statement": "21,516 weights, within 22,000 weights"}}
    assert text(summary(searched))[-1] == "budget      21,516 weights, within 22,000 weights"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (999, "999"), (1000, "1K"), (470_400, "470K"), (2.293e6, "2.29M"), (1.5e9, "1.5B")],
)
def test_counts_are_written_as_in_the_paper(number: float, expected: str) -> None:
    assert human_count(number) == expected


@pytest.mark.parametrize(("number", "expected"), [(999_999, "1M"), (999_999_999, "1B"), (999.7, "1K")])
def test_counts_that_round_up_take_the_next_letter(number: float, expected: str) -> None:
    assert human_count(number) == expected
