"""Fig 4: which connections of a first layer survive, and which pixels they look at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secateur.errors import LayerSelectionError
from secateur.report.figures.paper import FIG4_BANDS
from secateur.report.figures.style import ACCENT, INK, QUIET, Drawing, caption, drawing, rule_off, styled
from secateur.report.folding import folded


def connections(alive: NDArray[np.bool_], layer: str, *, note: str = "") -> Drawing:
    """The surviving connections of a first linear layer as a raster, above their share in each image row.

    Args:
        alive: Which weights live, [out, side x side].
        layer: The layer's name.
        note: Said beneath the figure.

    Returns:
        The figure.

    Raises:
        LayerSelectionError: The weight reads no square image.
    """
    side = len(folded(alive)) if alive.ndim == 2 else 0
    if not side:
        raise LayerSelectionError(
            f"connections of {layer}: expected a linear layer's weight, found {list(alive.shape)}"
        )
    with styled():
        figure = drawing(8.0, 4.6)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
        rows, columns = np.nonzero(alive)
        above.plot(columns, rows, "s", color=INK, markersize=0.9, markeredgewidth=0, rasterized=True)
        above.set(xlim=(0, alive.shape[1]), ylim=(alive.shape[0], 0), ylabel="hidden neuron")
        above.set_title(f"{layer}: {len(rows):,} of {alive.size:,} connections live")
        bands = alive.reshape(len(alive), side, side).mean(axis=(0, 2))
        places = side * (np.arange(side) + 0.5)
        relative = bands / (bands.max() or 1.0)
        below.bar(places, relative, width=0.8 * side, color=ACCENT, label="here: living weights")
        if side == len(FIG4_BANDS):
            paper = np.array(FIG4_BANDS) / max(FIG4_BANDS)
            below.step(
                places,
                paper,
                where="mid",
                color=INK,
                linewidth=1,
                label="the paper's Fig 4: area covered by dots",
            )
        below.set(
            xlabel=f"input pixel, one band of {side} for each image row",
            ylabel="relative to\nthe fullest band",
        )
        below.set_xticks(range(0, alive.shape[1] + 1, 4 * side))
        below.legend(loc="upper left", bbox_to_anchor=(0, 1.35), ncols=2)
        rule_off(below)
        caption(figure, note)
    return figure


def pixels(alive: NDArray[np.bool_], layer: str, *, note: str = "") -> Drawing:
    """The surviving connections of a first layer folded onto the image (or the filter): what is looked at.

    Args:
        alive: As in `folded`.
        layer: The layer's name.
        note: Said beneath the figure.

    Returns:
        The figure.

    Raises:
        LayerSelectionError: The weight cannot be folded.
    """
    counts = folded(alive)
    with styled():
        figure = drawing(4.2, 4.2)
        axes = figure.subplots()
        shown = axes.imshow(counts, cmap="Greys", vmin=0, interpolation="nearest")
        axes.set_title(f"{layer}: living connections at each place")
        axes.set(xlabel="column", ylabel="row")
        axes.tick_params(length=0)
        bar = figure.colorbar(shown, ax=axes, shrink=0.8)
        bar.outline.set_edgecolor(QUIET)
        caption(figure, note)
    return figure
