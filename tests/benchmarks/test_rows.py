from __future__ import annotations

import io
import json

import pytest
from benchmarks.rows import Comparison, Duration, Memory, Row, Share, table
from rich.console import Console

KEYS = {
    "name",
    "median_ms",
    "low_ms",
    "high_ms",
    "reference_ms",
    "ratio",
    "ratio_low",
    "ratio_high",
    "limit",
    "within",
    "samples",
}
ROWS: list[Row] = [
    Comparison("a", [2.0, 3.0], [1.0, 2.0], 1.05),
    Share("b", [1.0], [100.0], 1.02),
    Duration("c", [4_000.0], 5_000),
    Memory("d", [10, 12], 10, 1.5),
    Comparison("e", [1.0], [1.0]),
]


def test_a_comparison_takes_the_median_of_the_ratios_of_each_round() -> None:
    # The machine halves its speed in the last round; the ratio does not care.
    row = Comparison("x", [1.1, 1.1, 2.2], [1.0, 1.0, 2.0], 1.05).to_json()
    assert row["ratio"] == pytest.approx(1.1)
    assert (row["median_ms"], row["reference_ms"], row["samples"]) == (1.1, 1.0, 3)
    assert row["within"] is False


def test_a_comparison_needs_pairs() -> None:
    with pytest.raises(ValueError, match="longer"):
        _ = Comparison("x", [1.0], [1.0, 2.0]).ratios


def test_a_share_adds_to_one() -> None:
    row = Share("x", [1.0, 3.0, 2.0], [100.0, 200.0, 150.0], 1.02)
    assert row.ratio == pytest.approx(1 + 2 / 150)
    assert row.within is True
    assert row.to_json()["ratio_low"] == pytest.approx(1 + 1 / 200)
    assert row.to_json()["ratio_high"] == pytest.approx(1 + 3 / 100)


def test_memory_is_judged_by_its_worst() -> None:
    assert Memory("x", [10, 16], 10, 1.5).within is False
    assert Memory("x", [10, 15], 10, 1.5).within is True
    assert Memory("x", [10, 15], 10, 1.5).to_json()["extra_bytes"] == [10, 15]


def test_a_duration_is_judged_by_its_median() -> None:
    assert Duration("x", [1.0, 2.0, 90.0], 2.0).within is True
    assert Duration("x", [1.0, 2.1, 90.0], 2.0).within is False


def test_a_ratio_that_is_no_number_is_not_within() -> None:
    assert Comparison("x", [float("nan")], [1.0], 1.05).within is False


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_every_kind_of_row_has_the_same_keys_and_is_json(row: Row) -> None:
    content = json.loads(json.dumps(row.to_json(), allow_nan=False))
    assert set(content) >= KEYS
    assert content["within"] is row.within


def test_without_a_limit_nothing_is_judged() -> None:
    assert ROWS[-1].within is None
    assert ROWS[-1].to_json()["limit_of"] is None


def test_the_table_has_a_line_for_each_row_and_says_what_fails() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(ROWS))
    lines = console.export_text().splitlines()
    assert [line.split()[0] for line in lines if line.strip()[:2] in {"a ", "b ", "c ", "d ", "e "}] == list(
        "abcde"
    )
    assert [line.split()[-1] for line in lines if line.strip().startswith(("a ", "b "))] == ["NO", "yes"]
