"""The loss by mask rate over a run, as colours: what was learned at which mask rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sedd.diffusion.loss_profile import EDGES
from sedd.report.chart import LIGHT, Array, Color
from sedd.report.contents import Contents
from sedd.report.plots import WIDTH, draw_title, format_x_axis, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 160
"""Columns at most; more lines than that are averaged."""
ROWS: Array = np.arange(41) / 40
"""Edges of the rows in mask rate: the finest bins share the lowest one."""
COLORS = "cividis"
"""Even in lightness, and the same for the colour-blind."""


@dataclass(frozen=True, eq=False)
class Heat:
    """A heat map."""

    values: Array
    """(rows, columns), lowest mask rate first; NaN where no mask rate was drawn."""
    last: float
    """The step at its right end; it begins at step 0."""
    lines_per_column: int
    highest: float
    """Values above it have the colour of this value, so that a divergence leaves the rest readable."""
    name = "profile"
    title = "Loss by mask rate"

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest value with a colour of their own; a few outliers share the ends."""
        low, high = np.nanquantile(self.values, [0.01, 0.99])
        return float(low), float(max(min(high, self.highest), low + 1e-3))

    @property
    def clipped(self) -> bool:
        """Whether some value is above `highest`."""
        return bool(np.nanmax(self.values) > self.highest)

    @property
    def has_gaps(self) -> bool:
        """Whether some mask rate was not measured."""
        return bool(np.isnan(self.values).any())


def heat_map(contents: Contents) -> Heat | None:
    """The mean profile in each cell of mask rate and steps; None where no profile was recorded."""
    lines = [line for line in contents.history.lines if np.isfinite(line.profile).any()]
    if not lines:
        return None
    last, count = lines[-1].step, min(len(lines), COLUMNS)
    profiles = np.stack([line.profile for line in lines])  # (lines, bins)
    rows = np.searchsorted(ROWS, EDGES[:-1] + 1e-9, side="right") - 1  # of each bin
    columns = np.array([min(count - 1, (line.step - 1) * count // max(last, 1)) for line in lines])  # of each line
    known = np.isfinite(profiles)
    cells = tuple(index[known] for index in np.broadcast_arrays(rows, columns[:, None]))
    total, number = np.zeros((2, len(ROWS) - 1, count))
    np.add.at(total, cells, profiles[known])
    np.add.at(number, cells, 1)
    values = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    # A column without a line repeats the column before it.
    source = np.maximum.accumulate(np.where(np.isin(np.arange(count), columns), np.arange(count), 0))
    uniform = contents.predictors.get("untrained")
    highest = np.inf if uniform is None else 1.25 * float(uniform.values.max())
    return Heat(values[:, source], float(last), int(np.bincount(columns).max()), highest)


def draw_heat(heat: Heat, colors: Mapping[Color, str] = LIGHT, *, title: bool = True) -> Figure:
    """Draw a heat map, with its colour scale below; what was not measured is hatched."""
    figure = new_figure(WIDTH, 0.42 * WIDTH, colors=colors)
    axes, scale = figure.subplots(2, 1, gridspec_kw={"height_ratios": [1.0, 0.06]})
    low, high = heat.limits
    style_axes(axes, colors, "mask rate")
    axes.grid(visible=False)
    hatch: dict[str, object] = {"facecolor": "none", "edgecolor": colors["grid"], "hatch": "///", "linewidth": 0.0}
    axes.fill_between([0.0, heat.last], 0.0, 1.0, **hatch)
    look = {"cmap": COLORS, "aspect": "auto", "origin": "lower", "interpolation": "none"}
    axes.imshow(heat.values, extent=(0.0, heat.last, 0.0, 1.0), vmin=low, vmax=high, zorder=1, **look)
    axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
    format_x_axis(axes, colors, (0.0, heat.last), "optimizer step")
    style_axes(scale, colors, "nats per unit of mask rate: dark is low")
    scale.grid(visible=False)
    scale.imshow(np.linspace(0.0, 1.0, 128)[None], extent=(low, high, 0.0, 1.0), **look)
    scale.set_yticks([])
    if title:
        draw_title(figure, colors, heat.title)
    return figure
