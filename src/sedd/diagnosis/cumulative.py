"""The attribution of every change from line to line, summed up along a run, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.attribution import Attribution, attribute
from sedd.diagnosis.predictors import Array
from sedd.diagnosis.profile_error import ProfileError
from sedd.diagnosis.scatter import Lines
from sedd.diffusion.loss_profile import BINS, LossProfile
from sedd.errors import DataError
from sedd.evaluation.intervals import student
from sedd.runs.metrics import TrainRecord

MOST_POINTS = 500
"""Points of the curves of a long run."""


@dataclass(frozen=True, eq=False)
class Cumulative:
    """The parts of the loss along a run, each summed up from its first line, nats per residue; one entry per line.

    The edges are those of a 95 % interval at each line; NaN where too few lines tell it.
    """

    steps: Array
    loss: Array
    """Training loss of each line."""
    difficulty: Array
    """Part of the curriculum so far."""
    learning: Array
    """Part of the model so far."""
    draw: Array
    """Monte Carlo error of the drawn mask rates: scatters around 0."""
    difficulty_low: Array
    difficulty_high: Array
    learning_low: Array
    learning_high: Array


def pooled(records: Sequence[TrainRecord]) -> list[TrainRecord]:
    """The records of a run; of a long one neighbours are summed, so that at most `MOST_POINTS` remain."""
    size = max(1, -(-len(records) // MOST_POINTS))
    groups = (records[first : first + size] for first in range(0, len(records), size))
    return [replace(group[-1], bins=sum((record.bins for record in group), LossProfile())) for group in groups]


def cumulative(records: Sequence[TrainRecord], *, smooth: int = 5) -> Cumulative:
    """The attribution of every change from line to line, summed up from the first line.

    Each line is pooled with up to `smooth` lines around it, so that a mask rate is rarely missing; `loss` is the mean
    of the pool, and `loss - loss[0]` is the sum of the three parts at every line. Of a long run, neighbouring lines are
    summed first (`pooled`).

    Raises:
        DataError: if the run has no line yet.
    """
    if not records:
        raise DataError("the run has logged nothing yet; nothing can be attributed")
    records = pooled(records)
    lines = Lines.of(records)
    count = len(records)
    windows = [np.arange(max(0, i - smooth // 2), min(count, i + smooth // 2 + 1)) for i in range(count)]
    pools = [sum((records[int(i)].bins for i in window), LossProfile()) for window in windows]
    errors = _Errors(lines)
    parts, halves = [], [(0.0, 0.0)]
    for i in range(count - 1):
        part = attribute(
            pools[i], pools[i + 1], first=records[i].step, last=records[i + 1].step,
            error=ProfileError.of(lines, windows[i], windows[i + 1]),
        )  # fmt: skip
        parts.append(part)
        halves.append(errors.add(part, (pools[i], pools[i + 1]), (windows[i], windows[i + 1])))

    def curve(name: str) -> Array:
        return np.concatenate([[0.0], np.cumsum([getattr(part, name) for part in parts])])

    difficulty, learning = curve("difficulty"), curve("learning")
    of_difficulty, of_learning = np.array(halves).T
    return Cumulative(
        steps=np.array([record.step for record in records], np.float64),
        loss=np.array([pool.loss.sum() / pool.residues for pool in pools]),
        difficulty=difficulty,
        learning=learning,
        draw=curve("draw"),
        difficulty_low=difficulty - of_difficulty,
        difficulty_high=difficulty + of_difficulty,
        learning_low=learning - of_learning,
        learning_high=learning + of_learning,
    )


class _Errors:
    """Errors of the sums so far.

    A line belongs to several pools, and what it adds to one sum it takes away from the next. So the coefficient of the
    loss of each line and bin in the sums is kept, (2, lines, BINS) for difficulty and learning, and the variance is
    that of this linear form. The errors of extrapolations are the same while the pools share lines, and independent
    after that.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.coefficients = np.zeros((2, len(lines.residues), BINS))
        self.variance = np.zeros(2)
        self.guessed = 0.0
        self.quantile = student(lines.squares / 2) if lines.known else np.nan

    def add(
        self, part: Attribution, pools: tuple[LossProfile, LossProfile],
        windows: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> tuple[float, float]:  # fmt: skip
        """Add one change; returns half of the 95 % interval of the difficulty so far, and of the learning so far."""
        e, e_after = (pool.expected / pool.residues for pool in pools)
        middle, allowed = (e_after - e) / 2, (e + e_after) / 2
        touched = np.union1d(*windows)
        self.variance -= self._variance(touched)
        known, known_after = (pool.drawn > 0 for pool in pools)
        for row, (a, b) in enumerate(((middle, middle), (-allowed, allowed))):
            # What one of the two lacks is extrapolated from the other, and has its error.
            self.coefficients[row, windows[0]] += (a + b * ~known_after) * self.lines.shares(windows[0])
            self.coefficients[row, windows[1]] += (b + a * ~known) * self.lines.shares(windows[1])
        self.variance += self._variance(touched)
        self.guessed = float(np.hypot(self.guessed, np.sqrt(len(windows[1])) * part.extrapolation_error))
        difficulty, learning = self.quantile * np.sqrt(np.maximum(self.variance, 0.0))
        return float(np.hypot(difficulty, self.guessed)), float(np.hypot(learning, self.guessed))

    def _variance(self, touched: NDArray[np.int64]) -> Array:
        """(2,): what these lines add to the variance of the sums."""
        variance: Array = (self.coefficients[:, touched] ** 2 * self.lines.variance[touched]).sum((1, 2))
        return variance
