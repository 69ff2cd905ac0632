"""How the figures look, and how they are written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secateur.storage import write_atomically

INK, QUIET, FAINT, ACCENT = "#1d2326", "#6b767c", "#d5dbde", "#0f766e"
# One hue for what matters; the others step back in lightness and differ by marker as well.
SERIES = (ACCENT, "#1d2326", "#8a969c", "#b45309", "#64748b", "#a3b1b8", "#44403c", "#94a3b8")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "svg.hashsalt": "secateur",  # the same figure gives the same bytes
    "svg.fonttype": "none",
}


@final
class Drawing(Figure):
    """A matplotlib figure that shows itself in a notebook, without pyplot and its global state."""

    def _repr_html_(self) -> str:
        return rendered(self, "svg").decode()


def drawing(width: float, height: float) -> Drawing:
    """An empty figure.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        The figure; what is drawn on it is drawn in the house's style if it is drawn within `styled`.
    """
    return Drawing(figsize=(width, height), layout="constrained", facecolor="white")


def styled() -> Any:
    """A context in which matplotlib draws in the house's style, and which leaves no trace."""
    return mpl.rc_context(_STYLE)


def caption(figure: Figure, text: str) -> None:
    """A line beneath a figure: what it was made from, and what differs from the paper."""
    figure.supxlabel(text, fontsize=7.5, color=QUIET, x=0.01, ha="left", wrap=True)


def rule_off(axes: Axes) -> None:
    """Faint horizontal lines to read values along."""
    axes.grid(visible=True, axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)


def rendered(figure: Figure, kind: str) -> bytes:
    """A figure's bytes, the same at each call.

    Args:
        figure: Any matplotlib figure.
        kind: ``"svg"`` or ``"png"``.

    Returns:
        The file's content.
    """
    buffer = io.BytesIO()
    with styled():
        figure.savefig(
            buffer, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else {"Software": None}
        )
    return buffer.getvalue()


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as SVG and as PNG.

    Args:
        figure: Any matplotlib figure.
        folder: Where to; made if it is not there.
        name: The files' name without its ending.

    Returns:
        The two files.

    Raises:
        StorageError: They cannot be written; what was there is untouched.
    """
    svg, png = (folder / f"{name}.{kind}" for kind in ("svg", "png"))
    for path in (svg, png):
        content = rendered(figure, path.suffix[1:])
        write_atomically(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
    return svg, png
