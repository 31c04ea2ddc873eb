"""Logs that were smoothed before they were saved: which filter, and the series before it.

A filter is recognised by the likelihood of the saved values. Each filter here can be undone, x = T y; the density of
y is that of x times |det T|. Before a filter neighbouring losses scatter independently around a slow curve, so x is
scored by its distance from the mean of its neighbours.

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
SLOW = 25
"""Lines over which the slow curve is a running mean."""
BEFORE = 6
"""Lines before a loss whose mean predicts it."""
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


def recognised(losses: Array, expected: Array) -> tuple[Filter, Array]:
    """The filter that the finite, positive `losses` went through, and the losses before it.

    `expected` is the log of the forecast, which moves with the curriculum.
    """
    if len(losses) < LEAST_POINTS:
        return NONE, losses
    head, forecast = losses[:MOST_POINTS], expected[:MOST_POINTS]
    plain = _score(head, forecast, NONE)
    if plain.ratio > SMOOTH:
        return NONE, losses
    best, found = -math.inf, NONE
    for candidate in _candidates(len(head)):
        score = _score(head, forecast, candidate)
        # A jump makes neighbours alike, too: then a much better score must do.
        independent = INDEPENDENT[0] < score.ratio < INDEPENDENT[1]
        clear = score.around > plain.around + CLEAR and score.ratio > 2.0 * plain.ratio
        better = score.around > plain.around + MARGIN and score.before > best
        if (independent or clear) and better:
            best, found = score.before, candidate
    before = found.undo(losses)
    return (found, before) if (before > 0).all() else (NONE, losses)


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

    around: float
    """Log-likelihood of the saved values, if the losses before the filter scatter around a local parabola: then it does
    not depend on trends whether there was a filter."""
    before: float
    """The same around the mean of the losses just before: which filter it was is clearer then."""
    ratio: float
    """How independent neighbours are before the filter; 2: fully."""


def _score(values: Array, expected: Array, candidate: Filter) -> _Score:
    before = candidate.undo(values)
    if (before <= 0).any():
        return _Score(-math.inf, -math.inf, math.inf)
    logs = np.log(before)
    left = logs - expected
    rest = left - _slow(left)
    jacobian = candidate.log_jacobian(len(values)) - candidate.log_jacobian(BEFORE) - float(logs[BEFORE:].sum())
    clipped = np.clip(rest, *(np.median(np.abs(rest)) * np.array([-6.0, 6.0])))
    ratio = float((np.diff(clipped) ** 2).mean() / max(float((clipped**2).mean()), 1e-16))
    return _Score(_density(rest) + jacobian, _density(left) + jacobian, ratio)


def _density(values: Array) -> float:
    """Log density of each value around the mean of those before it, in four stretches of their own scale."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    away = values[BEFORE:] - (total[BEFORE:-1] - total[: -BEFORE - 1]) / BEFORE
    parts = np.array_split(away, 4)
    scale = np.concatenate([np.full(len(x), max(1e-6, 1.4826 * float(np.median(np.abs(x))))) for x in parts])
    density = -(_DEGREES + 1) / 2 * np.log1p((away / scale) ** 2 / _DEGREES) - np.log(scale)
    return float(density.sum())


def _slow(values: Array) -> Array:
    """The parabola through each value and its neighbours, at that value."""
    half = min(SLOW, len(values) - 1 + len(values) % 2) // 2
    x = np.arange(-half, half + 1) / max(half, 1)
    fit = np.linalg.pinv(np.stack([np.ones(len(x)), x, x * x], 1))
    found = np.empty(len(values))
    found[half : len(values) - half] = np.convolve(values, fit[0][::-1], "valid")
    for part, at in ((slice(0, len(x)), x[:half]), (slice(len(values) - len(x), len(values)), x[-half:])):
        coefficients = fit @ values[part]
        ends = np.polynomial.polynomial.polyval(at, coefficients)
        if part.start == 0:
            found[:half] = ends
        else:
            found[len(values) - half :] = ends
    return found
