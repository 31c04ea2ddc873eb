"""The scatter of a curve: does it grow from some step on, does the loss oscillate, are there spikes?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit.series import Series
from sedd.diagnosis.curve_fit.spikes import Spikes, spikes

Array = NDArray[np.float64]
Sign = str

LEAST_RATIO = 1.5
"""Growth of the scatter, beyond that of the schedule, from which it is a fault."""
LEAST_SWING = 0.06
"""Relative scatter of one line below which it harms nothing."""
LEAST_WAVE = 0.03
"""Amplitude of an oscillation, relative to the loss, below which it harms nothing."""
LEAST_SIDE = 6
"""Lines on each side of a step from which on the scatter grows."""
MOST_ROUNDING = 0.3
"""Share of the scatter of a line that the rounding of the log may be."""
POWERS = (0.0, -0.25, -0.5)
"""Powers of the expected loss that the scatter of one line may have."""
PERIODS = 48
"""Periods of an oscillation that are tried."""
PENALTY = 4.0
"""Log of the odds against a change of the scatter or an oscillation at some step."""
CLEAR = 10.0
"""Log-likelihood of a growth of the scatter that is beyond doubt."""
NEVER = -25.0
"""Log-likelihood of what is not seen at all."""


@dataclass(frozen=True)
class Scatter:
    """The clearest sign of instability. The log-likelihood is relative to a scatter that stays as it is."""

    sign: Sign
    """`scatter`, `oscillation`, `spikes`, or empty."""
    log_likelihood: float
    since: tuple[int, int] | None
    """95 % interval of the step from which on it is seen."""
    size: float
    """`scatter`: that of one line after that step over that before; `oscillation`: amplitude relative to the loss;
    `spikes`: their number."""
    spikes: NDArray[np.int64]
    """Steps of isolated spikes."""


def scatter(series: Series, residuals: Array, expected_ratio: float) -> Scatter:
    """Judge the scatter.

    Args:
        residuals: (points,) distance of each log loss from the fit.
        expected_ratio: growth of the scatter over the ramp that the schedule predicts.
    """
    found = spikes(series)
    count = len(series.logs)
    signs: list[_Found] = [_many_spikes(series, found)]
    # Where undoing a filter makes scatter of the rounding of the log, scatter says nothing of the training.
    readable = float(np.max(series.rounded / series.scale, initial=0.0)) < MOST_ROUNDING
    if not readable and series.filter.words:
        return Scatter("", NEVER, None, 0.0, found.steps)
    if count >= 3 * LEAST_SIDE:
        signs += [_growth(series, expected_ratio), _oscillation(series, residuals)]
    sign, gain, since, size = max(signs, key=lambda entry: entry[1])
    if sign == "oscillation" and signs[1][1] > CLEAR:  # where the scatter began to grow is sharper
        since = signs[1][2]
    if gain <= NEVER:
        return Scatter("", NEVER, None, 0.0, found.steps)
    return Scatter(sign, gain, since, size, found.steps)


_Found = tuple[str, float, tuple[int, int] | None, float]


def _many_spikes(series: Series, found: Spikes) -> _Found:
    """More lines stand high above their neighbours than the scatter explains."""
    if not len(found.steps):
        return "spikes", NEVER, None, 0.0
    first = int(np.searchsorted(series.steps, found.steps[0]))
    return "spikes", max(found.log_bayes_factor, NEVER), _between(series, first), float(len(found.steps))


def _growth(series: Series, expected_ratio: float) -> _Found:
    """A scatter that grows from some step on.

    Fewer masked tokens scatter more, so the scatter may fall while the expected loss rises on the ramp. The power of
    the expected loss is open, with and without a growth.
    """
    away = (series.logs[2:] - 2 * series.logs[1:-1] + series.logs[:-2]) / math.sqrt(6.0)
    away = np.minimum(np.abs(away), 5 * 1.4826 * np.median(np.abs(away)) + 1e-9)
    level = series.expected[1:-1] - series.expected.max()
    count = len(away)
    splits = np.arange(LEAST_SIDE, count - LEAST_SIDE + 1)
    calm, gains, ratios = -np.inf, [], []
    for power in POWERS:
        sums = _Sums(away * np.exp(-power * level))
        before, after = sums.scale(0, splits), sums.scale(splits, count)
        # Overlapping second differences: about half of them are independent.
        shared = -0.5 * power * float(level.sum())
        calm = max(calm, shared - 0.5 * count * math.log(float(sums.scale(0, count))))
        gains.append(shared - 0.5 * (splits * np.log(before) + (count - splits) * np.log(after)))
        ratios.append(after / before)
    likeliest = (np.argmax(gains, axis=0), np.arange(len(splits)))
    gain, ratio = np.array(gains)[likeliest], np.array(ratios)[likeliest]
    swing = _Sums(away).scale(splits, count)
    odd = (ratio > LEAST_RATIO * max(1.0, expected_ratio)) & (swing > LEAST_SWING)
    if not odd.any():
        return "scatter", NEVER, None, 1.0
    gain = np.where(odd, gain - calm, -np.inf)
    weights = np.exp(0.5 * (gain - gain.max()))
    low, high = np.searchsorted(np.cumsum(weights) / weights.sum(), [0.025, 0.975])
    total = float(gain.max() + math.log(np.exp(gain - gain.max()).mean()) - PENALTY)
    steps = series.steps
    since = (
        int(steps[max(splits[low] - 1, 0)]),
        int(steps[min(splits[min(high, len(splits) - 1)] + 3, len(steps) - 1)]),
    )
    return "scatter", total, since, float(ratio[int(gain.argmax())])


def _oscillation(series: Series, residuals: Array) -> _Found:
    """A wave with a period of 2 to 14 lines from some line on: the least-squares fit of a cosine and a sine.

    Lines may be missing, so that time is counted in steps.
    """
    limit = 6 * 1.4826 * float(np.median(np.abs(residuals))) + 1e-9
    e = np.clip(residuals, -limit, limit)
    count = len(e)
    starts = np.unique(np.linspace(0, count - 3 * LEAST_SIDE + 4, 24).astype(int))
    power = _from_each(e * e)[starts]
    length = count - starts
    least = max(LEAST_WAVE, 0.5 * float(np.median(series.scale)))
    apart = np.diff(series.steps)
    line = max(float(np.quantile(apart, 0.05)), 1e-9)
    longest = min(14.0, float(series.steps[-1] - series.steps[0]) / line / 4)
    best: _Found = ("oscillation", NEVER, None, 0.0)
    for period in np.geomspace(2.0, max(longest, 2.0), PERIODS):
        explained = _explained(e, 2 * np.pi * (series.steps - series.steps[0]) / (line * period), starts)
        share = np.clip(explained / power, 0.0, 1.0 - 1e-6)
        amplitude = np.sqrt(2.0 * share * power / length)
        gain = np.where(amplitude > least, -0.5 * length * np.log1p(-share), -np.inf)
        k = int(gain.argmax())
        value = float(gain[k]) - math.log(PERIODS * len(starts)) - 2.0 * PENALTY
        if value > best[1]:
            near = np.flatnonzero(gain > gain[k] - 6.0)
            first = max(int(starts[max(near[0] - 1, 0)]), 0)
            last = int(starts[min(near[-1] + 1, len(starts) - 1)])
            best = ("oscillation", value, (int(series.steps[first]), int(series.steps[last])), float(amplitude[k]))
    return best


def _explained(values: Array, phase: Array, starts: NDArray[np.int64]) -> Array:
    """(starts,): sum of squares that a cosine and a sine of `phase` explain from each start to the end."""
    cosine, sine = np.cos(phase), np.sin(phase)
    cc, ss, cs, vc, vs = (
        _from_each(product)[starts]
        for product in (cosine * cosine, sine * sine, cosine * sine, values * cosine, values * sine)
    )
    # With a period of two lines there is a cosine and no sine: the ridge leaves it out.
    ridge = 1e-3 * (cc + ss)
    cc, ss = cc + ridge, ss + ridge
    return np.asarray((ss * vc**2 + cc * vs**2 - 2.0 * cs * vc * vs) / (cc * ss - cs**2))


def _from_each(values: Array) -> Array:
    """(points,): the sum from each point to the end."""
    return np.cumsum(values[::-1])[::-1]


class _Sums:
    """Root mean squares of any stretch."""

    def __init__(self, values: Array) -> None:
        self.total = np.concatenate([[0.0], np.cumsum(values**2)])

    def scale(self, first: NDArray[np.int64] | int, last: NDArray[np.int64] | int) -> Array:
        """Root mean square from `first` to before `last`."""
        count = np.asarray(last) - np.asarray(first)
        found: Array = np.sqrt(np.maximum((self.total[last] - self.total[first]) / np.maximum(count, 1), 1e-14))
        return found


def _between(series: Series, row: int) -> tuple[int, int]:
    """The interval between the line before a line and that line."""
    return int(series.steps[max(row - 1, 0)]), int(series.steps[row])
