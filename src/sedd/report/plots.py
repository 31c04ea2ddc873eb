"""Charts as data, and one function that draws any of them with matplotlib, for the page and as a picture.

Needs the extra `report`. Uses matplotlib's objects only: no window, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.forecast import Forecast, Phase
from sedd.errors import SeddError

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
except ModuleNotFoundError as missing:
    raise SeddError(f"plots need matplotlib ({missing}): pip install 'sedd-torch[report]'") from None

Array = NDArray[np.float64]
Color = Literal["run", "curriculum", "model", "luck", "alarm", "ink", "muted", "grid"]
"""What a colour stands for."""
Style = Literal["line", "dashed", "dotted", "thin", "points", "marks", "band"]


@dataclass(frozen=True, eq=False)
class Series:
    """One curve; x and y are (points,), NaN leaves a gap."""

    name: str
    x: Array
    y: Array
    color: Color
    style: Style = "line"
    low: Array | None = None
    """Lower edge of a band (`y` is the upper one), or where error bars begin."""
    high: Array | None = None
    """Where error bars end."""
    legend: bool = True


@dataclass(frozen=True)
class Level:
    """A horizontal line."""

    name: str
    y: float
    color: Color = "muted"
    style: Style = "dashed"
    legend: bool = True


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes; all panels of a chart share x."""

    unit: str
    """What y is, with its unit."""
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    y_range: tuple[float, float] | None = None
    log: bool = False
    height: float = 1.0
    """Relative to the other panels."""


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart over optimizer steps, or over mask rates."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    x_name: str = "optimizer step"
    x_range: tuple[float, float] | None = None
    phases: tuple[Phase, ...] = ()
    """Their borders are marked, and named where there is room."""
    marks: tuple[float, ...] = ()
    """Vertical lines in the colour of alarms."""

    @property
    def legend(self) -> list[Series | Level]:
        """What a reader must be told, in order, each name once."""
        entries: dict[str, Series | Level] = {}
        for panel in self.panels:
            drawn: list[Series | Level] = [*panel.series, *panel.levels]
            for entry in drawn:
                if entry.legend:
                    entries.setdefault(entry.name, entry)
        return list(entries.values())


@dataclass(frozen=True)
class Theme:
    """How charts look; sizes in points, which are pixels of the page."""

    colors: Mapping[Color, str]
    width: float
    font: float
    picture: bool = False
    """A file of its own: with title, legend and white paper."""
    dpi: int = 72

    @property
    def narrow(self) -> bool:
        return self.width < 500


# Blue, orange, green and purple that stay apart for the colour-blind (after Okabe and Ito 2008), dark enough for paper.
PAPER: dict[Color, str] = {
    "run": "#0063a8",
    "curriculum": "#c25100",
    "model": "#00795a",
    "luck": "#96508c",
    "alarm": "#c0182b",
    "ink": "#1b2026",
    "muted": "#5a6570",
    "grid": "#dde2e7",
}
PICTURE = Theme(PAPER, width=800, font=12, picture=True, dpi=120)

ROUND = (1, 2, 2.5, 5, 10)
"""Steps between ticks, times a power of ten."""
_LINES: dict[str, Any] = {
    "line": {"linewidth": 1.7},
    "thin": {"linewidth": 0.8, "alpha": 0.55},
    "dashed": {"linewidth": 1.5, "linestyle": (0, (5, 3))},
    "dotted": {"linewidth": 1.6, "linestyle": (0, (1.5, 2))},
    "points": {"linewidth": 1.2, "marker": "o", "markersize": 4},
    "marks": {"linewidth": 0, "marker": "v", "markersize": 5},
}


def draw(chart: Chart, theme: Theme = PICTURE) -> Figure:
    """Draw a chart."""
    heights = [panel.height for panel in chart.panels]
    share = 0.72 if theme.narrow else 0.36
    figure = new_figure(theme, share * sum(heights) + (0.08 if theme.picture else 0.0))
    grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
    for panel, axes in zip(chart.panels, grid[:, 0], strict=True):
        _draw_panel(panel, axes, theme)
        for step in chart.marks:
            axes.axvline(step, color=theme.colors["alarm"], linewidth=1.2, linestyle=(0, (4, 2)))
    extent = chart.x_range or _extent(chart)
    draw_axis_of_steps(grid[-1, 0], theme, extent, chart.x_name)
    _draw_phases(chart.phases, list(grid[:, 0]), theme, extent)
    if theme.picture:
        _dress(figure, chart, theme)
    return figure


def new_figure(theme: Theme, tall: float) -> Figure:
    """An empty figure, `tall` times as high as it is wide."""
    inches = theme.width / 72
    figure = Figure(figsize=(inches, inches * tall), dpi=theme.dpi)
    pad = 0.08 if theme.picture else 0.02
    figure.set_layout_engine("constrained", w_pad=pad, h_pad=max(pad, 0.04))
    return figure


def draw_axis_of_steps(axes: Axes, theme: Theme, extent: tuple[float, float], name: str) -> None:
    """Round ticks along x, few enough for the width."""
    left, right = extent
    axes.set_xlim(left, right if right > left else left + 1)
    axes.set_xlabel(name, loc="right", fontsize=theme.font, color=theme.colors["muted"])
    axes.xaxis.set_major_locator(MaxNLocator(4 if theme.narrow else 9, integer=right - left > 2, steps=ROUND))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value, largest=right)))


