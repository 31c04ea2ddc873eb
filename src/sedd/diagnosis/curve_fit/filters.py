"""Logs that were smoothed before they were saved: which filter, and the series before it.

A filter is recognised by the likelihood of the saved values. Each filter here can be undone, x = T y; the density of
y is that of x times |det T|. Before a filter losses scatter independently around a slow curve.

    average of a tracker (W&B)   m_k = b m_(k-1) + (1 - b) x_k,  y_k = m_k / (1 - b^k)   or y_0 = x_0, no divisor
    running mean                 y_k = mean of the last w losses
    cumulative mean              y_k = mean of all losses so far
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit.dependence import dependence
from sedd.diagnosis.curve_fit.parabola import slow_curve

Array = NDArray[np.float64]

WEIGHTS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
"""Weights of exponential averages that are tried."""
WINDOWS = (*range(3, 22), 25, 30, 40, 50, 100, 200)
"""Windows of running means that are tried, in lines."""
LEAST_POINTS = 24
"""Lines below which no filter can be recognised."""
MOST_POINTS = 4000
"""Lines from the start that are used to recognise a filter."""
MARGIN = 8.0
"""Log-likelihood by which a filter must beat an unfiltered log."""
INDEPENDENT = (1.55, 2.6)
"""Mean square of the differences of neighbours over that of their distances from a slow curve: 2 for independent
losses. Between these values losses count as independent."""
SMOOTH = 1.3
"""The same, of losses as saved, above which no filter is looked for: a weak one does not matter."""
NARROW = 25
"""Lines over which the slow curve is a parabola, to see whether there may be a filter."""
WIDE = 201
"""The same, to see which filter it is: what a slow curve follows, it does not see. At most half of the lines."""
NEAR = 3.0
"""Log-likelihood by which another filter may be worse and is still possible."""
MOST_OTHERS = 4
"""Further filters that are kept, at most."""
SCALINGS = 8
"""Rounds in which the scale of the scatter converges."""
CLEAR = 60.0
"""Log-likelihood by which a filter beats an unfiltered log beyond doubt."""
_DEGREES = 4.0


@dataclass(frozen=True)
class Filter:
    """A filter that a log went through."""

    name: str
    """`none`, `exponential`, `exponential from the first loss`, `running mean` or `cumulative mean`."""
    amount: float = 0.0
    """Weight of an exponential average, window of a running mean in lines; else 0."""

    def undo(self, values: Array) -> Array:
        """The losses before the filter."""
        count = np.arange(1, len(values) + 1)
        match self.name:
            case "cumulative mean":
                return np.diff(values * count, prepend=0.0)
            case "running mean":
                window = int(self.amount)
                sums = values * np.minimum(count, window)
                grown = np.diff(sums, prepend=0.0)
                found = np.array(grown)
                for first in range(window, len(found), window):
                    part = slice(first, min(first + window, len(found)))
                    found[part] += found[first - window : first - window + len(found[part])]
                return found
            case "exponential":
                sums = values * -np.expm1(count * math.log(self.amount))
                before = np.concatenate([[0.0], sums[:-1]])
                return np.asarray((sums - self.amount * before) / (1.0 - self.amount))
            case "exponential from the first loss":
                before = np.concatenate([values[:1], values[:-1]])
                return np.asarray((values - self.amount * before) / (1.0 - self.amount))
        return values

    def amplifies(self, count: int) -> Array:
        """(count,): standard deviation of `undo` of independent errors of 1 in the values, at each value."""
        lines = np.arange(1.0, count + 1.0)
        match self.name:
            case "cumulative mean":
                return np.asarray(np.hypot(lines, lines - 1.0))
            case "running mean":  # errors add up from window to window
                return np.asarray(np.minimum(lines, self.amount) * np.sqrt(2.0 * np.ceil(lines / self.amount)))
            case "exponential" | "exponential from the first loss":
                return np.full(count, math.hypot(1.0, self.amount) / (1.0 - self.amount))
        return np.ones(count)

    def log_jacobian(self, count: int) -> float:
        """Log of |det| of `undo` for that many values."""
        lines = np.arange(1, count + 1)
        match self.name:
            case "cumulative mean":
                return float(np.log(lines).sum())
            case "running mean":
                return float(np.log(np.minimum(lines, self.amount)).sum())
            case "exponential":
                each = np.log(-np.expm1(lines * math.log(self.amount))) - math.log1p(-self.amount)
                return float(each.sum())
            case "exponential from the first loss":
                return -(count - 1) * math.log1p(-self.amount)
        return 0.0

    @property
    def words(self) -> str:
        """What was done to the log, in words; empty where nothing was."""
        match self.name:
            case "none":
                return ""
            case "running mean":
                return f"running means of about {self.amount:.0f} lines"
            case "cumulative mean":
                return "means over all lines so far"
        return f"exponential averages with weight {self.amount:g}"


NONE = Filter("none")


@dataclass(frozen=True, eq=False)
class Unfiltered:
    """A log before its filter."""

    losses: Array
    """(points,): the losses before the filter."""
    filter: Filter = NONE
    """The likeliest filter."""
    others: tuple[Filter, ...] = ()
    """Further filters that explain the log nearly as well, the likeliest first."""


def recognised(losses: Array, expected: Array) -> Unfiltered:
    """The filter that a log went through, and the losses before it.

    Args:
        losses: (points,), finite and positive.
        expected: (points,), log of the forecast, which moves with the curriculum.
    """
    if len(losses) < LEAST_POINTS:
        return Unfiltered(losses)
    head, forecast = losses[:MOST_POINTS], expected[:MOST_POINTS]
    # A disturbance makes lines alike where a slow curve does not follow it, a filter everywhere.
    everywhere = dependence(np.log(head) - forecast).found
    near = _score(head, forecast, NONE, NARROW)
    if near.ratio > SMOOTH and not everywhere:
        return Unfiltered(losses)
    wide = min(WIDE, len(head) // 2)
    plain = _score(head, forecast, NONE, wide)
    scores: dict[Filter, float] = {}
    for candidate in _candidates(len(head)):
        score = _score(head, forecast, candidate, wide)
        # A jump makes neighbours alike, too: then a much better score must do.
        independent = INDEPENDENT[0] < score.ratio < INDEPENDENT[1]
        clear = score.log_likelihood > plain.log_likelihood + CLEAR and score.ratio > 2.0 * plain.ratio
        if not (independent or clear) or score.log_likelihood < plain.log_likelihood + MARGIN:
            continue
        if everywhere or _score(head, forecast, candidate, NARROW).log_likelihood > near.log_likelihood + MARGIN:
            scores[candidate] = score.log_likelihood
    ordered = [filter_ for filter_ in sorted(scores, key=lambda f: -scores[f]) if _undoes(filter_, losses)]
    if not ordered:
        return Unfiltered(losses)
    best = ordered[0]
    others = [filter_ for filter_ in ordered[1:] if scores[filter_] > scores[best] - NEAR]
    return Unfiltered(best.undo(losses), best, tuple(others[:MOST_OTHERS]))


def _undoes(filter_: Filter, losses: Array) -> bool:
    return bool((filter_.undo(losses) > 0).all())


def _candidates(count: int) -> Iterator[Filter]:
    yield Filter("cumulative mean")
    for weight in WEIGHTS:
        if 3.0 / (1.0 - weight) > count:  # the same as a cumulative mean
            continue
        yield Filter("exponential", weight)
        yield Filter("exponential from the first loss", weight)
    for window in WINDOWS:
        if 3 * window < count:
            yield Filter("running mean", float(window))


@dataclass(frozen=True)
class _Score:
    """How well a filter explains the saved values."""

    log_likelihood: float
    """Of the saved values, if the losses before the filter scatter independently around a slow curve."""
    ratio: float
    """How independent neighbours are before the filter; 2: fully."""


def _score(values: Array, expected: Array, candidate: Filter, width: int) -> _Score:
    """The score of a filter, with the slow curve a parabola through so many lines."""
    before = candidate.undo(values)
    if (before <= 0).any():
        return _Score(-math.inf, math.inf)
    logs = np.log(before)
    left = logs - expected
    rest = left - slow_curve(left, width)
    limit = 6.0 * float(np.median(np.abs(rest)))
    clipped = np.clip(rest, -limit, limit)
    ratio = float((np.diff(clipped) ** 2).mean() / max(float((clipped**2).mean()), 1e-16))
    return _Score(_density(rest) + candidate.log_jacobian(len(values)) - float(logs.sum()), ratio)


def _density(values: Array) -> float:
    """Log density of Student's t, in four stretches of their own scale, which is that of maximum likelihood."""
    total = 0.0
    for part in np.array_split(values, 4):
        scale = max(1e-6, 1.4826 * float(np.median(np.abs(part))))
        for _ in range(SCALINGS):
            weights = (_DEGREES + 1.0) / (_DEGREES + (part / scale) ** 2)
            scale = max(1e-6, math.sqrt(float((weights * part**2).mean())))
        total += float((-(_DEGREES + 1.0) / 2.0 * np.log1p((part / scale) ** 2 / _DEGREES)).sum())
        total -= len(part) * math.log(scale)
    return total
