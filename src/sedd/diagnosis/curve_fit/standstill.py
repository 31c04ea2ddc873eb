"""A model that has learnt the token frequencies and, for `monitoring.patience` steps, nothing more."""

from __future__ import annotations

import math

import numpy as np

from sedd.diagnosis.curve_fit.context import Context
from sedd.diagnosis.curve_fit.evidence import MISFIT
from sedd.diagnosis.curve_fit.result import Z95

LEAST_BLOCKS = 12
"""Blocks of lines in the last `patience` steps that are needed."""
LEAST_LEARNING = 0.02
"""Relative decrease of the loss within `patience` steps that counts as learning."""
NEAR = 0.02
"""How far from the unigram model, in the log of the loss, counts as at it."""


def standstill(context: Context) -> float | None:
    """The probability of a standstill at the unigram model; None where it is below 95 %, or cannot be seen."""
    series, setting, fit = context.found.series, context.judged.way.setting, context.fit
    window = series.at >= series.at[-1] - context.forecast.config.monitoring.patience
    begin = series.at[window][:1]
    if window.all() or window.sum() < LEAST_BLOCKS or setting.difficulty(begin)[0] < 1.0:
        return None
    low, high = fit.learnt_interval
    if not (low > 0.5 * fit.frequencies and high < fit.frequencies + NEAR):
        return None
    x = (series.at[window] - begin[0]) / max(float(series.at[-1] - begin[0]), 1.0)
    y = series.mean[window] - setting.log_loss(series.at[window])
    weights = 1.0 / series.variance[window]
    centre = x - np.average(x, weights=weights)
    spread = float(weights @ centre**2)
    slope = float(weights @ (centre * y)) / spread
    error = math.hypot(1.0 / math.sqrt(spread), MISFIT)
    if slope - Z95 * error < -LEAST_LEARNING:
        return None
    return 0.5 * math.erfc(-(slope + LEAST_LEARNING) / error / math.sqrt(2.0))
