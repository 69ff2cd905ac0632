from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.sweep import sweep

from benchmarks import sweep as module
from secateur.benchmarking.contest import Entrant, Timing, Turn
from secateur.benchmarking.result import Agreement, Row
from secateur.errors import ConfigurationError

SECATEUR, FAST, SLOW = (SimpleNamespace(name=name) for name in ("secateur", "fast", "slow"))
MS = {"fast": 1.0, "slow": 4.0, "secateur": 2.0}


def row(engine: str, **known: Any) -> Row:
    return Row("layer", 1, 2, engine, **known)


def run(monkeypatch: pytest.MonkeyPatch, wrong: set[str]) -> list[dict[str, Any]]:
    def enter(_work: object, engine: Any, *_: object) -> Entrant:
        return Entrant(row(engine.name), SimpleNamespace(name=engine.name, versions={}))  # type: ignore[arg-type]  # a stand-in

    def check(entrant: Entrant, *_: object) -> Entrant | Row:
        if entrant.row.engine in wrong:
            return row(entrant.row.engine, agreement=Agreement(agrees=False), problem="disagrees")
        return entrant

    monkeypatch.setattr(module, "layer_work", lambda *_: None)
    monkeypatch.setattr(module, "reference_outputs", lambda *_: (None, None))
    monkeypatch.setattr(module, "enter", enter)
    monkeypatch.setattr(module, "check", check)
    monkeypatch.setattr(
        module, "race", lambda workers, *_: [[Turn(MS[each.name], 0.0)] * 3 for each in workers]
    )
    dense: Any = [FAST, SLOW]
    rows, _ = sweep("layer", 1, 2, (0.1, 0.5), SECATEUR, dense, Timing(rounds=3))  # type: ignore[arg-type]  # a stand-in
    return rows


def test_the_fastest_dense_engine_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run(monkeypatch, set())
    assert [(each["engine"], each["density"], each["speedup"]) for each in rows] == [
        ("fast", 1.0, 1.0),
        ("slow", 1.0, 0.25),
        ("secateur", 0.1, 0.5),
        ("secateur", 0.5, 0.5),
    ]


def test_an_engine_that_disagrees_is_left_out_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out, *rows = run(monkeypatch, {"fast"})
    assert (left_out["engine"], left_out["median_ms"], left_out["problem"]) == ("fast", None, "disagrees")
    assert [(each["engine"], each["density"], each["speedup"]) for each in rows] == [
        ("slow", 1.0, 1.0),
        ("secateur", 0.1, 2.0),
        ("secateur", 0.5, 2.0),
    ]


@pytest.mark.parametrize("wrong", [{"secateur"}, {"fast", "slow"}], ids=["our own", "every other"])
def test_a_sweep_beside_nobody_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: set[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"layer, batch 1.*disagrees"):
        run(monkeypatch, wrong)
