"""Tables are printed whole, however narrow the terminal."""

from __future__ import annotations

import io

import pytest
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from secateur.analysis.sensitivity import LayerSensitivity, Point, Sensitivity
from secateur.benchmarking.result import Row
from secateur.benchmarking.table import measurement_table
from secateur.cli.plan import layers_table, phases_table
from secateur.cli.scan import ScanDisplay
from secateur.cli.tables import print_whole
from secateur.recipes.footprint import Memory
from secateur.recipes.forecast import Forecast, LayerForecast, PhaseForecast
from secateur.report.sensitivity import sensitivity_table
from secateur.report.tables import layer_table
from tests.report.test_tables import record

CELLS = ("a-layer-of-some-name", "512x512x3x3", "1,349.5", "winograd4_streamed")


def wide_table() -> Table:
    table = Table("layer", "weight", "kB", "kernel", box=box.SIMPLE_HEAD)
    table.add_row(*CELLS)
    return table


@pytest.mark.parametrize("width", [10, 40, 60, 200])
def test_no_cell_is_cut_and_none_is_folded(width: int) -> None:
    out = io.StringIO()
    print_whole(Console(width=width, file=out), wide_table())
    assert "…" not in out.getvalue()
    [row] = [line for line in out.getvalue().splitlines() if CELLS[0] in line]
    assert row.split() == list(CELLS)


def test_of_a_group_the_widest_part_counts() -> None:
    out = io.StringIO()
    print_whole(Console(width=20, file=out), Group(Text("short"), wide_table()))
    assert all(cell in out.getvalue() for cell in CELLS)


def test_a_wide_terminal_is_not_filled() -> None:
    out = io.StringIO()
    print_whole(Console(width=200, file=out), wide_table())
    assert max(len(line.rstrip()) for line in out.getvalue().splitlines()) < 100


NAME = "[/x]a[red]b"  # what rich would take for markup
LAYER = LayerSensitivity(NAME, f"{NAME}.weight", 8, (Point(4, 0.5, 0.1, 2.0),), True, "", 0.1)
FORECAST = Forecast(
    (LayerForecast(NAME, 8, None, None, None, None),),
    0,
    (PhaseForecast("round", 1, 1, (NAME,), 1, 1, 1, Memory(0, 0, 0, 0, 0, 0), None),),
    images=1,
    processes=1,
    device="cpu",
)


@pytest.mark.parametrize(
    "table",
    [
        layer_table(record() | {"name": NAME}),
        layer_table(record() | {"layers": [record()["total"] | {"name": NAME}]}),
        sensitivity_table(Sensitivity(100, 0.05, 1.5, (LAYER,), 0.1)),
        measurement_table([Row(NAME, 1, 1, "mnn")]),
        layers_table(FORECAST),
        phases_table(FORECAST),
    ],
)
def test_names_are_shown_as_they_are(table: RenderableType) -> None:
    out = io.StringIO()
    print_whole(Console(width=200, file=out), table)
    assert NAME in out.getvalue()


def test_a_scans_bars_show_names_as_they_are() -> None:
    out = io.StringIO()
    console = Console(width=200, file=out, force_terminal=True, color_system=None)
    with ScanDisplay(console, 1) as display:
        assert display.observer.on_point is not None
        display.observer.on_point(NAME)
    assert NAME in out.getvalue()
