from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.benchmarking.contest import Timing, Turn, contest, timed
from secateur.benchmarking.engines import PEERS, SECATEUR
from secateur.benchmarking.result import Row
from secateur.benchmarking.works import Work
from secateur.errors import ConfigurationError
from tests.benchmarking.conftest import fake

QUICK = Timing(rounds=3, burst_seconds=0.004, least=2)


def ignore(_: str) -> None: ...


@pytest.mark.slow
def test_engines_side_by_side(relu: Work) -> None:
    told: list[str] = []
    engines = [
        fake(name="secateur"),
        fake("late", "late"),
        fake("wrong", "wrong"),
        fake("nan", "nan"),
        fake("flat", "flat"),
        fake("absent", "absent"),
        fake("broken", "broken"),
        fake("refuses", "refusing"),
        fake("dies", "dying"),
    ]
    outcome = contest(relu, engines, 2, QUICK, told.append)
    rows = {row.engine: row for row in outcome.rows}
    assert list(rows) == [engine.name for engine in engines]
    assert outcome.reference == "onnxruntime"
    assert "numpy" in outcome.versions
    for row in outcome.rows:
        assert (row.work, row.batch, row.threads) == ("relu", 2, 2)
        assert (row.latency is None) == (row.problem is not None)
        assert row.absent == (row.engine == "absent")

    own, late = rows["secateur"], rows["late"]
    assert own.agreement is not None
    assert (own.agreement.agrees, own.agreement.max_absolute_error) == (True, 0.0)
    assert (own.configuration, own.file_bytes) == ("threads=1 quick", 22)
    assert own.latency is not None
    assert own.least_ms is not None
    assert 1.0 <= own.least_ms <= own.latency.low <= own.latency.value <= own.latency.high
    assert own.ratio is not None
    assert own.ratio.value == 1.0
    assert late.ratio is not None
    assert late.ratio.value > 1.2

    wrong = rows["wrong"]
    assert wrong.agreement is not None
    assert not wrong.agreement.agrees
    assert wrong.agreement.max_relative_error == pytest.approx(0.01, rel=1e-3)
    assert wrong.agreement.max_absolute_error == pytest.approx(0.05, rel=1e-3)
    assert wrong.problem == (
        "disagrees: its outputs are off by 0.01 of the largest one; the tolerance is 0.0001, so no time is "
        "quoted"
    )
    for name in ("nan", "flat"):
        assert "its outputs have other shapes or are not finite" in str(rows[name].problem)
    assert str(rows["absent"].problem).startswith("absent: ")
    assert str(rows["broken"].problem).startswith("start: the process ended with status 1")
    assert rows["refusing"].problem == "prepare: ValueError: cannot read relu.onnx"
    assert rows["dying"].problem == "burst: the process was killed by SIGSEGV: out of luck"
    assert any("round 3 of 3" in words for words in told)


@pytest.mark.slow
def test_without_secateur_there_are_no_ratios(relu: Work) -> None:
    for base in ("", "wrong", "dies"):
        engines = [fake(base, "secateur" if base else "other"), fake()]
        outcome = contest(relu, engines, 1, QUICK, ignore)
        assert outcome.rows[1].latency is not None
        assert outcome.rows[1].ratio is None


def test_a_tolerance_is_the_callers_to_say(relu: Work) -> None:
    outcome = contest(relu, [fake("wrong")], 1, replace(QUICK, tolerance=0.02), ignore)
    assert outcome.rows[0].problem is None


def test_an_engine_whose_kind_of_file_is_missing_says_what_it_reads(relu: Work) -> None:
    outcome = contest(relu, [PEERS["torch"][0]], 1, QUICK, ignore)
    assert outcome.rows[0].problem == (
        "it reads programs of torch.export (--torch FILE.pt2), and there is none for this work"
    )
    assert not outcome.rows[0].absent


def test_the_real_onnxruntime(relu: Work) -> None:
    outcome = contest(relu, PEERS["onnxruntime"], 1, QUICK, ignore)
    (row,) = outcome.rows
    assert row.problem is None
    assert row.agreement is not None
    assert row.agreement.agrees
    assert row.configuration == "threads=1"
    assert row.latency is not None
    assert row.latency.value < 5
    assert "onnxruntime" in outcome.versions


def test_the_real_secateur(relu: Work) -> None:
    outcome = contest(relu, [SECATEUR], 1, QUICK, ignore)
    (row,) = outcome.rows
    assert row.problem is None
    assert row.agreement is not None
    assert row.agreement.max_absolute_error == 0.0
    assert row.file_bytes is not None
    assert row.file_bytes < 2000


def test_a_file_that_onnxruntime_refuses_is_refused(relu: Work, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\x00" * 64)
    with pytest.raises(ConfigurationError, match=r"damaged\.onnx: ONNX Runtime cannot run it: load: "):
        contest(replace(relu, sources={"onnx": damaged}), [fake()], 1, QUICK, ignore)


def test_a_disturbed_round_changes_neither_median_nor_ratio() -> None:
    row = Row("w", 1, 2, "e")
    turns = [Turn(2.0, 1.9), Turn(200.0, 150.0), Turn(2.0, 1.8)]
    base = [Turn(1.0, 1.0), Turn(100.0, 90.0), Turn(1.0, 1.0)]
    found = timed(row, turns, base)
    assert found.latency is not None
    assert found.latency.value == 2.0
    assert found.least_ms == 1.8
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.value, found.ratio.high) == (2.0, 2.0, 2.0)
    assert timed(row, turns, "it died").ratio is None
    assert timed(row, "it died", base).problem == "it died"


@pytest.mark.parametrize("change", [{"rounds": 0}, {"burst_seconds": 0.0}, {"least": 0}, {"tolerance": -1.0}])
def test_a_measurement_that_measures_nothing_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="a measurement needs rounds >= 1"):
        Timing(**change)  # type: ignore[arg-type]


def test_inputs_stay_as_they_are(relu: Work) -> None:
    before = [array.copy() for array in relu.inputs]
    contest(relu, [fake()], 1, QUICK, ignore)
    assert all(np.array_equal(now, was) for now, was in zip(relu.inputs, before, strict=True))
