"""Draws charts with matplotlib.

Needs the extra `report`. Uses matplotlib's objects only: no window, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from sedd.errors import SeddError, install_extra
from sedd.report.chart import LIGHT, Chart, Color, Panel, Style
from sedd.report.legend import legend_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 11.4
"""Inches."""
FONT = 12
"""Points."""
ROUND = (1, 2, 2.5, 5, 10)
"""Steps between ticks, times a power of ten."""
TITLE_WIDTH = 98
"""Characters of a line of a title."""
LEGEND_WIDTH = 118
"""Characters of a line of a legend."""
SINCE = "it began here (95 % interval)"
"""Name of the shaded steps of `Chart.since`."""
_LINES: dict[Style, dict[str, Any]] = {
    "line": {"linewidth": 1.7},
    "thin": {"linewidth": 0.8, "alpha": 0.55},
    "dashed": {"linewidth": 1.5, "linestyle": (0, (5, 3))},
    "dotted": {"linewidth": 1.6, "linestyle": (0, (1.5, 2))},
    "points": {"linewidth": 1.2, "marker": "o", "markersize": 4},
    "dots": {"linewidth": 0, "marker": "o", "markersize": 5},
}


def require_matplotlib() -> None:
    """Fail early, before minutes are spent on what is to be drawn.

    Raises:
        SeddError: if matplotlib is missing.
    """
    try:
        import_module("matplotlib")
    except ModuleNotFoundError as missing:
        raise SeddError(f"plots need matplotlib ({missing}): {install_extra('report')}") from None


def new_figure(width: float, height: float, *, colors: Mapping[Color, str] = LIGHT, dpi: float = 120) -> Figure:
    """An empty figure, in inches. Every plot of sedd begins with it.

    Raises:
        SeddError: if matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # no pyplot: no window, no state to leave behind

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor=colors["paper"])
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)  # inches
    return figure


def to_svg(figure: Figure, *, salt: str) -> bytes:
    """The figure as SVG. The same figure and salt give the same bytes."""
    import matplotlib

    buffer = BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "path.simplify_threshold": 0.3}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def draw(chart: Chart, colors: Mapping[Color, str] = LIGHT, *, title: bool = True) -> Figure:
    """Draw a chart, with or without its title."""
    heights = [panel.height for panel in chart.panels]
    figure = new_figure(WIDTH, WIDTH * (0.36 * sum(heights) + 0.06), colors=colors)
    grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
    all_axes: list[Axes] = list(grid[:, 0])
    for panel, axes in zip(chart.panels, all_axes, strict=True):
        _draw_panel(panel, axes, colors)
        for step in chart.marks:
            axes.axvline(step, color=colors["alarm"], linewidth=1.2, linestyle=(0, (4, 2)))
    _draw_since(chart, all_axes, colors)
    format_x_axis(all_axes[-1], colors, chart.x_range, chart.x_name)
    _draw_phases(chart, all_axes, colors)
    _draw_legend(figure, all_axes, colors)
    if title:
        draw_title(figure, colors, chart.title)
    return figure


def _draw_since(chart: Chart, all_axes: Sequence[Axes], colors: Mapping[Color, str]) -> None:
    """Shade the steps at which it began; the edges are drawn too, so that a short interval can be seen."""
    if chart.since is None:
        return
    low, high = chart.since
    for axes in all_axes:
        axes.axvspan(low, high, facecolor=colors["alarm"], alpha=0.18, linewidth=0, label=SINCE)
        for edge in (low, high):
            axes.axvline(edge, color=colors["alarm"], linewidth=0.8, alpha=0.7)


def _draw_legend(figure: Figure, all_axes: Sequence[Axes], colors: Mapping[Color, str]) -> None:
    entries: dict[str, Any] = {}
    for axes in all_axes:
        handles, names = axes.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    columns = legend_columns(list(entries), LEGEND_WIDTH)
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower left", ncols=columns, frameon=False, fontsize=FONT,
        labelcolor=colors["ink"],
    )  # fmt: skip


def draw_title(figure: Figure, colors: Mapping[Color, str], title: str) -> None:
    """A bold title at the upper left, on as many lines as it needs."""
    text = fill(title, TITLE_WIDTH)
    size = FONT * (1.2 if "\n" not in text else 1.05)
    figure.suptitle(text, x=0.01, ha="left", fontsize=size, color=colors["ink"], weight="bold")


