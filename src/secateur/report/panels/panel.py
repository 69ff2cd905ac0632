"""What every figure of the page has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import altair as alt

# Colours are custom properties of the page, so that one drawing serves light, dark and paper.
ACCENT, INK, QUIET, LINE = "var(--accent)", "var(--ink)", "var(--quiet)", "var(--line)"
_SERIES = [f"var(--series-{number})" for number in range(1, 9)]
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]


@final
@dataclass(frozen=True)
class Panel:
    """One figure of the page.

    Attributes:
        title: What it shows, in a few words.
        text: What a reader must know to read it.
        spec: Vega-Lite.
        columns: Heads of the same numbers as a table, for whoever cannot see the figure.
        rows: Its rows; empty where a table would say nothing.
    """

    title: str
    text: str
    spec: Mapping[str, Any]
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def by(field: str, names: Sequence[str]) -> dict[str, Any]:
    """Encodings that tell series apart, by colour and by dashes, so that colour alone need not do it.

    Args:
        field: The field that names the series.
        names: All series, in order.

    Returns:
        Keywords for ``encode``.
    """
    places = [number % len(_SERIES) for number in range(len(names))]
    return {
        "color": alt.Color(
            f"{field}:N", title=None, scale=alt.Scale(domain=list(names), range=[_SERIES[p] for p in places])
        ),
        "strokeDash": alt.StrokeDash(
            f"{field}:N", title=None, scale=alt.Scale(domain=list(names), range=[_DASHES[p] for p in places])
        ),
    }


def inline(values: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Data that lie in the figure itself."""
    return alt.InlineData(values=[dict(value) for value in values])


def drawn(chart: Any, height: int, description: str, *, square: bool = False) -> dict[str, Any]:
    """A chart as Vega-Lite in the page's style.

    Args:
        chart: Altair's.
        height: Of the plot, in pixels.
        description: What a screen reader says.
        square: As wide as it is high; otherwise as wide as its place on the page.

    Returns:
        The specification.
    """
    width: Any = height if square else "container"
    spec: dict[str, Any] = chart.properties(width=width, height=height).to_dict()
    return {
        **spec,
        "description": description,
        "background": None,
        "autosize": {"type": "fit-x" if not square else "pad", "contains": "padding"},
        "config": _CONFIG,
    }


_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_CONFIG: Mapping[str, Any] = {
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": QUIET,
        "titleColor": QUIET,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 12,
        "labelPadding": 5,
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
    },
    "legend": {
        "orient": "top",
        "labelColor": INK,
        "labelFontSize": 12,
        "symbolType": "square",
        "columns": 3,
        "labelLimit": 260,
    },
}
