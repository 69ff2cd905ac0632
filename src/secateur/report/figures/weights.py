"""Fig 7: the weights of a layer before and after, and how many remain of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import LayerSelectionError
from secateur.report.figures.style import (
    ACCENT,
    FAINT,
    INK,
    QUIET,
    Drawing,
    caption,
    drawing,
    rule_off,
    styled,
)
from secateur.report.histograms import histograms
from secateur.report.tables import human_count

Weights = Mapping[str, NDArray[np.float32]]


def weight_distributions(
    dense: Weights, pruned: Weights, layers: Sequence[str], *, note: str = ""
) -> Drawing:
    """The distribution of weights before and after pruning and retraining, a row for each layer (Fig 7).

    Args:
        dense: Tensors of the dense network by name.
        pruned: Of the pruned one.
        layers: Layers' names, at least one.
        note: Said beneath the figure.

    Returns:
        The figure.

    Raises:
        LayerSelectionError: A layer is in neither network.
    """
    for layer in layers:
        for tensors in (dense, pruned):
            weight_of(tensors, layer)
    with styled():
        figure = drawing(8.0, 0.6 + 1.7 * len(layers))
        grid = figure.subplots(len(layers), 2, squeeze=False)
        for (before, after), layer in zip(grid, layers, strict=True):
            edges, dense_counts, pruned_counts = histograms(weight_of(dense, layer), weight_of(pruned, layer))
            before.stairs(dense_counts, edges, fill=True, color=QUIET)
            after.stairs(pruned_counts, edges, fill=True, color=ACCENT)
            alive = int(np.count_nonzero(weight_of(pruned, layer)))
            before.set_title(f"{layer}, dense: {weight_of(dense, layer).size:,} weights")
            after.set_title(f"{layer}, pruned and retrained: {alive:,}")
            for axes in (before, after):
                axes.set_yticks([0, axes.get_ylim()[1]], ["0", human_count(axes.get_ylim()[1])])
        caption(figure, note)
    return figure


def weight_of(tensors: Weights, layer: str) -> NDArray[np.float32]:
    """A layer's weight.

    Raises:
        LayerSelectionError: There is none.
    """
    name = f"{layer}.weight"
    if name not in tensors:
        known = ", ".join(each.removesuffix(".weight") for each in tensors if each.endswith(".weight"))
        raise LayerSelectionError(
            f"figure of layer {layer!r}: there is no such layer; expected any of {known}"
        )
    return tensors[name]


def remaining(rows: Sequence[Mapping[str, Any]], *, note: str = "") -> Drawing:
    """Stacked bars of the weights that remain and those that were pruned, by layer and in all.

    Args:
        rows: ``layers`` and ``total`` of a ``result.json``.
        note: Said beneath the figure.

    Returns:
        The figure.
    """
    with styled():
        figure = drawing(6.4, 0.9 + 0.36 * len(rows))
        axes = figure.subplots()
        names = [row["name"] for row in rows]
        kept = [row["kept"] for row in rows]
        pruned = [row["weights"] - row["kept"] for row in rows]
        axes.barh(names, kept, color=ACCENT, label="remaining", height=0.62)
        axes.barh(names, pruned, left=kept, color=FAINT, label="pruned", height=0.62)
        for place, row in enumerate(rows):
            text = f"  {row['kept']:,} of {row['weights']:,}"
            axes.text(row["weights"], place, text, va="center", fontsize=8, color=INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.32 * max(row["weights"] for row in rows))
        axes.xaxis.set_major_formatter(lambda value, _: human_count(value))
        axes.set_xlabel("weights")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        axes.tick_params(axis="y", length=0)
        rule_off(axes)
        axes.grid(visible=False)
        caption(figure, note)
    return figure
