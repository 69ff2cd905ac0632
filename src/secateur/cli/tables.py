"""Tables that are never cut: a number that lost its last digits would be another number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement

_WIDEST = 1000  # columns; measuring takes a bound


def print_whole(console: Console, renderable: RenderableType) -> None:
    """Print a table as wide as it is, whatever the width of the terminal, which then wraps its lines.

    Rich would shorten cells to fit, down to nothing where a column is narrow: at 60 columns the names of
    layers vanished and ``15.2`` became ``15…``.

    Args:
        console: Where.
        renderable: A table, or a group with tables in it.

    Example:
        >>> import io
        >>> from rich.table import Table
        >>> table = Table("layer", "kB", box=None, pad_edge=False)
        >>> table.add_row("conv1", "1,349.5")
        >>> narrow = Console(width=8, file=io.StringIO())
        >>> print_whole(narrow, table)
        >>> print(narrow.file.getvalue().splitlines()[1])
        conv1  1,349.5
    """
    console.print(_Whole(renderable), soft_wrap=True)


@final
@dataclass(frozen=True)
class _Whole:
    renderable: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wanted = Measurement.get(console, options.update(width=_WIDEST), self.renderable).maximum
        width = max(options.max_width, wanted)
        yield from console.render(self.renderable, options.update(width=width, no_wrap=False))
