"""The tables of the paper, from a run's result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def layer_table(record: Mapping[str, Any]) -> Table:
    """The layers of a run as in the paper's Tables 2 and 3.

    Args:
        record: The content of a ``result.json``.

    Returns:
        A table with the columns layer, weights, FLOP, Act %, Weights %, FLOP %, and a row of totals; ``-``
        stands for what could not be counted.
    """
    title = Text(f"{record['name']}, seed {record['seed']}", style="table.title")
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("layer")
    for column in ("weights", "FLOP", "Act %", "Weights %", "FLOP %"):
        table.add_column(column, justify="right")
    for layer in record["layers"]:
        table.add_row(*_cells(layer))
    table.add_section()
    table.add_row(*_cells(record["total"]), style="bold")
    return table


def summary(record: Mapping[str, Any]) -> RenderableType:
    """What came of a run, in a few lines.

    Args:
        record: The content of a ``result.json``.

    Returns:
        Something rich can print.
    """
    error, weights = record["error"], record["weights"]
    dense, pruned = error["dense_interval"], error["pruned_interval"]
    low, high = error["difference_interval"]
    # After a sweep a dead neuron has neither inputs nor outputs; with only one of the two it had to stay.
    counts = {
        layer: min(found["without_inputs"], found["without_outputs"])
        for layer, found in record["dead_neurons"].items()
    }
    dead = [
        f"{layer} {count} of {record['dead_neurons'][layer]['total']}"
        for layer, count in counts.items()
        if count
    ]
    budget = [Text(f"budget      {record['search']['statement']}")] if record.get("search") else []
    return Group(
        Text(f"weights     {weights['total']:,} -> {weights['kept']:,}   {record['compression']:.1f}x fewer"),
        Text(
            f"test error  dense {error['dense']:.2f} % [{dense[0]:.2f}, {dense[1]:.2f}], "
            f"pruned {error['pruned']:.2f} % [{pruned[0]:.2f}, {pruned[1]:.2f}]"
        ),
        Text(
            f"difference  {error['difference']:+.2f} points, 95 % interval [{low:+.2f}, {high:+.2f}], "
            f"paired over {error['test_images']:,} test images"
        ),
        Text(f"dead        {', '.join(dead) or 'no neuron'}"),
        *budget,
    )


def human_count(number: float) -> str:
    """A count as the paper writes it: 470K, 3.2M, 1.5B.

    Example:
        >>> human_count(470_400), human_count(1000), human_count(999), human_count(2_293_000)
        ('470K', '1K', '999', '2.29M')
    """
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= 0.9995 * size:  # what three digits round up to the size itself
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def _cells(row: Mapping[str, Any]) -> tuple[str | Text, ...]:
    return (
        Text(row["name"]),  # names are anybody's: brackets are not ours to read
        human_count(row["weights"]),
        "-" if row["flop"] is None else human_count(row["flop"]),
        _percent(row["activation_density"], 0),
        # A layer whose weight is tied to an earlier one's has none of its own.
        f"{100 * row['kept'] / row['weights']:.1f}" if row["weights"] else "tied",
        _percent(row["flop_kept"], 1),
    )


def _percent(fraction: float | None, digits: int) -> str:
    return "-" if fraction is None else f"{100 * fraction:.{digits}f}"
