"""Charts as data: curves, levels and panels, their colours on light and on dark paper, and names of predictors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.forecast import Phase

Array = NDArray[np.float64]
Color = Literal["run", "curriculum", "model", "noise", "alarm", "ink", "muted", "grid", "paper"]
"""What a colour stands for."""
Style = Literal["line", "dashed", "dotted", "thin", "points", "dots", "band"]

NAMES = {"untrained": "uniform predictor", "unigram": "unigram model", "run": "this model, unchanged"}
"""Labels of the predictors that a loss is compared with."""

# Blue, orange, green and purple that stay apart for the colour-blind (after Okabe and Ito 2008).
LIGHT: dict[Color, str] = {
    "run": "#0063a8", "curriculum": "#c25100", "model": "#00795a", "noise": "#96508c", "alarm": "#c0182b",
    "ink": "#1b2026", "muted": "#5a6570", "grid": "#dde2e7", "paper": "#ffffff",
}  # fmt: skip
DARK: dict[Color, str] = {
    "run": "#5fb4f0", "curriculum": "#f59b4c", "model": "#43c9a2", "noise": "#dba0d3", "alarm": "#ff8089",
    "ink": "#e6e9ec", "muted": "#a5afb9", "grid": "#38414b", "paper": "#14181d",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Series:
    """One curve; x and y are (points,), NaN leaves a gap."""

    name: str
    x: Array
    y: Array
    color: Color
    style: Style = "line"
    low: Array | None = None
    """Lower edge of a band (`y` is the upper edge), or lower ends of the intervals of the points."""
    high: Array | None = None
    """Upper ends of these intervals: error bars with the style `points`, shaded with the others."""


@dataclass(frozen=True)
class Level:
    """A horizontal line. Without a name it is not in the legend."""

    name: str
    y: float
    color: Color = "muted"
    style: Style = "dashed"
    half_width: float = 0.0
    """Half of the 95 % interval of `y`, which is shaded; 0 where it is exact, NaN where no error is known."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes; all panels of a chart share x."""

    unit: str
    """Quantity and unit of y."""
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
    x_range: tuple[float, float]
    x_name: str = "optimizer step"
    phases: tuple[Phase, ...] = ()
    """Their borders are marked, and named where the name fits."""
    marks: tuple[float, ...] = ()
    """Vertical lines in the colour of alarms."""
    since: tuple[int, int] | None = None
    """95 % interval of the step at which what the verdict says began; shaded in all panels."""
