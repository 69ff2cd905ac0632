"""The tables of ``docs/runtime.md``: single layers beside dense engines; see `benchmarks.readme`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.readme_runtime import OURS

# Below it a layer is called slower than dense: single runs differ by as much.
EVEN = 0.95


def sweep_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """How many times as fast as the fastest dense engine each layer is, by density; bold where it is slower.

    Args:
        rows: Those of a result of ``benchmarks.sweep``.

    Returns:
        The header, and a row for every layer and batch size: layer, batch, the fastest dense engine and its
        milliseconds, then a factor for each density.
    """
    dense: dict[tuple[str, int], str] = {}
    factors: dict[tuple[str, int], dict[float, float]] = {}
    for row in rows:
        key = (row["work"], row["batch"])
        if row["engine"] == OURS:
            factors.setdefault(key, {})[row["density"]] = row["speedup"]
        elif row.get("speedup") == 1.0:  # what the others are compared with
            dense[key] = f"{row['engine']} {row['median_ms']:.3g}"
    densities = sorted({density for found in factors.values() for density in found})
    header = ("layer", "batch", "fastest dense engine, ms", *(f"{100 * density:g}%" for density in densities))
    table = [
        (f"`{work}`", str(batch), dense[work, batch], *(_factor(found[density]) for density in densities))
        for (work, batch), found in factors.items()
    ]
    return header, table


def slower(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    """How many points are slower than dense, of how many that is no matter of chance, and how many there are.

    Args:
        rows: Those of a result of ``benchmarks.sweep``.

    Returns:
        Those below `EVEN`, those whose whole interval over the rounds lies below 1, and all.
    """
    ours = [row for row in rows if row["engine"] == OURS]
    below = sum(row["speedup"] < EVEN for row in ours)
    return below, sum(row["speedup_high"] < 1.0 for row in ours), len(ours)


def _factor(speedup: float) -> str:
    return f"**{speedup:.2f}**" if speedup < EVEN else f"{speedup:.2f}"
