"""The loss by mask rate over the whole run, as colours: what was learnt where, and where training never went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import EDGES
from sedd.report.contents import Contents
from sedd.report.plots import PICTURE, Theme, draw_axis_of_steps, dress_axes, new_figure
from sedd.runs.metrics import TrainRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

COLUMNS = 160
"""Columns at most; more lines than that are averaged."""
ROWS: Array = np.arange(41) / 40
"""Edges of the rows in mask rate: the finest bins share the lowest one."""
COLORS = "cividis"
"""Even in lightness and the same for the colour-blind."""


@dataclass(frozen=True, eq=False)
class Heat:
    """A heat map."""

    values: Array
    """(rows, columns), lowest mask rate first; NaN where nothing was drawn."""
    last: float
    """The step at its right end; it begins at step 0."""
    lines_per_column: int
    highest: float
    """A value above it has the same colour as it: a divergence must not make everything else look alike."""
    name = "profile"
    title = "Loss by mask rate"
    unit = "mask rate"

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest value that have a colour of their own; a few outliers share the ends."""
        low, high = np.nanquantile(self.values, [0.01, 0.99])
        return float(low), float(max(min(high, self.highest), low + 1e-3))

    @property
    def clipped(self) -> bool:
        return bool(np.nanmax(self.values) > self.highest)

    @property
    def has_gaps(self) -> bool:
        return bool(np.isnan(self.values).any())


def heat_map(contents: Contents) -> Heat | None:
    """The profile of each line of the metrics; None where none was recorded."""
    lines = [line for line in contents.history.lines if np.isfinite(line.profile).any()]
    if not lines:
        return None
    last, count = lines[-1].step, min(len(lines), COLUMNS)
    place = [min(count - 1, (line.step - 1) * count // max(last, 1)) for line in lines]
    columns = [[line for line, at in zip(lines, place, strict=True) if at == column] for column in range(count)]
    values = np.stack([_column(each) for each in columns], axis=1)
    filled = _held(values, [bool(each) for each in columns])
    nothing = contents.predictors.get("untrained")
    highest = np.inf if nothing is None else 1.25 * float(nothing.values.max())
    return Heat(filled, float(last), max(len(each) for each in columns), highest)


def _column(lines: Sequence[TrainRecord]) -> Array:
    """(rows,): mean profile of some lines."""
    column = np.full(len(ROWS) - 1, np.nan)
    if not lines:
        return column
    rows = np.searchsorted(ROWS, EDGES[:-1] + 1e-9, side="right") - 1
    stacked = np.stack([line.profile for line in lines])
    for row in range(len(column)):
        found = stacked[:, rows == row]
        if np.isfinite(found).any():
            column[row] = np.nanmean(found)
    return column


def _held(values: Array, filled: Sequence[bool]) -> Array:
    """A column without a line shows the one before it."""
    for column in range(1, values.shape[1]):
        if not filled[column]:
            values[:, column] = values[:, column - 1]
    return values


def draw_heat(heat: Heat, theme: Theme = PICTURE) -> Figure:
    """Draw it, with its scale below; what was never drawn is hatched."""
    figure = new_figure(theme, 0.84 if theme.narrow else 0.42)
    height = [1.0, 0.05 if theme.narrow else 0.06]
    axes, scale = figure.subplots(2, 1, gridspec_kw={"height_ratios": height})
    low, high = heat.limits
    dress_axes(axes, theme, heat.unit)
    axes.grid(visible=False)
    axes.fill_between(
        [0.0, heat.last], 0.0, 1.0, facecolor="none", edgecolor=theme.colors["grid"], hatch="///", linewidth=0.0
    )
    extent = (0.0, heat.last, 0.0, 1.0)
    look = {"cmap": COLORS, "aspect": "auto", "origin": "lower", "interpolation": "none"}
    axes.imshow(heat.values, extent=extent, vmin=low, vmax=high, zorder=1, **look)
    axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
    draw_axis_of_steps(axes, theme, (0.0, heat.last), "optimizer step")
    dress_axes(scale, theme, "nats per unit of mask rate: dark is low")
    scale.grid(visible=False)
    scale.imshow(np.linspace(0.0, 1.0, 128)[None], extent=(low, high, 0.0, 1.0), **look)
    scale.set_yticks([])
    if theme.picture:
        title = {"x": 0.01, "ha": "left", "fontsize": theme.font * 1.2, "color": theme.colors["ink"], "weight": "bold"}
        figure.suptitle(heat.title, **title)
        figure.set_facecolor("white")
    return figure
