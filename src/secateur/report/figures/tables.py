"""Tables 2 to 5 as figures, ours beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secateur.errors import ConfigurationError
from secateur.report.figures.paper import TABLES
from secateur.report.figures.style import ACCENT, FAINT, INK, QUIET, Drawing, caption, drawing, styled
from secateur.report.tables import human_count

_COLUMNS = ("layer", "weights", "FLOP", "Act %", "paper", "Weights %", "paper", "FLOP %", "paper")


def paper_table(record: Mapping[str, Any], network: str, *, note: str = "") -> Drawing:
    """A run's layers in the form of the paper's Tables 2 to 5, the paper's numbers beside them.

    Args:
        record: The content of a ``result.json``.
        network: One of the paper's four, ``"lenet-5"`` say.
        note: Said beneath the table.

    Returns:
        The figure.

    Raises:
        ConfigurationError: The paper has no table of that network, or the record is of another one.
    """
    if network not in TABLES:
        raise ConfigurationError(f"the paper has no table of {network!r}; it has {', '.join(TABLES)}")
    _refuse_another(record, network)
    rows = [_cells(row, network) for row in (*record["layers"], record["total"])]
    with styled():
        figure = drawing(7.2, 0.9 + 0.28 * len(rows))
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set(xlim=(0, len(_COLUMNS)), ylim=(len(rows) + 0.6, -0.8))
        for column, name in enumerate(_COLUMNS):
            _write(axes, column, 0, name, QUIET)
            for place, row in enumerate(rows):
                _write(axes, column, place + 1, row[column], _colour(column), bold=place == len(rows) - 1)
        axes.axhline(0.5, color=INK, linewidth=0.8)
        axes.axhline(len(rows) - 0.5, color=FAINT, linewidth=0.8)
        caption(figure, note)
    return figure


def _refuse_another(record: Mapping[str, Any], network: str) -> None:
    # Numbers of the paper beside another network's would compare nothing.
    wanted = [name for name in TABLES[network] if name != record["total"]["name"]]
    found = [row["name"] for row in record["layers"]]
    if found != wanted:
        raise ConfigurationError(
            f"the paper's table of {network} has the layers {', '.join(wanted)}; the record has "
            f"{', '.join(found) or 'none'}: give the record of a run of {network}"
        )


def _colour(column: int) -> str:
    if _COLUMNS[column] == "paper":
        return QUIET
    return ACCENT if _COLUMNS[column] == "Weights %" else INK


def _write(axes: Any, column: int, row: int, text: str, colour: str, *, bold: bool = False) -> None:
    axes.text(
        0.05 if column == 0 else column + 0.95,
        row,
        text,
        ha="left" if column == 0 else "right",
        va="center",
        color=colour,
        fontweight="bold" if bold else "normal",
    )


def _cells(row: Mapping[str, Any], network: str) -> tuple[str, ...]:
    paper = TABLES[network].get(row["name"])

    def printed(number: float | None) -> str:
        return "-" if number is None else f"{number:g}"

    def percent(fraction: float | None) -> str:
        return "-" if fraction is None else f"{100 * fraction:.1f}"

    return (
        row["name"],
        human_count(row["weights"]),
        "-" if row["flop"] is None else human_count(row["flop"]),
        percent(row["activation_density"]),
        printed(paper and paper.activation),
        percent(row["kept"] / row["weights"] if row["weights"] else None),
        printed(paper and paper.density),
        percent(row["flop_kept"]),
        printed(paper and paper.flop_kept),
    )
