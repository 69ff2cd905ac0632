from __future__ import annotations

from typing import Any

from benchmarks.readme_sweep import slower, sweep_rows


def ours(**values: float) -> dict[str, Any]:
    return {"work": "fc1", "batch": 1, "engine": "secateur", **values}


ROWS = (
    {"work": "fc1", "batch": 1, "engine": "mnn", "density": 1.0, "median_ms": None},  # disagreed: no factor
    {"work": "fc1", "batch": 1, "engine": "openvino", "density": 1.0, "median_ms": 0.2, "speedup": 0.7},
    {"work": "fc1", "batch": 1, "engine": "onnxruntime", "density": 1.0, "median_ms": 0.1404, "speedup": 1.0},
    ours(density=0.1, median_ms=0.07, speedup=2.0, speedup_high=2.1),
    ours(density=1.0, median_ms=0.15, speedup=0.949, speedup_high=1.2),
)


def test_a_layer_has_a_row_with_the_fastest_dense_engine_and_a_factor_a_density() -> None:
    header, rows = sweep_rows(ROWS)
    assert header == ("layer", "batch", "fastest dense engine, ms", "10%", "100%")
    assert rows == [("`fc1`", "1", "onnxruntime 0.14", "2.00", "**0.95**")]


def test_points_slower_than_dense_are_counted() -> None:
    assert slower(ROWS) == (1, 0, 2)
    assert slower((ours(speedup=0.949, speedup_high=0.98),)) == (1, 1, 1)
