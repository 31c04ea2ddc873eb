"""The Monte Carlo variance of the loss by mask rate, measured from the lines of the run itself.

In bin b, line i has the loss per unit of mask rate P_ib = l_ib / w_ib, a mean over about n_ib corrupted residues, so
Var P_ib = s_b^2 / n_ib. The difference of two neighbouring lines has the variance s_b^2 (1 / n_ib + 1 / n_jb) around
what the model learnt between them. So each pair of lines gives one estimate of s_b^2 for each bin:

    ((P_jb - P_ib) - common change of all bins)^2 / (1 / n_ib + 1 / n_jb)

They are averaged over the lines around (s changes along a run) and over a few bins, as shares of the squared level of
each bin, which may differ by orders of magnitude. If all bins of a line move together by more than these variances
explain, because they share batches and a network, the variances are multiplied by the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.predictors import nearest
from sedd.diffusion.loss_profile import BINS, LossProfile
from sedd.runs.metrics import TrainRecord

Array = NDArray[np.float64]
NEAR = 20
"""Pairs of lines on each side of a line whose scatter counts for it."""
NEIGHBOURS = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
"""Weights of the bins around a bin."""
ENOUGH = 8.0
"""Weighted number of squares from which a bin has an estimate of its own."""
FEWEST = 12
"""Squares of all bins together below which the error of a run is not known."""
CAP = 100.0
"""A square counts for at most this many times the typical one of the run, so that one spike does not decide."""
CAP_SHARED = 10.0
"""The same for the squares of the mean over all bins."""
CHI2_MEDIAN = 0.4549
"""Median of a squared standard normal variable."""


@dataclass(frozen=True, eq=False)
class Lines:
    """The sums of all lines of a run as arrays, with the variance of each; arrays are (lines, BINS) or (lines,)."""

    middle: Array
    """(lines,): the middle of the optimizer steps of each line."""
    residues: Array
    """(lines,)"""
    loss: Array
    drawn: Array
    expected: Array
    variance: Array
    """Of the loss per unit of mask rate, (nats per unit of mask rate)^2; NaN while it is not known."""
    drift: Array
    """(lines,): change of the loss per unit of mask rate per optimizer step around each line, mean over bins."""
    level: Array
    """(BINS,): the loss per unit of mask rate over the whole run, nats; the nearest one where it was never drawn."""
    squares: int
    """Squares that the variance is estimated from; its degrees of freedom are about half as many."""

    @classmethod
    def of(cls, records: Sequence[TrainRecord]) -> Self:
        """The lines of a run in order."""
        bins = [record.bins for record in records]
        steps = np.array([record.step for record in records], np.float64)
        begin = np.concatenate([[max(0.0, 2 * steps[0] - steps[1])] if len(steps) > 1 else [0.0], steps[:-1]])
        loss, drawn, expected, corrupted = (
            np.array([getattr(each, name) for each in bins], np.float64).reshape(len(bins), BINS)
            for name in ("loss", "drawn", "expected", "corrupted")
        )
        sizes = np.where(drawn > 0, corrupted + 0.5, 0.0)
        variance, drift, squares = _variance(loss, drawn, sizes, (steps + begin) / 2)
        residues = np.array([each.residues for each in bins], np.float64)
        return cls((steps + begin) / 2, residues, loss, drawn, expected, variance, drift, _level(loss, drawn), squares)

    @property
    def known(self) -> bool:
        """Whether there are enough lines to know their scatter."""
        return self.squares >= FEWEST

    def pool(self, chosen: NDArray[np.int64]) -> LossProfile:
        """The sums over some lines; of the corrupted residues nothing is kept."""
        sums = (array[chosen].sum(0) for array in (self.loss, self.drawn, self.expected))
        return LossProfile(float(self.residues[chosen].sum()), *sums)

    def shares(self, chosen: NDArray[np.int64]) -> Array:
        """(chosen, BINS): the share of each line in the drawn mask rate of their pool; 0 where nothing was drawn."""
        total = self.drawn[chosen].sum(0)
        shares: Array = np.divide(self.drawn[chosen], total, out=np.zeros((len(chosen), BINS)), where=total > 0)
        return shares


def _variance(loss: Array, drawn: Array, sizes: Array, middle: Array) -> tuple[Array, Array, int]:
    """Variance of each line's loss per unit of mask rate (lines, BINS), drift (lines,), number of squares."""
    count = len(loss)
    if count < 2:
        return np.full((count, BINS), np.nan), np.zeros(count), 0
    level = _level(loss, drawn)
    relative = np.divide(loss, drawn, out=np.zeros_like(loss), where=drawn > 0) / level
    both = (drawn[1:] > 0) & (drawn[:-1] > 0)
    inverse = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    unit = np.where(both, inverse[1:] + inverse[:-1], 1.0)
    difference = np.where(both, relative[1:] - relative[:-1], 0.0)
    spread = np.ones(BINS)
    change = np.zeros(count - 1)
    squares = np.zeros_like(difference)
    for _ in range(2):  # the common change is a mean weighted by the variance, which the first pass estimates
        weight = both / (unit * spread)
        change = (weight * difference).sum(1) / np.maximum(weight.sum(1), 1e-300)
        lost = 1.0 - weight / np.maximum(weight.sum(1, keepdims=True), 1e-300)  # by the fit of the common change
        squares = both * (difference - change[:, None]) ** 2 / (unit * np.maximum(lost, 0.05))
        squares[lost < 0.05] = 0.0
        spread = _smooth(squares.sum(0), both.sum(0).astype(np.float64))
        spread = np.where(spread > 0, spread, 1.0)  # few lines of one bin each: nothing is left beside the change
    squares = np.minimum(squares, CAP * _typical(squares, both, spread))
    near = _smooth(_rolling(squares), _rolling(both.astype(np.float64))) * inverse
    near *= _overdispersion(relative, near)
    number = int(both.sum()) - int(both.any(1).sum())
    mean_level = float(loss.sum() / max(drawn.sum(), 1e-300))
    drift = np.interp(middle, (middle[1:] + middle[:-1]) / 2, change * mean_level / np.maximum(np.diff(middle), 1e-12))
    variance = near * level**2
    return (variance if number >= FEWEST else np.full_like(variance, np.nan)), drift, number


