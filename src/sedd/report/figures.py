"""A chart on the page: legend, drawing for wide and for narrow screens, caption, and its numbers for the pointer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.report.heatmap import Heat, draw_heat
from sedd.report.plots import Chart, Level, Series, draw
from sedd.report.svg import NARROW, WIDE, embed

Array = NDArray[np.float64]
DIGITS = 5
"""Significant digits of the numbers that the pointer shows."""


def chart_figure(chart: Chart, *, caption: str) -> str:
    """A `<figure>`.

    Args:
        chart: what to draw.
        caption: HTML; without tags it is also what a screen reader says.
    """
    drawings = [
        _drawing(draw(chart, theme), chart.name, kind, chart.title, caption)
        for kind, theme in (("wide", WIDE), ("narrow", NARROW))
    ]
    return _figure(chart.name, _legend(chart.legend), drawings, caption, _numbers(chart))


def heat_figure(heat: Heat, *, caption: str) -> str:
    """The `<figure>` of a heat map."""
    drawings = [
        _drawing(draw_heat(heat, theme), heat.name, kind, heat.title, caption)
        for kind, theme in (("wide", WIDE), ("narrow", NARROW))
    ]
    legend = '<li><i class="hatch"></i>not measured yet</li>' if heat.has_gaps else ""
    numbers = {"heat": True, "last": heat.last, "values": [_plain(row, 4) for row in heat.values]}
    return _figure(heat.name, legend, drawings, caption, numbers)


def _drawing(figure: Any, name: str, kind: str, title: str, caption: str) -> str:
    return embed(figure, name=f"{name}-{kind}", title=escape(title), description=caption, kind=kind)


def _figure(name: str, legend: str, drawings: list[str], caption: str, numbers: Any) -> str:
    listed = f'<ul class="legend">{legend}</ul>' if legend else ""
    return (
        f'<figure data-chart="{name}-numbers">{listed}{"".join(drawings)}<figcaption>{caption}</figcaption>'
        f'<script type="application/json" id="{name}-numbers">{for_script(numbers)}</script></figure>'
    )


def for_script(data: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever it holds."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _legend(entries: Iterable[Series | Level]) -> str:
    return "".join(
        f'<li><i class="{entry.style}" style="color: var(--{entry.color})"></i>{escape(entry.name)}</li>'
        for entry in entries
    )


def _numbers(chart: Chart) -> dict[str, Any]:
    """The curves that the pointer reads; those that share their x share its list."""
    xs: list[list[float | None]] = []
    series = []
    names = Counter(each.name for panel in chart.panels for each in panel.series)
    for panel in chart.panels:
        for each in panel.series:
            if each.style == "band" or not len(each.x):
                continue
            x = _plain(each.x, 9)
            if x not in xs:
                xs.append(x)
            name = each.name if names[each.name] == 1 else f"{panel.unit}: {each.name}"
            series.append({"name": name, "color": each.color, "x": xs.index(x), "y": _plain(each.y, DIGITS)})
    return {"name": "step" if "step" in chart.x_name else chart.x_name, "x": xs, "series": series}


def _plain(values: Array, digits: int) -> list[float | None]:
    return [
        None if not np.isfinite(value) else int(value) if value == int(value) else float(f"{value:.{digits}g}")
        for value in values.tolist()
    ]
