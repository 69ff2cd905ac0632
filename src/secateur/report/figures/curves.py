"""Figs 5 and 6: accuracy against what is pruned away, and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from secateur.errors import DataError, LayerSelectionError
from secateur.report.figures.paper import FIG5, FIG6
from secateur.report.figures.style import (
    INK,
    MARKERS,
    QUIET,
    SERIES,
    Drawing,
    caption,
    drawing,
    rule_off,
    styled,
)

if TYPE_CHECKING:
    from secateur.analysis.sensitivity import Sensitivity

_FLOOR = -4.8  # points; the paper's axis ends there as well


def trade_off(summary: Sequence[Mapping[str, Any]], *, note: str = "") -> Drawing:
    """Change of accuracy against the fraction pruned, beside the paper's AlexNet (Fig 5).

    Args:
        summary: Of a ``comparisons.json``: ``curve``, ``compression``, ``mean_test_error``, ``low`` and
            ``high`` (per cent, over seeds). Curves are measured from the dense network of the same penalty.
        note: Said beneath the figure.

    Returns:
        The figure.

    Raises:
        DataError: A curve or a dense network is not there.
    """
    with styled():
        figure = drawing(8.4, 4.0)
        ours, papers = figure.subplots(1, 2, sharex=True, sharey=True)
        for place, curve in enumerate(FIG5):
            look = _look(place)
            points = _changes(summary, curve)
            x = [pruned for pruned, _, _, _ in points]
            mean = [change for _, change, _, _ in points]
            reach = [[m - low for _, m, low, _ in points], [high - m for _, m, _, high in points]]
            ours.errorbar(x, mean, yerr=reach, label=curve, elinewidth=0.7, **look)
            papers.plot(*zip(*FIG5[curve], strict=True), **look)
        ours.set_title("here: LeNet-300-100, mean and range of seeds")
        papers.set_title("the paper: AlexNet, top-5")
        for axes in (ours, papers):
            _change_axes(axes, "weights pruned away, %")
        ours.set(ylim=(_FLOOR, 0.7), ylabel="change of accuracy, points")
        ours.legend(loc="lower left")
        caption(figure, note)
    return figure


def sensitivity_curves(scan: Sensitivity, *, layers: Sequence[str] | None = None, note: str = "") -> Drawing:
    """Change of accuracy when one layer alone is pruned, beside the paper's AlexNet (Fig 6).

    Args:
        scan: Of `secateur.analysis.sensitivity`.
        layers: Which layers; all of them if left out.
        note: Said beneath the figure.

    Returns:
        The figure.

    Raises:
        LayerSelectionError: A layer is not in the scan.
    """
    found = {layer.layer: layer for layer in scan.layers}
    if not found:
        raise LayerSelectionError("sensitivity figure: the scan has no layers; scan a network first")
    for name in layers or ():
        if name not in found:
            raise LayerSelectionError(
                f"sensitivity figure: the scan has no layer {name!r}; expected any of {', '.join(found)}"
            )
    with styled():
        figure = drawing(8.4, 4.0)
        ours, papers = figure.subplots(1, 2, sharex=True, sharey=True)
        for place, name in enumerate(layers or found):
            points = found[name].points
            ours.plot(
                [100 * (1 - point.density) for point in points],
                [scan.error - point.error for point in points],
                label=name,
                **_look(place),
            )
        for place, (name, series) in enumerate(FIG6.items()):
            papers.plot(*zip(*series, strict=True), label=name, **_look(place))
        ours.set_title(f"here: {scan.images:,} validation images")
        papers.set_title("the paper: AlexNet")
        for axes in (ours, papers):
            _change_axes(axes, "of the layer's weights pruned away, %")
            axes.legend(loc="lower left")
        best = max(scan.error - point.error for layer in scan.layers for point in layer.points)
        ours.set(ylim=(-20, max(1.0, 1.1 * best)), ylabel="change of accuracy, points")
        caption(figure, note)
    return figure


def _look(place: int) -> dict[str, Any]:
    return {"color": SERIES[place % len(SERIES)], "marker": MARKERS[place % len(MARKERS)]}


def _change_axes(axes: Axes, label: str) -> None:
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xlabel(label)
    axes.xaxis.label.set_color(QUIET)
    rule_off(axes)


def _changes(summary: Sequence[Mapping[str, Any]], curve: str) -> list[tuple[float, float, float, float]]:
    dense = f"{curve[:2]}, dense"
    reference = [row["mean_test_error"] for row in summary if row["curve"] == dense]
    rows = sorted(
        (row for row in summary if row["curve"] == curve), key=lambda row: float(row["compression"])
    )
    for name, found in ((dense, reference), (curve, rows)):
        if not found:
            known = ", ".join(sorted({str(row["curve"]) for row in summary})) or "none"
            raise DataError(f"accuracy against pruned fraction: no curve {name!r}; found {known}")
    return [
        (
            100 * (1 - 1 / row["compression"]),
            reference[0] - row["mean_test_error"],
            reference[0] - row["high"],
            reference[0] - row["low"],
        )
        for row in rows
    ]
