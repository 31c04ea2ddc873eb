"""The plot of a forecast: the loss that a configuration will show, whatever the model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sedd.diagnosis.forecast import Forecast
from sedd.report.plots import NAMES, Chart, Color, Level, Panel, Series, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 300
"""Steps at which a forecast is drawn."""
_COLORS: dict[str, Color] = {"untrained": "curriculum", "unigram": "run", "run": "model"}


def forecast_figure(forecast: Forecast) -> Figure:
    """The expected loss of each predictor, with and without the curriculum; for `sedd forecast --plot`.

    Where the ramp is a small part of the run, the constant rest is cut off.

    Raises:
        SeddError: if matplotlib is missing.
    """
    ramp, end = forecast.config.curriculum.preschool_time, forecast.config.training.n_iters
    last = end if ramp == 0 or ramp * 8 > end else round(2.5 * ramp)
    grid = [int(step) for step in np.unique(np.linspace(0, last, POINTS).astype(np.int64))]
    steps = np.array(grid, np.float64)
    curves, levels = [], []
    for name in forecast.predictors:
        losses = np.array([forecast.loss(step, name) for step in grid])
        curves.append(Series(NAMES[name], steps, losses, _COLORS[name]))
        if ramp:
            level = getattr(forecast.full, name)
            levels.append(Level(f"{NAMES[name]}, no curriculum", level, _COLORS[name], "dotted"))
    largest = Series("largest mask rate", steps, np.array([forecast.mask_range(step)[1] for step in grid]), "muted")
    highest = max(max(float(curve.y.max()) for curve in curves), *(level.y for level in levels), 1e-9)
    panels = (
        Panel("loss, nats per residue", tuple(curves), tuple(levels), y_range=(0, 1.15 * highest)),
        Panel("largest mask rate", (largest,), height=0.4, y_range=(0, 1.05)),
    )
    title = "Expected training loss, whatever is learned"
    title += f": the first {last:,} of {end:,} steps" if last < end else ""
    return draw(Chart("forecast", title, panels, x_range=(0.0, float(last)), phases=forecast.phases))
