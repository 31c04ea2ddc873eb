"""The figures of a page: each drawn for light and for dark paper, with its numbers as tables."""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sedd.diagnosis.diagnosis import evenly_spaced
from sedd.report.bound_charts import bound_chart, bound_profile_chart
from sedd.report.chart import DARK, LIGHT, Chart, Panel, Series
from sedd.report.charts import attribution_chart, loss_chart, normalised_chart, off_the_chart, optimizer_chart
from sedd.report.contents import Contents
from sedd.report.heatmap import ROWS, Heat, draw_heat, heat_map
from sedd.report.plots import draw, to_svg
from sedd.report.quality import quality_chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

CHARTS = (
    loss_chart, attribution_chart, normalised_chart, bound_chart, bound_profile_chart, optimizer_chart, quality_chart,
)  # fmt: skip
MOST_ROWS = 25
"""Rows of a table of numbers."""


@dataclass(frozen=True)
class Table:
    """Numbers as text."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A chart, drawn for light and for dark paper."""

    name: str
    title: str
    light: str
    """SVG as a `data:` address."""
    dark: str
    tables: tuple[Table, ...]
    """The numbers that are drawn."""
    off: tuple[float, float] | None = None
    """The value furthest off the chart, and its step."""


def figures(contents: Contents) -> dict[str, Figure]:
    """By name, every figure that the run has numbers for."""
    charts = [chart for make in CHARTS if (chart := make(contents)) is not None]
    drawn = {chart.name: figure_of(chart) for chart in charts}
    heat = heat_map(contents)
    if heat is not None:
        light, dark = (svg_address(draw_heat(heat, colors, title=False), heat.name) for colors in (LIGHT, DARK))
        drawn[heat.name] = Figure(heat.name, heat.title, light, dark, (_heat_table(heat),))
    return drawn


def figure_of(chart: Chart) -> Figure:
    """A chart with its numbers, drawn for both papers and without its title."""
    light, dark = (svg_address(draw(chart, colors, title=False), chart.name) for colors in (LIGHT, DARK))
    return Figure(chart.name, chart.title, light, dark, tables(chart), off_the_chart(chart))


def svg_address(figure: MatplotlibFigure, name: str) -> str:
    """In an image no script can run, and ids of different figures cannot clash."""
    return "data:image/svg+xml;base64," + b64encode(to_svg(figure, salt=name)).decode()


def tables(chart: Chart) -> tuple[Table, ...]:
    """The curves of a chart as numbers: one table for all curves that share their x values."""
    groups: dict[bytes, list[tuple[Panel, Series]]] = {}
    for panel in chart.panels:
        for series in panel.series:
            if series.style != "band" and len(series.x):
                groups.setdefault(series.x.tobytes(), []).append((panel, series))
    return tuple(_table(chart, group) for group in groups.values())


def _table(chart: Chart, curves: list[tuple[Panel, Series]]) -> Table:
    x = curves[0][1].x
    columns = {chart.x_name: x}
    for panel, series in curves:
        shared = sum(other.name == series.name for _, other in curves) > 1
        name = f"{panel.unit}: {series.name}" if shared else series.name
        columns[name] = series.y
        if series.low is not None and series.high is not None:
            columns |= {f"{name}, from": series.low, f"{name}, to": series.high}
    rows = tuple(tuple(_number(values[i]) for values in columns.values()) for i in evenly_spaced(len(x), MOST_ROWS))
    return Table(tuple(columns), rows)


def _heat_table(heat: Heat) -> Table:
    count = heat.values.shape[1]
    columns = evenly_spaced(count, 8)
    steps = tuple(f"step {heat.last * (column + 1) / count:,.0f}" for column in columns)
    rows = tuple(
        (f"{low:.1%} to {high:.1%}", *(_number(values[column]) for column in columns))
        for (low, high), values in zip(pairwise(ROWS), heat.values, strict=True)
    )
    return Table(("mask rate", *steps), rows)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if value == round(value) else f"{value:.5g}"
