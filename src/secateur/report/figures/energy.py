"""The energy of one inference, dense against pruned."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.analysis.energy import Energy
from secateur.report.figures.style import ACCENT, FAINT, INK, QUIET, Drawing, caption, drawing, styled

NANO = 1000  # picojoules


def energy_bars(energies: Mapping[str, Energy], *, note: str = "") -> Drawing:
    """Stacked bars of arithmetic, SRAM and DRAM, one for each case.

    Args:
        energies: Case -> energy; the first is what the others are compared with.
        note: Said beneath the figure: what is assumed to fit where.

    Returns:
        The figure.
    """
    with styled():
        figure = drawing(7.2, 1.1 + 0.4 * len(energies))
        axes = figure.subplots()
        left = [0.0] * len(energies)
        parts = (("arithmetic", INK), ("sram", ACCENT), ("dram", FAINT))
        for part, colour in parts:
            widths = [getattr(energy, part) / NANO for energy in energies.values()]
            label = part.upper() if part != "arithmetic" else part
            axes.barh(list(energies), widths, left=left, color=colour, label=label, height=0.62)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        first = next(iter(energies.values())).total
        for place, energy in enumerate(energies.values()):
            times = f", {first / energy.total:.1f}x less" if place else ""
            axes.text(left[place], place, f"  {energy.total / NANO:,.1f} nJ{times}", va="center", fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.3 * max(left))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("energy of one inference, nJ (45 nm)")
        axes.xaxis.label.set_color(QUIET)
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
        caption(figure, note)
    return figure