def style_axes(axes: Axes, colors: Mapping[Color, str], unit: str) -> None:
    """The unit of y above the axes, horizontal grid lines, no box."""
    axes.set_title(unit, loc="left", fontsize=FONT, color=colors["muted"])
    axes.set_facecolor("none")
    axes.grid(axis="y", color=colors["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(colors["muted"])
    axes.tick_params(labelsize=FONT, labelcolor=colors["ink"], color=colors["muted"], length=3, which="both")
    axes.tick_params(axis="y", length=0, which="both")


def format_x_axis(axes: Axes, colors: Mapping[Color, str], extent: tuple[float, float], name: str) -> None:
    """Range, label and round ticks of x."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    left, right = extent
    axes.set_xlim(left, right if right > left else left + 1)
    axes.set_xlabel(name, loc="right", fontsize=FONT, color=colors["muted"])
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=right - left > 2, steps=ROUND))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value, largest=right)))


def short(value: float, *, largest: float) -> str:
    """A tick label on an axis up to `largest`: 20,000 is 20k, 1,500,000 is 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if largest >= 10 * size and value:
            return f"{value / size:.6g}{letter}"
    return f"{value:,.6g}"


def _draw_panel(panel: Panel, axes: Axes, colors: Mapping[Color, str]) -> None:
    style_axes(axes, colors, panel.unit)
    for series in panel.series:
        color = colors[series.color]
        if series.style == "band":
            assert series.low is not None  # noqa: S101  # a band has one
            axes.fill_between(series.x, series.low, series.y, color=color, alpha=0.2, linewidth=0, label=series.name)
            continue
        marker = {"marker": "o", "markersize": 5} if len(series.x) == 1 else {}  # a line of one point is invisible
        y = series.y
        if series.style == "dots":  # whole at the edges, and none outside
            low, high = panel.y_range or (-np.inf, np.inf)
            y, marker = np.where((y >= low) & (y <= high), y, np.nan), {"clip_on": False}
        axes.plot(series.x, y, color=color, label=series.name, **(_LINES[series.style] | marker))
        if series.low is None or series.high is None:
            continue
        if series.style == "points" or len(series.x) == 1:
            axes.vlines(series.x, series.low, series.high, color=color, linewidth=1.4)
        else:
            axes.fill_between(series.x, series.low, series.high, color=color, alpha=0.15, linewidth=0)
    for level in panel.levels:
        axes.axhline(level.y, color=colors[level.color], label=level.name, **_LINES[level.style])
        if level.half_width > 0:
            ends = level.y - level.half_width, level.y + level.half_width
            axes.axhspan(*ends, facecolor=colors[level.color], alpha=0.12, linewidth=0)
    _format_y_axis(panel, axes)


def _format_y_axis(panel: Panel, axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_ylim()
    if panel.log:
        axes.set_yscale("log")
        few = axes.get_ylim()[1] < 300 * axes.get_ylim()[0]
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5 if panel.height > 0.6 else 2, steps=ROUND))
        axes.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]  # of a linear axis
    if panel.log or max(abs(low), abs(high)) < 0.01:
        axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)


def _tick(value: float, _: int) -> str:
    return f"{value:,.0f}" if 1e3 <= value < 1e6 else f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")


def _draw_phases(chart: Chart, all_axes: Sequence[Axes], colors: Mapping[Color, str]) -> None:
    """A dotted line at each border, and the name of each phase that is wide enough for it."""
    left, right = chart.x_range
    for phase in chart.phases:
        if left < phase.first < right:
            for axes in all_axes:
                axes.axvline(phase.first, color=colors["muted"], linewidth=1.1, linestyle=(0, (1, 2)))
        first, last = max(phase.first, left), min(phase.last, right)
        points = (last - first) / max(right - left, 1e-9) * WIDTH * 72 * 0.85
        if len(phase.name) * FONT * 0.62 < points and len(chart.phases) > 1:
            all_axes[0].annotate(
                phase.name, ((first + last) / 2, 1.0), xycoords=("data", "axes fraction"), xytext=(0, -2),
                textcoords="offset points", ha="center", va="top", fontsize=FONT, color=colors["muted"],
            )  # fmt: skip
