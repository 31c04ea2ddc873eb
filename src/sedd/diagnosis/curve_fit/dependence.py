"""How much neighbouring losses of a log depend on each other, where no filter explains it.

Errors of means assume independent losses. Where a log was smoothed in a way that is not recognised, neighbours have
much the same error: second differences see too little of it, and means over lines do not average it away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit.parabola import slow_curve

Array = NDArray[np.float64]

LEAST_POINTS = 24
"""Lines below which no dependence can be seen."""
SLOW = 101
"""Lines over which the slow curve is a parabola, at most; a third of the log where that is less."""
LAGS = 20
"""Lags that are looked at, at most."""
PARTS = 4
"""Parts of a log. Dependence counts as far as all but one have it: a disturbance is in some lines, a filter in all."""
CLEAR = 3.0
"""Standard errors by which the correlation of neighbours must exceed 0 in a part."""


@dataclass(frozen=True)
class Dependence:
    """Factors on the variance of independent losses."""

    one: float = 1.0
    """On the variance of one line that second differences show: they see only what changes from line to line."""
    mean: float = 1.0
    """On the variance of a mean over many lines, besides."""

    @property
    def found(self) -> bool:
        """Whether there is any."""
        return self.one > 1.0 or self.mean > 1.0


NONE = Dependence()


def dependence(logs: Array) -> Dependence:
    """The dependence of log losses over their forecast, (points,)."""
    count = len(logs)
    if count < LEAST_POINTS:
        return NONE
    rest = logs - slow_curve(logs, min(SLOW, count // 3))
    limit = 4.0 * 1.4826 * float(np.median(np.abs(rest)))
    rest = np.clip(rest, -limit, limit)
    lags = min(LAGS, count // (3 * PARTS))
    by_part = np.array([_correlations(part, lags) for part in np.array_split(rest, PARTS)])
    correlations = by_part[np.argsort(by_part[:, 0])[1]]
    if correlations[0] < CLEAR / math.sqrt(count / PARTS):
        return NONE
    # Of independent losses second differences have 6 variances.
    second = correlations[1] if lags > 1 else correlations[0] ** 2
    seen = max(1.0 - 4.0 / 3.0 * correlations[0] + second / 3.0, 0.02)
    ends = np.flatnonzero(correlations <= 0.0)
    positive = correlations[: ends[0]] if len(ends) else correlations
    return Dependence(max(1.0, 1.0 / seen), 1.0 + 2.0 * float(positive.sum()))


def _correlations(values: Array, lags: int) -> Array:
    """Correlations at lags 1 to `lags`, (lags,)."""
    power = float((values * values).mean())
    if power <= 0.0:
        return np.zeros(lags)
    return np.array([float((values[k:] * values[:-k]).mean()) / power for k in range(1, lags + 1)])
