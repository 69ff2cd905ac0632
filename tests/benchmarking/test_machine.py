from __future__ import annotations

import pytest

from secateur.benchmarking import machine
from secateur.benchmarking.machine import instruction_sets, machine_record, measured_limits


def test_the_record_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "measured_limits", lambda threads: {"gflops": 1.0 * threads})
    record = machine_record(2, {"rounds": 3})
    assert record["peak"] == {"gflops": 2.0}
    assert record["settings"] == {"rounds": 3}
    assert record["threads"] == 2
    assert record["cpu"]
    assert record["versions"]["numpy"]
    assert machine_record(2, {"rounds": 4})["configuration_hash"] != record["configuration_hash"]


def test_limits_are_measured() -> None:
    limits = measured_limits(1)
    assert set(limits) == {"gflops", "read_gb_per_s"}
    # Anything that runs these tests does far more, even while it is busy with other things.
    assert limits["gflops"] > 1
    assert 0.2 < limits["read_gb_per_s"] < 2000


def test_instruction_sets_are_known_ones() -> None:
    assert set(instruction_sets()) <= set(machine._SETS)
