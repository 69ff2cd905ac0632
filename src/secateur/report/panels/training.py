"""Training curves: every epoch of every phase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from secateur.report.panels.panel import ACCENT, LINE, QUIET, Panel, by, drawn, inline
from secateur.report.run import Run


def training_panels(runs: Sequence[Run]) -> Iterator[Panel]:
    """Validation error and losses, epoch by epoch, through every phase.

    Args:
        runs: One, or several to lay over each other.

    Yields:
        Panels; none where nothing has been trained yet.
    """
    epochs = [line for run in runs for line in _epochs(run)]
    if not epochs:
        return
    rows = tuple(
        (
            each["run"],
            each["stage"],
            str(each["epoch"]),
            f"{each['loss']:.4f}",
            f"{each['validation_error']:.2f}",
        )
        for each in epochs
    )
    columns = ("run", "stage", "epoch", "training loss", "validation error %")
    names = [run.name for run in runs]
    logarithmic = alt.Scale(type="log", nice=False)
    for field, title, text, scale in (
        ("validation_error", "Validation error", "Per cent of the validation images.", alt.Scale(zero=False)),
        ("loss", "Training loss", "Mean over each epoch, on a logarithmic scale.", logarithmic),
    ):
        lines = _lines(epochs, field, title, scale, names)
        layers = [lines] if len(runs) > 1 else [*_stages(epochs), lines]
        marked = "" if len(runs) > 1 else " A dashed line is where a stage begins; numbers are rounds."
        spec = drawn(alt.layer(*layers), 220, f"{title} by epoch")
        yield Panel(title, text + marked, spec, columns, rows)


def _lines(
    epochs: Sequence[Mapping[str, Any]], field: str, title: str, scale: alt.Scale, runs: Sequence[str]
) -> Any:
    several = len(runs) > 1
    last = max(epoch["epoch"] for epoch in epochs)
    point = {"size": 22, "filled": True, **({} if several else {"color": ACCENT})}
    lines = alt.Chart(inline(epochs)).mark_line(
        color=ACCENT,
        strokeWidth=1.8,
        point=point,
    )
    return lines.encode(
        x=alt.X(
            "epoch:Q",
            title="epoch, all phases in a row",
            scale=alt.Scale(domain=[0.5, last + 0.5], nice=False),
            axis=alt.Axis(tickMinStep=1, grid=False),
        ),
        y=alt.Y(
            f"{field}:Q",
            title=None,
            scale=scale,
            axis=alt.Axis(tickCount=5, grid=field != "loss"),
        ),
        tooltip=[
            *([alt.Tooltip("run:N")] if several else []),
            alt.Tooltip("stage:N"),
            alt.Tooltip("epoch:Q"),
            alt.Tooltip(f"{field}:Q", format=".4~f", title=title.lower()),
            alt.Tooltip("density:Q", format=".1%"),
        ],
        **(by("run", runs) if several else {}),
    )


def _stages(epochs: Sequence[Mapping[str, Any]]) -> list[Any]:
    marks = [
        {"epoch": each["epoch"] - 0.5, "name": each["stage"].removeprefix("round-").lstrip("0")}
        for each in epochs
        if each["first"]
    ]
    rules = alt.Chart(inline(marks)).mark_rule(color=LINE, strokeDash=[3, 3]).encode(x="epoch:Q")
    names = alt.Chart(inline(_spread_out(marks, epochs[-1]["epoch"]))).mark_text(
        color=QUIET, align="left", dx=3, baseline="top", fontSize=11
    )
    return [rules, names.encode(x="epoch:Q", y=alt.value(0), text="name:N")]


def _epochs(run: Run) -> Iterator[dict[str, Any]]:
    before = None
    for number, line in enumerate(run.log, 1):
        here = line["stage"]
        yield {
            **{key: line[key] for key in ("loss", "validation_error", "density")},
            "run": run.name,
            "stage": here,
            "epoch": number,
            "first": here != before,
        }
        before = here


def _spread_out(marks: Sequence[Mapping[str, Any]], epochs: int) -> list[Mapping[str, Any]]:
    # Names of stages that follow each other closely would lie over each other.
    shown: list[Mapping[str, Any]] = []
    for mark in marks:
        if not shown or mark["epoch"] - shown[-1]["epoch"] > 0.06 * epochs:
            shown.append(mark)
    return shown
