"""Looking into a network: its first layer, its weights, its sensitivity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt
import numpy as np

from secateur.report.folding import folded
from secateur.report.histograms import histograms
from secateur.report.panels.panel import ACCENT, LINE, Panel, by, drawn, inline
from secateur.report.run import Run

_LAYERS_SHOWN = 8


def first_layer(run: Run) -> Iterator[Panel]:
    """The surviving connections of the first layer, folded onto what it reads (the paper's Fig 4).

    Args:
        run: The run.

    Yields:
        A panel; none without masks, or where the first layer reads no square image.
    """
    found = next(((name, mask) for name, mask in run.masks.items() if mask.ndim in (2, 4)), None)
    if found is None:
        return
    name, mask = found
    if mask.ndim == 2 and int(mask.shape[1] ** 0.5) ** 2 != mask.shape[1]:
        return  # it reads no square image
    counts = folded(mask)
    cells = [
        {"row": row, "column": column, "connections": int(count)}
        for (row, column), count in np.ndenumerate(counts)
    ]
    chart = (
        alt.Chart(inline(cells))
        .mark_rect(color=ACCENT)
        .encode(
            x=alt.X("column:O", axis=None),
            y=alt.Y("row:O", axis=None),
            opacity=alt.Opacity(
                "connections:Q", scale=alt.Scale(domain=[0, int(counts.max())], range=[0, 1]), legend=None
            ),
            tooltip=["row:O", "column:O", "connections:Q"],
        )
    )
    layer = name.removesuffix(".weight")
    what = "pixel of the image" if mask.ndim == 2 else "place of the filter"
    yield Panel(
        f"What {layer} looks at",
        f"Living connections of the first layer at each {what}, from none to {counts.max()}.",
        drawn(chart, 260, f"Living connections of {layer}, folded onto its input", square=True),
    )


def weights(run: Run) -> Iterator[Panel]:
    """The weights before and after (the paper's Fig 7), of the first layers.

    Args:
        run: The run.

    Yields:
        A panel a layer; none where a network is not there.
    """
    layers = [name for name in run.masks if name in run.dense and name in run.pruned]
    for name in layers[:_LAYERS_SHOWN]:
        edges, before, after = histograms(run.dense[name], run.pruned[name], 61)
        bins = [
            {
                "low": round(float(low), 5),
                "high": round(float(high), 5),
                "network": network,
                "weights": int(count),
            }
            for network, counts in (("dense", before), ("pruned", after))
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
        base = alt.Chart(inline(bins)).encode(
            x=alt.X("low:Q", bin="binned", title="weight", axis=alt.Axis(grid=False, tickCount=5)),
            x2="high:Q",
            y=alt.Y(
                "weights:Q", scale=alt.Scale(type="sqrt"), stack=None, title=None, axis=alt.Axis(tickCount=3)
            ),
            color=alt.Color(
                "network:N", scale=alt.Scale(domain=["dense", "pruned"], range=[LINE, ACCENT]), title=None
            ),
            tooltip=[
                "network:N",
                alt.Tooltip("low:Q", title="from"),
                alt.Tooltip("high:Q", title="to"),
                alt.Tooltip("weights:Q", format=","),
            ],
        )
        layer = name.removesuffix(".weight")
        yield Panel(
            f"Weights of {layer}",
            "Before, and what lives after pruning and retraining. The height is on a square-root scale.",
            drawn(base.mark_bar(binSpacing=0, opacity=0.85), 150, f"Distribution of the weights of {layer}"),
        )


def sensitivity(scan: Mapping[str, Any]) -> Panel:
    """What pruning one layer alone costs (the paper's Fig 6).

    Args:
        scan: The content of a finished ``sensitivity.json``.

    Returns:
        The panel.
    """
    points = [
        {
            "layer": layer["layer"],
            "pruned": 1 - point["density"],
            "added": point["error"] - scan["error"],
            "kept": point["kept"],
        }
        for layer in scan["layers"]
        for point in layer["points"]
    ]
    chart = (
        alt.Chart(inline(points))
        .mark_line(strokeWidth=1.8, point={"filled": True, "size": 26})
        .encode(
            x=alt.X("pruned:Q", title="of the layer's weights pruned", axis=alt.Axis(format="%", grid=False)),
            y=alt.Y("added:Q", title=None),
            tooltip=[
                "layer:N",
                alt.Tooltip("pruned:Q", format=".1%"),
                alt.Tooltip("kept:Q", format=","),
                alt.Tooltip("added:Q", format="+.2f", title="error added, points"),
            ],
            **by("layer", [layer["layer"] for layer in scan["layers"]]),
        )
    )
    return Panel(
        "Sensitivity",
        f"Error added, in points, on {scan['images']:,} validation images. One layer is pruned at a time, "
        "and nothing is retrained.",
        drawn(chart, 240, "Error added when one layer alone is pruned"),
        ("layer", "pruned", "weights", "error added"),
        tuple(
            (each["layer"], f"{each['pruned']:.1%}", f"{each['kept']:,}", f"{each['added']:+.2f}")
            for each in points
        ),
    )