def _overdispersion(relative: Array, variance: Array) -> float:
    """How much more all bins together scatter than their variances say if they were independent; at least 1.

    The bins of a line share its network and its batches. From the second differences of the lines, each the mean over
    bins, weighted by the inverse of its variance.
    """
    middle, around = variance[1:-1], variance[:-2] + variance[2:]
    expected = np.where((variance[:-2] > 0) & (middle > 0) & (variance[2:] > 0), middle + around / 4, np.inf)
    weights = (1.0 / expected).sum(1)
    bent = ((relative[1:-1] - (relative[:-2] + relative[2:]) / 2) / expected).sum(1) ** 2
    shares = np.divide(bent, weights, out=np.zeros(len(bent)), where=weights > 0)[weights > 0]
    return max(1.0, float(np.minimum(shares, CAP_SHARED).mean())) if len(shares) else 1.0


def _level(loss: Array, drawn: Array) -> Array:
    """(BINS,): mean loss per unit of mask rate; a bin without one has that of the nearest bin."""
    total = drawn.sum(0)
    level = np.divide(loss.sum(0), total, out=np.full(BINS, np.nan), where=total > 0)
    return np.maximum(np.abs(nearest(level)), 1e-12) if np.isfinite(level).any() else np.ones(BINS)


def _typical(squares: Array, both: NDArray[np.bool_], spread: Array) -> float | Array:
    """(BINS,): the square that is typical in each bin, by the median over all bins as shares of their means."""
    shares = (squares / np.maximum(spread, 1e-300))[both]
    median = float(np.median(shares)) if len(shares) else 1.0
    return spread * median / CHI2_MEDIAN if median > 0 else np.inf


def _rolling(values: Array) -> Array:
    """Sums over the `NEAR` pairs of lines on each side of every line; (pairs, BINS) becomes (lines, BINS)."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    line = np.arange(len(values) + 1)
    rolled: Array = sums[np.minimum(line + NEAR, len(values))] - sums[np.maximum(line - NEAR, 0)]
    return rolled


def _smooth(sums: Array, counts: Array) -> Array:
    """Mean squares over each bin and its neighbours; over all bins where these have too few squares. (..., BINS)."""
    half = len(NEIGHBOURS) // 2
    padding = [(0, 0)] * (sums.ndim - 1) + [(half, half)]
    padded_sums, padded_counts = np.pad(sums, padding), np.pad(counts, padding)
    around, number = np.zeros_like(sums), np.zeros_like(sums)
    for offset, weight in enumerate(NEIGHBOURS / NEIGHBOURS.max()):
        around += weight * padded_sums[..., offset : offset + BINS]
        number += weight * padded_counts[..., offset : offset + BINS]
    everywhere = sums.sum(-1, keepdims=True) / np.maximum(counts.sum(-1, keepdims=True), 1e-300)
    own = np.minimum(number / ENOUGH, 1.0)
    mean: Array = own * around / np.maximum(number, 1e-300) + (1.0 - own) * everywhere
    return mean
