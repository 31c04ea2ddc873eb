"""The loss at mask rates that were not drawn at one of two times, with a standard deviation.

At one time the loss per unit of mask rate P_b is unknown in some bins; at the other time it is P'_b. In the bins that
were measured at both times the model has learnt the share r_b = (P'_b - P_b) / P'_b. It is continued to the other bins
as a random walk over the bins: ordinary kriging, whose variogram, the mean square of the change of r from a bin to the
next one, is what the measured bins show beyond their Monte Carlo error. The continuation is a mean of two:

* the two times differ by the same factor, P_b = P'_b (1 - r);
* they differ by the same number of nats, which decreases to 0 at mask rate 1: where every residue is masked, all models
  that have learnt the token frequencies have the same loss.

Compared with networks that were evaluated at mask rates they were not trained on, the two err in opposite directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.predictors import nearest
from sedd.diffusion.loss_profile import BINS, EDGES

Array = NDArray[np.float64]
RATIO_WEIGHT = 0.35
"""Weight of the first of the two extrapolations."""
WALK = 0.002
"""Standard deviation that the random walk has at least, from a bin to the next; a share of the loss."""
BEYOND = 1.25
"""An extrapolated loss is at most this many times the largest measured one, and its standard deviation half of that."""
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


@dataclass(frozen=True, eq=False)
class Filled:
    """Loss per unit of mask rate in all bins, (BINS,)."""

    values: Array
    """Measured, or extrapolated where that is missing."""
    stderr: Array
    """Standard deviation of the extrapolation, the same error in all bins up to its size; 0 in measured bins."""
    share: Array
    """Derivative of an extrapolated value by the value of the other time; 0 in measured bins."""


def fill(values: Array, other: Array, variance: Array, other_variance: Array, level: Array) -> Filled:
    """Fill the bins that `values` lacks (NaN), from the nearest bins and from the `other` time.

    Args:
        values: (BINS,) loss per unit of mask rate, nats; at least one is known.
        other: the same at the other time.
        variance: (BINS,) Monte Carlo variance of `values`; 0 or NaN where it is not known.
        other_variance: that of `other`.
        level: (BINS,) the loss per unit of mask rate over the whole run: the shape of bins that both times lack.
    """
    known = np.isfinite(values)
    if known.all():
        return Filled(values, np.zeros(BINS), np.zeros(BINS))
    missing = np.flatnonzero(~known)
    measured = np.flatnonzero(known)
    shape = np.where(np.isfinite(other), other, nearest(other / level) * level)
    size = np.maximum(np.abs(shape), 1e-12)
    learnt = (shape - values)[measured] / size[measured]
    noise = (np.nan_to_num(variance) + np.nan_to_num(other_variance))[measured] / size[measured] ** 2
    share, walked = _krige(measured, learnt, noise, missing)
    closest = measured[np.abs(missing[:, None] - measured).argmin(1)]
    decay = np.minimum((1.0 - CENTRES[missing]) / (1.0 - CENTRES[closest]), 1.0)
    by_ratio, by_difference = shape[missing], size[closest] * decay
    slope = RATIO_WEIGHT * by_ratio + (1.0 - RATIO_WEIGHT) * by_difference
    between = np.abs(share * (by_ratio - by_difference)) / 2
    filled, stderr, derivative = values.copy(), np.zeros(BINS), np.zeros(BINS)
    # Where little is left to learn from, as at the low mask rates of a model that memorises, the walk knows no bounds.
    most = BEYOND * float(np.nanmax(np.abs([values, other])))
    filled[missing] = np.clip(shape[missing] - share * slope, 0.0, most)
    stderr[missing] = np.minimum(np.hypot(size[missing] * np.sqrt(walked), between), most / 2)
    derivative[missing] = np.where(np.isfinite(other[missing]), 1.0 - share * slope / size[missing], 0.0)
    return Filled(filled, stderr, derivative)


def _krige(measured: NDArray[np.int64], learnt: Array, noise: Array, missing: NDArray[np.int64]) -> tuple[Array, Array]:
    """Mean and variance in the bins `missing` of a random walk that was observed in `measured`, with noise."""
    step = _step(measured, learnt, noise)
    count = len(measured)
    system = np.ones((count + 1, count + 1))
    # Half the variogram is the covariance up to a constant, which the condition that the weights sum to 1 cancels.
    system[:count, :count] = -step / 2 * np.abs(measured[:, None] - measured) + np.diag(noise)
    system[count, count] = 0.0
    target = np.ones((count + 1, len(missing)))
    target[:count] = -step / 2 * np.abs(measured[:, None] - missing)
    weights = np.linalg.lstsq(system, target, rcond=None)[0] if count == 1 else np.linalg.solve(system, target)
    mean: Array = learnt @ weights[:count]
    variance: Array = -(weights * target).sum(0)
    return mean, np.maximum(variance, 0.0)


def _step(measured: NDArray[np.int64], learnt: Array, noise: Array) -> float:
    """Mean square of the change of the walk from a bin to the next, beyond the Monte Carlo error.

    Each pair of measured bins counts by the inverse variance of its square.
    """
    if len(measured) < 2:
        return WALK**2
    error = noise[1:] + noise[:-1]
    seen = (np.diff(learnt) ** 2 - error) / np.diff(measured)
    return max(float(np.average(seen, weights=(error + WALK**2) ** -2.0)), WALK**2)
