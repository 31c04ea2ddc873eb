"""When a series that ought to fall began to rise: a posterior distribution over the change-point.

Without a change the series does not rise: an isotonic fit (pool adjacent violators). With a change at some point it is
isotonic before it, and after it the last level plus one of a few shapes: growth that is linear, accelerating or slowing
down, or a jump after which the series may fall again. Residuals are clipped, so that an outlier decides nothing.

The Bayes factor of a change is the mean over all points of the likelihoods of all shapes, with the penalty of the
Bayesian information criterion (Schwarz 1978) for the size of the shape, over the likelihood without a change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.bayes import Measured

Array = NDArray[np.float64]

CLIP = 4.0
"""Standard errors at which a residual from its neighbours is clipped."""
MASS = 0.95
"""Posterior probability of the interval."""
RATES = (3.0, 10.0, 30.0)
"""Shapes that slow down do so within 1/3, 1/10, 1/30 of the time since the change."""
TEMPER = 0.2
"""Power of the posterior over change-points. Before the change the fit is isotonic and takes the first rise for noise,
so that the likelihood alone is too sure of a late change."""
MIN_POINTS = 8


@dataclass(frozen=True)
class ChangePoint:
    """When a series began to rise."""

    log_bayes_factor: float
    """Log of the probability of the series with a change over that without one."""
    rise: Measured
    """The last values less the level before the change."""
    low: int
    """Lower end of the 95 % interval of the change: an optimizer step."""
    high: int
    """Upper end."""


def change_point(
    first: NDArray[np.int64], last: NDArray[np.int64], y: Array, error: Array, *, recent: int = 3
) -> ChangePoint | None:
    """Whether and from which step on a series rises.

    Args:
        first: (points,) optimizer step after which each point begins.
        last: (points,) the last step of each point.
        y: (points,) the series; NaN where unknown.
        error: (points,) its standard error, above 0.
        recent: last points whose mean is the present.

    Returns:
        None if fewer than `MIN_POINTS` are known.
    """
    known = np.isfinite(y) & np.isfinite(error) & (error > 0)
    first, last, y, error = first[known], last[known], y[known], error[known]
    count = len(y)
    if count < max(MIN_POINTS, recent + 2):
        return None
    y = clipped(y, error)
    weight = error**-2
    before = _prefixes(y, weight)
    after = _prefixes(-y[::-1], weight[::-1])  # isotonic fits of all suffixes
    growth = _growth((first + last) / 2.0, first, y, weight, before.ends)
    jump = -0.5 * after.squares[::-1][1:-1] - 0.5 * math.log(count)
    log_likelihood = np.full(count, -np.inf)
    log_likelihood[1:-1] = -0.5 * before.squares[:-2] + np.logaddexp(growth, jump) - math.log(2.0)
    none = -0.5 * before.squares[-1]
    factor = float(np.logaddexp.reduce(log_likelihood[1:-1])) - math.log(count - 2) - none
    posterior = np.exp(TEMPER * (log_likelihood - log_likelihood.max())) * np.maximum(last - first, 1)
    cumulative = posterior.cumsum() / posterior.sum()
    low = int(np.searchsorted(cumulative, (1.0 - MASS) / 2.0))
    high = min(int(np.searchsorted(cumulative, (1.0 + MASS) / 2.0)), count - 1)
    likeliest = int(log_likelihood.argmax())
    now = weight[-recent:].sum()
    level = float((weight[-recent:] * y[-recent:]).sum() / now)
    rise = level - float(before.ends[likeliest - 1])
    stderr = math.hypot(now**-0.5, float(before.weights[likeliest - 1]) ** -0.5)
    # A change late in a point hardly shows in it, so the interval begins one point earlier.
    return ChangePoint(factor, Measured(rise, stderr), int(first[max(low - 1, 0)]), int(last[high]))


def clipped(y: Array, error: Array) -> Array:
    """The series with residuals from the median of five neighbours clipped at `CLIP` standard errors."""
    padded = np.pad(y, 2, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), -1)
    return np.asarray(middle + np.clip(y - middle, -CLIP * error, CLIP * error))


@dataclass(frozen=True, eq=False)
class _Prefixes:
    """Non-increasing fits to every prefix of a series; each array is (points,)."""

    squares: Array
    """Squared residuals, weighted."""
    ends: Array
    """The last fitted value."""
    weights: Array
    """Weight of the points behind it."""


def _prefixes(y: Array, weight: Array) -> _Prefixes:
    levels: list[tuple[float, float]] = []  # weight and mean of each level
    total, size = 0.0, len(y)
    squares, ends, weights = np.zeros(size), np.zeros(size), np.zeros(size)
    for k, (mean, own) in enumerate(zip(y.tolist(), weight.tolist(), strict=True)):
        while levels and levels[-1][1] <= mean:
            other, other_mean = levels.pop()
            both = other + own
            total += other * own / both * (other_mean - mean) ** 2
            own, mean = both, (other * other_mean + own * mean) / both
        levels.append((own, mean))
        squares[k], ends[k], weights[k] = total, mean, own
    return _Prefixes(squares, ends, weights)


def _growth(middle: Array, first: NDArray[np.int64], y: Array, weight: Array, ends: Array) -> Array:
    """(points - 2,): log of the mean likelihood of the shapes that grow, after a change at each inner point.

    Relative to the level before the change, `ends`; `middle` is the optimizer step in the middle of each point.
    """
    inner = np.arange(1, len(y) - 1)
    u = middle[None, :] - first[inner, None]
    x = np.maximum(u, 0.0) / np.maximum(u[:, -1:], 1e-9)
    above_level = y[None, :] - ends[inner - 1, None]
    weights = np.where(np.arange(len(y))[None, :] >= inner[:, None], weight[None, :], 0.0)
    total = (weights * above_level**2).sum(1)
    remaining = []
    for shape in (x, x**2, *(-np.expm1(-rate * x) for rate in RATES)):
        fitted = np.maximum((shape * weights * above_level).sum(1), 0.0)  # a shape that falls is no rise
        remaining.append(total - fitted**2 / np.maximum((shape**2 * weights).sum(1), 1e-300))
    mean = np.logaddexp.reduce(-0.5 * np.array(remaining)) - math.log(len(remaining))
    return np.asarray(mean - 0.5 * np.log(len(y) - inner + 1.0))
