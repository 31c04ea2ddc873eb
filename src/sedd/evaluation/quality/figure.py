"""The outcome as a picture: one small panel per metric, with the three sets and their intervals."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sedd.errors import SeddError
from sedd.evaluation.quality.quality import Quality, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"samples": "#d55e00", "held-out": "#0072b2", "shuffled": "#777777"}
COLUMNS = 4
PANEL_INCHES = (2.4, 1.5)


def quality_figure(quality: Quality) -> Figure:
    """Draw it; `figure.savefig("quality.png")` writes it.

    Raises:
        SeddError: if matplotlib is missing.
    """
    need_matplotlib()
    from matplotlib.figure import Figure

    lines = -(-len(quality.rows) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL_INCHES[0], lines * PANEL_INCHES[1]), layout="constrained", dpi=120)
    panels = figure.subplots(lines, COLUMNS, squeeze=False).flatten().tolist()
    for row, axes in zip(quality.rows, panels, strict=False):
        _draw(row, axes)
    for axes in panels[len(quality.rows) :]:
        axes.set_visible(False)
    return figure


def need_matplotlib() -> None:
    """Ask for it before minutes are spent on what it shall draw.

    Raises:
        SeddError: if it is missing.
    """
    try:
        import_module("matplotlib")
    except ModuleNotFoundError as missing:
        raise SeddError(f"plots need matplotlib ({missing}): pip install 'sedd-torch[report]'") from None


def _draw(row: Row, axes: Axes) -> None:
    scale = 1.0 if row.unit == "nats" else 100.0
    values = (
        ("samples", row.samples, row.samples_half),
        ("held-out", row.held_out, row.held_out_half),
        ("shuffled", row.shuffled, row.shuffled_half),
    )
    for place, (name, value, half) in enumerate(values):
        axes.errorbar(scale * value, -place, xerr=scale * half, fmt="o", color=COLOURS[name], capsize=2, markersize=4)
    axes.set_title(f"{row.title}, {'nats' if row.unit == 'nats' else '%'}", fontsize=7, loc="left")
    axes.set_yticks([0, -1, -2], [name for name, _, _ in values], fontsize=6)
    axes.set_ylim(-2.6, 0.6)
    axes.tick_params(axis="x", labelsize=6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", linewidth=0.4)
