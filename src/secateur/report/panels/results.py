"""What came out of a run: what remains, what it costs in error, what it takes in energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from secateur.analysis.energy import dense_work, inference_energy, pruned_work
from secateur.report.panels.networks import first_layer, sensitivity, weights
from secateur.report.panels.panel import ACCENT, INK, LINE, QUIET, Panel, by, drawn, inline
from secateur.report.run import Run

_ON_CHIP = 1 << 18


def result_panels(run: Run) -> Iterator[Panel]:
    """The figures of what came out of a run, as far as its files allow.

    Args:
        run: The run.

    Yields:
        Panels.
    """
    if run.record is not None:
        yield _density(run.record)
        yield trade_off([run])
        yield from _energy(run.record)
    yield from first_layer(run)
    yield from weights(run)
    if run.scan is not None:
        yield sensitivity(run.scan)


def trade_off(runs: Sequence[Run]) -> Panel:
    """Test error against compression, one point a stage, with 95 % intervals.

    Args:
        runs: Finished runs.

    Returns:
        The panel.
    """
    points = [
        {
            "run": run.name,
            "compression": point["compression"],
            "error": point["test_error"],
            "low": point["test_interval"][0],
            "high": point["test_interval"][1],
            "kept": point["kept"],
        }
        for run in runs
        if run.record is not None
        for point in run.record["curve"]
    ]
    several = len(runs) > 1
    look = by("run", [run.name for run in runs]) if several else {}
    base = alt.Chart(inline(points)).encode(
        x=alt.X(
            "compression:Q",
            scale=alt.Scale(type="log", base=2, nice=False, padding=8),
            title="times fewer weights",
            axis=alt.Axis(grid=False, tickCount=6, format="~g"),
        ),
        **look,
    )
    error = alt.Y("error:Q", title=None, scale=alt.Scale(zero=False))
    tips = [
        alt.Tooltip("run:N"),
        alt.Tooltip("compression:Q", format=".1f"),
        alt.Tooltip("kept:Q", format=",", title="weights"),
        alt.Tooltip("error:Q", format=".2f", title="test error, %"),
        alt.Tooltip("low:Q", format=".2f", title="95 % from"),
        alt.Tooltip("high:Q", format=".2f", title="to"),
    ]
    bars = base.mark_rule(color=QUIET, strokeWidth=1).encode(
        y=alt.Y("low:Q", title=None), y2="high:Q", strokeDash=alt.value([1, 0])
    )
    line = base.mark_line(color=ACCENT, strokeWidth=1.8).encode(y=error)
    dots = base.mark_point(color=ACCENT, filled=True, size=46, opacity=1).encode(y=error, tooltip=tips)
    rows = tuple(
        (each["run"], f"{each['compression']:.1f}x", f"{each['kept']:,}", _interval(each["error"], each))
        for each in points
    )
    return Panel(
        "Error against compression",
        "Test error after each stage, in per cent; bars are 95 % intervals. The test set was looked at once, "
        "at the end.",
        drawn(alt.layer(bars, line, dots), 240, "Test error against compression"),
        ("run", "compression", "weights", "test error %"),
        rows,
    )


def _density(record: Mapping[str, Any]) -> Panel:
    rows = [*(row for row in record["layers"] if row["weights"]), record["total"]]
    parts = [
        {
            "layer": row["name"],
            "part": part,
            "weights": weights,
            "share": weights / row["weights"],
            "order": order,
        }
        for row in rows
        for order, (part, weights) in enumerate(
            (("remaining", row["kept"]), ("pruned", row["weights"] - row["kept"]))
        )
    ]
    chart = (
        alt.Chart(inline(parts))
        .mark_bar(height={"band": 0.62})
        .encode(
            x=alt.X("weights:Q", stack="normalize", title=None, axis=alt.Axis(format="%", grid=False)),
            y=alt.Y("layer:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False)),
            color=alt.Color(
                "part:N", scale=alt.Scale(domain=["remaining", "pruned"], range=[ACCENT, LINE]), title=None
            ),
            order="order:Q",
            tooltip=[
                "layer:N",
                "part:N",
                alt.Tooltip("weights:Q", format=","),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    return Panel(
        "What remains of each layer",
        "Weights kept, of all the layer's weights.",
        drawn(chart, 34 * len(rows), "Share of weights that remain, by layer"),
        ("layer", "remaining", "pruned"),
        tuple((row["name"], f"{row['kept']:,}", f"{row['weights'] - row['kept']:,}") for row in rows),
    )


def _energy(record: Mapping[str, Any]) -> Iterator[Panel]:
    if any(row["flop"] is None or row["flop_kept"] is None for row in record["layers"]):
        return
    dense, pruned = dense_work(record["layers"]), pruned_work(record["layers"])
    cases = {
        "dense": inference_energy(dense, on_chip_bytes=_ON_CHIP),
        "pruned": inference_energy(pruned, on_chip_bytes=_ON_CHIP),
    }
    parts = [
        {"network": case, "part": part, "nanojoules": getattr(energy, field) / 1000, "order": order}
        for case, energy in cases.items()
        for order, (part, field) in enumerate(
            (("arithmetic", "arithmetic"), ("SRAM", "sram"), ("DRAM", "dram"))
        )
    ]
    chart = (
        alt.Chart(inline(parts))
        .mark_bar(height={"band": 0.62})
        .encode(
            x=alt.X("nanojoules:Q", title="nanojoules", axis=alt.Axis(grid=False, tickCount=4)),
            y=alt.Y("network:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False)),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=["arithmetic", "SRAM", "DRAM"], range=[INK, ACCENT, LINE]),
                title=None,
            ),
            order="order:Q",
            tooltip=["network:N", "part:N", alt.Tooltip("nanojoules:Q", format=",.1f")],
        )
    )
    places = ", ".join(
        f"the {case} network's {energy.stored_bytes / 1024:,.0f} KiB are read from "
        f"{'DRAM each time' if energy.dram else 'the chip'}"
        for case, energy in cases.items()
    )
    yield Panel(
        "Energy of one inference",
        f"By the paper's 45 nm table. Assumed: {_ON_CHIP // 1024} KiB on the chip for weights and indices; "
        f"{places}; zero weights and zero inputs cost nothing.",
        drawn(chart, 34 * len(cases), "Energy of one inference, dense and pruned"),
        ("network", "arithmetic nJ", "SRAM nJ", "DRAM nJ"),
        tuple(
            (case, *(f"{getattr(energy, field) / 1000:,.1f}" for field in ("arithmetic", "sram", "dram")))
            for case, energy in cases.items()
        ),
    )


def _interval(error: float, row: Mapping[str, Any]) -> str:
    return f"{error:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