def _draw_panel(panel: Panel, axes: Axes, theme: Theme) -> None:
    dress_axes(axes, theme, panel.unit)
    for series in panel.series:
        color = theme.colors[series.color]
        if series.style == "band":
            assert series.low is not None  # noqa: S101  # a band has one
            axes.fill_between(series.x, series.low, series.y, color=color, alpha=0.2, linewidth=0)
            continue
        alone = {"marker": "o", "markersize": 5} if len(series.x) == 1 and series.style != "marks" else {}
        axes.plot(series.x, series.y, color=color, **(_LINES[series.style] | alone))
        if series.low is not None and series.high is not None:
            axes.vlines(series.x, series.low, series.high, color=color, linewidth=1.4)
    for level in panel.levels:
        axes.axhline(level.y, color=theme.colors[level.color], **_LINES[level.style])
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
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("e-0", "e-")))
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)


def dress_axes(axes: Axes, theme: Theme, unit: str) -> None:
    """Quiet axes: the unit on top, horizontal grid lines, no box."""
    axes.set_title(unit, loc="left", fontsize=theme.font, color=theme.colors["muted"])
    axes.set_facecolor("none")
    axes.grid(axis="y", color=theme.colors["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.colors["muted"])
    axes.tick_params(
        labelsize=theme.font, labelcolor=theme.colors["ink"], color=theme.colors["muted"], length=3, which="both"
    )
    axes.tick_params(axis="y", length=0, which="both")


def _draw_phases(phases: Sequence[Phase], panels: list[Axes], theme: Theme, extent: tuple[float, float]) -> None:
    """A dotted line at each border, and the name of each phase in which it has room."""
    left, right = extent
    for phase in phases:
        if left < phase.first < right:
            for axes in panels:
                axes.axvline(phase.first, color=theme.colors["muted"], linewidth=1.1, linestyle=(0, (1, 2)))
        first, last = max(phase.first, left), min(phase.last, right)
        room = (last - first) / max(right - left, 1e-9) * theme.width * 0.85
        if len(phase.name) * theme.font * 0.62 < room and len(phases) > 1:
            place = ((first + last) / 2, 1.0)
            panels[0].annotate(
                phase.name, place, xycoords=("data", "axes fraction"), xytext=(0, -2), textcoords="offset points",
                ha="center", va="top", fontsize=theme.font, color=theme.colors["muted"],
            )  # fmt: skip


def _dress(figure: Figure, chart: Chart, theme: Theme) -> None:
    """What a picture needs that the page says beside the chart."""
    figure.set_facecolor("white")
    figure.suptitle(chart.title, x=0.01, ha="left", fontsize=theme.font * 1.2, color=theme.colors["ink"], weight="bold")
    handles = [_handle(entry, theme) for entry in chart.legend]
    columns = 5 if sum(len(entry.name) for entry in chart.legend) < 70 else 4
    figure.legend(
        handles=handles, loc="outside lower left", ncols=min(len(handles), columns), frameon=False, fontsize=theme.font,
        labelcolor=theme.colors["ink"],
    )  # fmt: skip


def _handle(entry: Series | Level, theme: Theme) -> Any:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    color = theme.colors[entry.color]
    if entry.style == "band":
        return Patch(color=color, alpha=0.2, linewidth=0, label=entry.name)
    return Line2D([], [], color=color, label=entry.name, **_LINES[entry.style])


def _extent(chart: Chart) -> tuple[float, float]:
    ends = [series.x[[0, -1]] for panel in chart.panels for series in panel.series if len(series.x)]
    return (0.0, float(max((end[1] for end in ends), default=1.0)))


def short(value: float, *, largest: float) -> str:
    """A tick label on an axis up to `largest`: 20,000 is 20k, 1,500,000 is 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if largest >= 10 * size and value:
            return f"{value / size:.6g}{letter}"
    return f"{value:,.6g}"


# The forecast --------------------------------------------------------------------------------------------------------

POINTS = 300
"""Steps at which a forecast is drawn."""
NAMES = {"untrained": "knows nothing", "unigram": "knows the letters", "run": "this model, as it is"}


def forecast_figure(forecast: Forecast) -> Figure:
    """The loss that a configuration will show, with and without its curriculum; for `sedd forecast --plot`.

    Where the ramp is a small part of the run, the flat rest is cut off.
    """
    ramp, end = forecast.config.curriculum.preschool_time, forecast.config.training.n_iters
    last = end if ramp == 0 or ramp * 8 > end else round(2.5 * ramp)
    steps = np.unique(np.linspace(0, last, POINTS).astype(np.int64))
    colors: dict[str, tuple[Color, Style]] = {
        "untrained": ("curriculum", "line"), "unigram": ("run", "line"), "run": ("model", "line")
    }  # fmt: skip
    curves, levels = [], []
    for name in forecast.predictors:
        losses = np.array([forecast.loss(int(step), name) for step in steps])
        curves.append(Series(NAMES[name], steps.astype(np.float64), losses, *colors[name]))
        if ramp:
            levels.append(
                Level(f"{NAMES[name]}, no curriculum", getattr(forecast.full, name), colors[name][0], "dotted")
            )
    difficulty = np.array([forecast.mask_range(int(step))[1] for step in steps])
    masks = Series("largest mask rate", steps.astype(np.float64), difficulty, "muted")
    title = "Expected training loss, whatever is learnt"
    title += f": the first {last:,} of {end:,} steps" if last < end else ""
    highest = max(max(float(curve.y.max()) for curve in curves), *(level.y for level in levels), 1e-9)
    panels = (
        Panel("loss, nats per residue", tuple(curves), tuple(levels), y_range=(0, 1.15 * highest)),
        Panel("mask rate, up to", (masks,), height=0.4, y_range=(0, 1.05)),
    )
    return draw(Chart("forecast", title, panels, x_range=(0.0, float(last)), phases=forecast.phases))
