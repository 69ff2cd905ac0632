"""The README's table of CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def accuracy_rows(result: Json) -> list[tuple[str, ...]]:
    """A row for the dense network, for the two trained as long as all rounds, and for every compression.

    Args:
        result: The content of a result of ``python -m benchmarks.cifar``.

    Returns:
        Cells: what, weights, epochs, per cent right, less the dense network through as many rounds uncut, per
        cent right of the narrow network, less that one. Differences are in points, with their 95 % interval.
    """
    summary = result["summary"]
    rows: list[tuple[str, ...]] = []
    for what, key in (
        ("dense", "dense"),
        ("dense, the same rounds uncut", "uncut"),
        ("dense, as long in one go", "longer"),
    ):
        network = summary[key]
        rows.append(
            (what, f"{summary['weights']:,}", str(network["epochs"]), _right(network["error"]), "", "", "")
        )
    for point in summary["curve"]:
        narrow = point["narrow"]
        beside = f"{_right(narrow['error'])} ({narrow['weights']:,} weights)"
        rows.append(
            (
                f"**{point['compression']['mean']:.0f}x**",
                f"{point['kept']['mean']:,.0f}",
                str(point["epochs"]),
                f"**{_right(point['error'])}**",
                _points(point["less_uncut"]),
                beside if narrow["error"] else "not run",
                _points(point["less_narrow"]),
            )
        )
    return rows


def _right(error: Json | None) -> str:
    if error is None:
        return "not run"
    spread = "" if error["deviation"] is None else f" ± {error['deviation']:.2f}"
    return f"{100 - error['mean']:.2f}{spread}"


def _points(less: Json | None) -> str:
    if less is None:
        return ""
    low, high = less["interval"]
    # Of errors: turned round, they are of what is right.
    return f"{-less['mean']:+.2f} [{-high:+.2f}, {-low:+.2f}]"
