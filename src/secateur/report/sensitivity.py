"""A scan as a table for a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from secateur.analysis.sensitivity import Sensitivity
from secateur.report.tables import human_count


def sensitivity_table(scan: Sensitivity) -> Table:
    """By how many points the error rises when one layer alone is pruned (the paper's Fig 6).

    Args:
        scan: The scan.

    Returns:
        A row a layer and a column a density, from the densest; ``-`` where a layer was not pruned so far.
    """
    # Small layers keep a whole number of weights near what was asked for; the largest is nearest to it.
    columns = [point.density for point in max(scan.layers, key=lambda layer: layer.weights).points]
    table = Table(
        title=f"points of error added to {scan.error:.2f} %, by per cent of the layer's weights kept",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        # Ten densities and the layers' names are to fit into 80 columns.
        padding=0,
    )
    table.add_column("layer")
    table.add_column("", justify="right")
    for density in columns:
        table.add_column(f"{100 * density:.3g}", justify="right", no_wrap=True)
    for layer in scan.layers:
        cells = ["-"] * len(columns)
        for point in layer.points:
            nearest = min(range(len(columns)), key=lambda place: abs(columns[place] - point.density))
            cells[nearest] = _points(point.error - scan.error)
        table.add_row(Text(layer.layer), human_count(layer.weights), *cells)
    return table


def _points(added: float) -> str:
    return f"{added:+.2f}" if abs(added) < 9.995 else f"{added:+.1f}"
