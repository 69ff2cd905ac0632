"""Measurements as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from secateur.benchmarking.result import Row


def measurement_table(rows: Sequence[Row]) -> RenderableType:
    """All rows, one table a work, batch size and number of threads; beneath it what gave no time, and why.

    ``ratio`` is an engine's time over Secateur's: above 1, Secateur is the faster one.

    Args:
        rows: Of any works.

    Returns:
        Something rich can print.
    """
    works = dict.fromkeys((row.work, row.batch, row.threads) for row in rows)
    return Group(
        *(_work_table([row for row in rows if (row.work, row.batch, row.threads) == work]) for work in works)
    )


def _work_table(rows: Sequence[Row]) -> RenderableType:
    first = rows[0]
    table = Table(
        title=Text(f"{first.work}, batch {first.batch}, {first.threads} threads", style="table.title"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("engine", no_wrap=True)
    for column in ("ms", "95 % interval", "ratio", "file", "load ms", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    measured = [(row, row.latency) for row in rows if row.latency is not None]
    quickest = min((latency.value for _, latency in measured), default=None)
    for row, latency in measured:
        table.add_row(
            row.engine,
            milliseconds(latency.value),
            f"{milliseconds(latency.low)}-{milliseconds(latency.high)}",
            "-" if row.ratio is None else f"{row.ratio.value:.2f}",
            human_bytes(row.file_bytes),
            milliseconds(row.load_ms),
            human_bytes(row.running_bytes),
            style="bold" if latency.value == quickest else "",
        )
    fastest = [Text(f"  {row.engine}: fastest with {row.configuration}", style="dim") for row, _ in measured]
    problems = [Text(f"  {row.engine}: {row.problem}") for row in rows if row.problem is not None]
    return Group(table, *fastest, *problems, Text())


def milliseconds(value: float | None) -> str:
    """Three digits.

    Example:
        >>> milliseconds(0.0123456), milliseconds(1234.5), milliseconds(None)
        ('0.0123', '1234', '-')
    """
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def human_bytes(value: int | None) -> str:
    """Bytes in powers of 1000.

    Example:
        >>> human_bytes(34_800_000), human_bytes(950), human_bytes(None)
        ('34.8 MB', '950 B', '-')
    """
    if value is None:
        return "-"
    for size, unit in ((10**6, "MB"), (10**3, "kB")):
        if abs(value) >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value} B"
