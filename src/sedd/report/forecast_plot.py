"""The plot of a forecast: the loss that a configuration will show, whatever the model learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sedd.diagnosis.forecast import Forecast
from sedd.report.chart import NAMES, Chart, Color, Level, Panel, Series
from sedd.report.plots import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 300
"""Steps at which a forecast is drawn."""
_COLORS: dict[str, Color] = {"untrained": "curriculum", "unigram": "run", "run": "model"}


def forecast_figure(forecast: Forecast, expected: Mapping[int, float] | None = None) -> Figure:
    """The expected loss of each predictor, with and without the curriculum; for `sedd forecast --plot`.

    Args:
        forecast: what is drawn.
        expected: losses {optimizer step: nats per residue} to compare with it, drawn as dots.

    Raises:
        SeddError: if matplotlib is missing.
    """
    return draw(forecast_chart(forecast, expected or {}))


def forecast_chart(forecast: Forecast, expected: Mapping[int, float]) -> Chart:
    """The chart of `forecast_figure`. Where the ramp is a small part of the run, the constant rest is cut off."""
    ramp, end = forecast.config.curriculum.preschool_time, forecast.config.training.n_iters
    last = max(end if ramp == 0 or ramp * 8 > end else round(2.5 * ramp), *expected, 0)
    grid = [int(step) for step in np.unique(np.linspace(0, last, POINTS).astype(np.int64))]
    steps = np.array(grid, np.float64)
    losses = {name: np.array([forecast.loss(step, name) for step in grid]) for name in forecast.predictors}
    curves = [Series("expected range", steps, losses["untrained"], "curriculum", "band", low=losses["unigram"])]
    curves += [Series(NAMES[name], steps, loss, _COLORS[name]) for name, loss in losses.items()]
    levels = [
        Level(f"{NAMES[name]}, no curriculum", getattr(forecast.full, name), _COLORS[name], "dotted")
        for name in (losses if ramp else ())
    ]
    if expected:
        given = sorted(expected.items())
        x, y = (np.array(values, np.float64) for values in zip(*given, strict=True))
        curves.append(Series("expected or observed loss", x, y, "ink", "dots"))
    largest = Series("largest mask rate", steps, np.array([forecast.mask_range(step)[1] for step in grid]), "muted")
    highest = max(max(float(curve.y.max()) for curve in curves), *(level.y for level in levels), 1e-9)
    panels = (
        Panel("loss, nats per residue", tuple(curves), tuple(levels), y_range=(0, 1.15 * highest)),
        Panel("largest mask rate", (largest,), height=0.4, y_range=(0, 1.05)),
    )
    title = "Expected training loss, whatever is learned"
    title += f": the first {last:,} of {end:,} steps" if last < end else ""
    return Chart("forecast", title, panels, x_range=(0.0, float(last)), phases=forecast.phases)
