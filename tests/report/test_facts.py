from __future__ import annotations

from dataclasses import replace
from typing import Any

from secateur.report.facts import asked, comparison, no_worse, search_table
from secateur.report.page import report_page
from secateur.report.run import Run
from tests.small import phase, plan


def test_turns_are_said_with_their_layers_and_phases(lenet: Run) -> None:
    turns = [{"layers": ["fc*"], "retrain": [phase(3, only=["fc*"]), phase(1)]}]
    turned = plan(cut={"kind": "density", "density": 0.5}, turns=turns).model_dump(mode="json")
    said = dict(asked(replace(lenet, identity={**lenet.identity, "plan": turned})))
    assert said["Turn 1"] == (
        "fc*: 3 epochs, sgd at 0.05, cosine, L2 0.0001, only fc*; "
        "then 1 epochs, sgd at 0.05, cosine, L2 0.0001"
    )
    assert "Turn 1" not in dict(asked(lenet))


def searched(unit: str = "weights", *, met: bool = True, shown: bool = True) -> dict[str, Any]:
    tried = {"weights": 500, "validation_error": 2.0, "validation_loss": 0.1, "deviation": 0.1, "epochs": 3}
    return {
        "unit": unit,
        "limit": 2.1,
        "met": met,
        "statement": "500 weights at a validation error of 2.00 %, within 2.10 %",
        "attempts": [
            tried | {"name": "round-01", "price": 1234.5, "excess": -0.1, "kept": True},
            tried | {"name": "round-02", "price": 7.0, "excess": None, "kept": False},
        ],
        "non_inferiority": {"margin": 0.1, "bound": 0.05, "shown": shown},
    }


def test_what_a_search_tried_is_a_table() -> None:
    table = search_table(searched())
    assert table.columns == ("Network", "Weights", "Validation error %", "Over the budget", "Epochs", "Kept")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["round-01", "1,234", "2.00", "-0.10", "3", "yes"],
        ["round-02", "7", "2.00", "-", "3", "no"],
    ]
    timed = search_table(searched("milliseconds"))
    assert timed.columns[1:3] == ("Milliseconds", "Weights")
    assert [cell.text for cell in timed.rows[1]][:3] == ["round-02", "7", "500"]


def test_what_the_test_set_says_of_a_budget_is_a_sentence() -> None:
    assert no_worse(searched()) == (
        "On the test set, at most 0.10 points worse than the dense network is shown: the upper end of the "
        "95 % interval of the difference is +0.05."
    )
    assert "is not shown:" in no_worse(searched(shown=False))
    assert no_worse(searched(met=False)) == ""
    assert no_worse(searched() | {"non_inferiority": None}) == ""


def test_a_page_shows_the_search_and_a_missed_budget(lenet: Run) -> None:
    assert lenet.record is not None
    kept, missed = (
        replace(lenet, record={**lenet.record, "search": searched(met=met)}) for met in (True, False)
    )
    assert [row[0].text for row in comparison([lenet, kept, missed]).rows] == [
        lenet.name,
        lenet.name,
        f"{lenet.name} (budget missed)",
    ]
    html = report_page([kept]).html
    assert "<h2>What the search tried</h2>" in html
    assert (
        '<p class="hint">500 weights at a validation error of 2.00 %, within 2.10 %. On the test set' in html
    )
    assert '<p class="notice">500 weights at' in report_page([missed]).html
