"""A disturbance of no known form: from some step on the log loss wanders off like a random walk.

It is the explanation where every named form fits badly, so that such a curve is not blamed on settings that merely
absorb it. The covariance of a random walk that begins at step r and has the standard deviation q at the last step S is

    q^2 min(x, x')     with  x = (s - r) / (S - r),  0 before r
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit import evidence
from sedd.diagnosis.curve_fit.points import point
from sedd.diagnosis.curve_fit.series import Series
from sedd.diagnosis.curve_fit.settings import Setting
from sedd.diagnosis.curve_fit.shapes import Learning, disturbances
from sedd.diagnosis.curve_fit.units import Unit

Array = NDArray[np.float64]

STARTS = 10
"""Steps at which it may begin."""
SIZES = (0.15, 1.0)
"""Standard deviations at the last step, in the logarithm of the loss."""


@dataclass(frozen=True, eq=False)
class Unknown:
    """Log marginal likelihoods of disturbances of no known form."""

    since: Array
    """(starts,): the step at which it began."""
    rises: Array
    """(starts, settings): of those that raise the loss."""
    falls: Array
    """(starts, settings): of those that lower it."""


def unknown(
    series: Series, settings: list[Setting], unit: Unit, shapes: Learning, floor: float, frequencies: float
) -> Unknown:
    """The evidence of a disturbance of no known form from each of some steps on."""
    at = series.at
    starts = np.unique(np.quantile(at, np.linspace(0.0, 0.93, STARTS)))
    none = disturbances(at, np.zeros(0))
    targets = series.mean - np.array([setting.log_loss(at) for setting in settings])
    rises = np.full((len(starts), len(settings)), -np.inf)
    falls = rises.copy()
    for i, start in enumerate(starts):
        x = np.clip((at - start) / max(float(at[-1] - start), 1.0), 0.0, 1.0)
        walk = np.minimum(x[:, None], x)
        for size in SIZES:
            white = evidence.whiten_targets(series, targets, shapes, none, size**2 * walk)
            nothing, usual, beyond = evidence.cells(white, unit, floor, frequencies).calm
            found = np.logaddexp(nothing, usual)
            best = int(found.argmax())
            left = targets[best] - point(white, unit, best, None).mean(shapes, none)
            chosen = rises if left[at >= start].mean() > 0.0 else falls
            chosen[i] = np.logaddexp(chosen[i], found)
            falls[i] = np.logaddexp(falls[i], beyond)
    return Unknown(starts, rises, falls)
