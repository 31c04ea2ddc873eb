"""The plot of sample quality: one small panel per metric, with the three sets and their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sedd.evaluation.quality import Quality, Row
from sedd.report.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"samples": "#d55e00", "held-out": "#0072b2", "shuffled": "#777777"}
COLUMNS = 4
PANEL_INCHES = (2.4, 1.5)


def quality_figure(quality: Quality) -> Figure:
    """Draw the outcome of `judge`; `figure.savefig("quality.png")` writes it.

    Raises:
        SeddError: if matplotlib is missing.
    """
    lines = -(-len(quality.rows) // COLUMNS)
    figure = new_figure(COLUMNS * PANEL_INCHES[0], lines * PANEL_INCHES[1])
    panels = figure.subplots(lines, COLUMNS, squeeze=False).flatten().tolist()
    for row, axes in zip(quality.rows, panels, strict=False):
        _draw_row(row, axes)
    for axes in panels[len(quality.rows) :]:
        axes.set_visible(False)
    return figure


def _draw_row(row: Row, axes: Axes) -> None:
    scale, unit = (1.0, "nats") if row.unit == "nats" else (100.0, "%")
    pairs = ((row.samples, row.samples_half), (row.held_out, row.held_out_half), (row.shuffled, row.shuffled_half))
    for i, ((value, half), color) in enumerate(zip(pairs, COLORS.values(), strict=True)):
        axes.errorbar(scale * value, -i, xerr=scale * half, fmt="o", color=color, capsize=2, markersize=4)
    axes.set_title(f"{row.title}, {unit}", fontsize=7, loc="left")
    axes.set_yticks([0, -1, -2], list(COLORS), fontsize=6)
    axes.set_ylim(-2.6, 0.6)
    axes.tick_params(axis="x", labelsize=6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", linewidth=0.4)
