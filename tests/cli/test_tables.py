"""Tables are printed whole, however narrow the terminal."""

from __future__ import annotations

import io

import pytest
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from secateur.cli.tables import print_whole

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
