"""Spikes of the loss: are there more lines high above their neighbours than the scatter explains?

Two hypotheses are compared, each averaged over its unknowns (a Bayes factor, so that no penalty is needed):

    calm     every line scatters around the slow curve by Student's t, whose tails, skewness and width are open
    spikes   the same, and any line may be the start of a spike upwards, which often lasts for further lines

Scatter has tails on both sides. The lines below the slow curve show how heavy they are, those a little above it how
skew they are; only what lies beyond both is a spike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit.series import Series

Array = NDArray[np.float64]

LEAST_LINES = 20
"""Lines below which a spike cannot be told from scatter."""
MOST_LINES = 10_000
"""Lines that are looked at; of a longer log evenly spread stretches of `STRETCH` lines."""
STRETCH = 100
LEAST_HEIGHT, MOST_HEIGHT = math.log(1.1), math.log(8.0)
"""Heights of a spike in the log of the loss; their density is that of a log-uniform distribution."""
SCALES = 5.0
"""Height of an isolated spike in scales of the scatter."""
RATES = (0.01, 0.03, 0.1)
"""Shares of the lines at which a spike starts in an unstable run."""
LASTS = 0.4
"""Probability that the line after a spike is still high."""
FEW = 2
"""Spikes that are no instability."""
TAILS = {3.0: 0.1, 4.0: 0.25, 6.0: 0.25, 12.0: 0.2, 50.0: 0.2}
"""Prior of the degrees of freedom of the scatter."""
QUARTILES = {3.0: 0.7649, 4.0: 0.7407, 6.0: 0.7176, 12.0: 0.6955, 50.0: 0.6794}
"""Upper quartile of Student's t with these degrees of freedom."""
QUARTILE = 0.6745
"""Upper quartile of a Gaussian, in which `Series.scale` is measured."""
SKEWNESS = {1.0: 0.75, 1.3: 0.2, 1.7: 0.05}
"""Prior of the scatter upwards over that downwards."""
WIDTHS = (0.5, 0.7, 1.0, 1.25)
"""Scatter over `Series.scale`, which the neighbourhood of spikes widens."""
CERTAINLY = 4.0
"""Scales from which on a line is a spike beyond doubt: the slow curve is too high beside it."""
BESIDE = 4
"""Lines on each side of a spike at which the slow curve may be too high."""
IMPOSSIBLE = -700.0
"""Log of a density that is 0."""


@dataclass(frozen=True)
class Spikes:
    """What a curve shows of spikes."""

    steps: NDArray[np.int64]
    """Steps of isolated spikes; lines next to each other count once."""
    log_bayes_factor: float
    """Log of the probability of the curve with many spikes over that without; minus infinity where no spike is seen."""


def spikes(series: Series) -> Spikes:
    """Look for spikes in a curve."""
    if len(series.logs) < LEAST_LINES:
        return Spikes(np.zeros(0, np.int64), -math.inf)
    height = series.logs - series.slow
    away = height / np.minimum(series.scale, np.median(series.scale))
    high = (away > SCALES) & (height > LEAST_HEIGHT)
    steps = series.steps[high & ~np.concatenate([[False], high[:-1]])].astype(np.int64)
    if not len(steps):
        return Spikes(steps, -math.inf)
    shown = _shown(len(height))
    return Spikes(steps, _evidence(height[shown], away[shown]))


def _shown(count: int) -> NDArray[np.int64]:
    """Indices of the lines that are looked at."""
    lines = np.arange(count)
    if count <= MOST_LINES:
        return lines
    stretches = count // STRETCH
    kept = np.unique(np.linspace(0, stretches - 1, MOST_LINES // STRETCH).astype(np.int64))
    return lines[np.isin(lines // STRETCH, kept)]


def _evidence(height: Array, away: Array) -> float:
    """Log of the Bayes factor. Both arguments are (lines,): height above the slow curve in log loss, and in scales."""
    counts = _counts(height, away)
    spike = _density(height, away)
    calm, spiky = [], []
    for (freedom, heavy), (skew, share), width in product(TAILS.items(), SKEWNESS.items(), WIDTHS):
        scatter = _student(away, freedom, skew, width)
        # Of each line: the density of a spike over that of scatter; 1 where the line does not count.
        over = np.where(counts, np.exp(np.minimum(spike - scatter, -IMPOSSIBLE)), 1.0)
        weight = math.log(heavy * share) + float(scatter[counts].sum())
        calm.append(weight)
        spiky += [weight + _gain(over, rate) - math.log(len(RATES)) for rate in RATES]
    return float(np.logaddexp.reduce(spiky) - np.logaddexp.reduce(calm))


def _counts(height: Array, away: Array) -> NDArray[np.bool_]:
    """(lines,): whether a line counts. The `FEW` largest spikes do not, nor low lines beside a spike."""
    counts = np.ones(len(height), bool)
    high = np.flatnonzero((away > SCALES / 2) & (height > LEAST_HEIGHT))
    groups = np.split(high, np.flatnonzero(np.diff(high) > 1) + 1)
    groups.sort(key=lambda group: -float(np.log1p(away[group]).sum()))
    for group in groups[:FEW]:
        counts[group] = False
    certain = (away > CERTAINLY) & (height > LEAST_HEIGHT)
    beside = np.convolve(certain, np.ones(2 * BESIDE + 1), "same")[: len(height)] > 0
    return counts & ~(beside & (away < 0))


def _density(height: Array, away: Array) -> Array:
    """(lines,): log of the density of a spike, per scale of the scatter."""
    possible = (height > LEAST_HEIGHT) & (height < 1.5 * MOST_HEIGHT)
    # Log-uniform in the height, and so in scales: 1 / away.
    density = 1.0 / np.where(possible, away, 1.0) / math.log(MOST_HEIGHT / LEAST_HEIGHT)
    return np.where(possible, np.log(density), IMPOSSIBLE)


def _student(away: Array, freedom: float, skew: float, width: float) -> Array:
    """(lines,): log density of Student's t with another scale upwards than downwards, and its quartiles at `width`."""
    scale = width * QUARTILE / QUARTILES[freedom]
    up, down = scale * math.sqrt(skew), scale / math.sqrt(skew)
    peak = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
    apart = away / np.where(away > 0, up, down)
    return np.asarray(peak + math.log(2.0 / (up + down)) - (freedom + 1) / 2 * np.log1p(apart**2 / freedom))


def _gain(over: Array, rate: float) -> float:
    """Log-likelihood that spikes add: each line is one with `rate`, or more where the line before seems to be one."""
    seems = rate * over / (1.0 - rate + rate * over)
    rates = np.full(len(over), rate)
    rates[1:] += (LASTS - rate) * np.where(over[:-1] > 1.0, seems[:-1], 0.0)
    return float(np.log1p(rates * (over - 1.0)).sum())
