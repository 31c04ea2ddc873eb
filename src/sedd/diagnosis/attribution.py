"""A change of the loss, split exactly into a part of the curriculum and a part of the model.

With bins b of mask rate, the loss of some steps is the sum of w_b P_b: w_b is the mask rate that their draws covered
in the bin, P_b the loss per unit of it (`sedd.diffusion.loss_profile`). Between two times,

    L' - L  =  sum (P_b + P_b') / 2 (e_b' - e_b)            difficulty: the curriculum allows other mask rates
             + sum (P_b + P_b') / 2 ((w_b' - e_b') - (w_b - e_b))   draw: Monte Carlo error of the drawn mask rates
             + sum (w_b + w_b') / 2 (P_b' - P_b)            learning: the loss at equal mask rate has changed

with e_b the expectation of w_b, a pure function of the configuration. The three parts sum to the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.predictors import Array, Predictor, nearest
from sedd.diffusion.loss_profile import BINS, EDGES, LossProfile, rounded
from sedd.errors import DataError
from sedd.runs.metrics import TrainRecord

RATIO_WEIGHT = 0.35
"""Weight of the first of the two extrapolations in `_extrapolated`."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """The split of one change of the training loss, nats per residue."""

    first: int
    """Optimizer step of the earlier loss."""
    last: int
    """Optimizer step of the later one."""
    before: float
    """The earlier loss."""
    after: float
    """The later loss."""
    difficulty_by_bin: Array
    """(BINS,): the part of the change that comes from the mask rates which the curriculum allows."""
    draw_by_bin: Array
    """(BINS,): the part that comes from the Monte Carlo error of the drawn mask rates."""
    learning_by_bin: Array
    """(BINS,): the part that comes from the model; negative where it got better."""
    assumed: NDArray[np.bool_]
    """(BINS,): bins without a measurement at one of the two times; it is extrapolated from the nearest bin."""

    @property
    def change(self) -> float:
        """`after` - `before`."""
        return self.after - self.before

    @property
    def difficulty(self) -> float:
        """The part of the curriculum, nats per residue."""
        return float(self.difficulty_by_bin.sum())

    @property
    def draw(self) -> float:
        """The Monte Carlo error of the drawn mask rates, nats per residue."""
        return float(self.draw_by_bin.sum())

    @property
    def learning(self) -> float:
        """The part of the model, nats per residue; negative if it got better."""
        return float(self.learning_by_bin.sum())

    @property
    def resting_on_assumption(self) -> float:
        """Size of the difficulty and learning parts in bins that were not measured at both times, nats per residue."""
        return float((np.abs(self.difficulty_by_bin) + np.abs(self.learning_by_bin))[self.assumed].sum())

    def moved(self, count: int = 3) -> list[tuple[float, float, float, float]]:
        """The `count` bins with the largest parts: lowest and highest mask rate, difficulty part, learning part."""
        size = np.abs(self.difficulty_by_bin) + np.abs(self.learning_by_bin)
        largest = [int(b) for b in np.argsort(-size)[:count] if size[b] > 0]
        return [
            (float(EDGES[b]), float(EDGES[b + 1]), float(self.difficulty_by_bin[b]), float(self.learning_by_bin[b]))
            for b in sorted(largest)
        ]

    def __str__(self) -> str:
        direction = "rose" if self.change > 0 else "fell"
        text = (
            f"From step {self.first:,} to {self.last:,} the loss {direction} by {abs(self.change):.4f} nats per "
            f"residue ({self.before:.4f} to {self.after:.4f}): difficulty {self.difficulty:+.4f}, "
            f"learning {self.learning:+.4f}, Monte Carlo error {self.draw:+.4f}."
        )
        if self.resting_on_assumption > 0.05 * max(abs(self.change), 1e-12):
            highest = EDGES[np.flatnonzero(self.assumed)[-1] + 1]
            text += (
                f" Of this, {self.resting_on_assumption:.4f} nats lie at mask rates (up to {highest:.0%}) that "
                "were not measured at both times and are extrapolated from the nearest measured mask rates."
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """The attribution as plain data."""
        names = (
            "first", "last", "before", "after", "change", "difficulty", "draw", "learning", "resting_on_assumption",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {
            "difficulty_by_mask_rate": rounded(self.difficulty_by_bin),
            "learning_by_mask_rate": rounded(self.learning_by_bin),
        }


def attribute(before: LossProfile, after: LossProfile, *, first: int, last: int) -> Attribution:
    """Split the difference of the losses of two groups of steps: sums `before` around `first`, `after` around `last`.

    Raises:
        DataError: if one of the groups has no loss by mask rate.
    """
    if not (before.drawn.any() and after.drawn.any()):
        raise DataError(f"steps {first:,} and {last:,}: no loss by mask rate was recorded; nothing can be attributed")
    w, w_after = before.drawn / before.residues, after.drawn / after.residues
    e, e_after = before.expected / before.residues, after.expected / after.residues
    measured, measured_after = np.isfinite(before.values), np.isfinite(after.values)
    p = np.where(measured, before.values, _extrapolated(before.values, after.values))
    p_after = np.where(measured_after, after.values, _extrapolated(after.values, before.values))
    middle, weight = (p + p_after) / 2, (w + w_after) / 2
    return Attribution(
        first=first,
        last=last,
        before=float(before.loss.sum() / before.residues),
        after=float(after.loss.sum() / after.residues),
        difficulty_by_bin=middle * (e_after - e),
        draw_by_bin=middle * ((w_after - e_after) - (w - e)),
        learning_by_bin=weight * (p_after - p),
        assumed=~(measured & measured_after) & ((e + e_after) > 0),
    )


def between(lines: Sequence[TrainRecord], first: int, last: int, *, span: int | None = None) -> Attribution:
    """Split the change between two optimizer steps of a run.

    Args:
        lines: of the run.
        first: the earlier step; the nearest line is taken.
        last: the later step; the nearest line is taken.
        span: optimizer steps around each that are pooled; by default a twentieth of the distance.

    Raises:
        DataError: if both steps are nearest to the same line.
    """
    steps = np.array([line.step for line in lines])
    if len(steps) < 2:
        raise DataError(f"the run has {len(steps)} logged steps; a change needs at least two (training.log_every)")
    a, b = (int(np.abs(steps - step).argmin()) for step in (first, last))
    if a == b:
        raise DataError(
            f"steps {first:,} and {last:,}: both are nearest to the line of step {steps[a]:,}; choose steps further "
            f"apart, between {steps[0]:,} and {steps[-1]:,}"
        )
    half = (abs(steps[b] - steps[a]) / 20 if span is None else span) / 2
    pools = [
        sum((line.bins for line in lines if abs(line.step - int(steps[at])) <= half), LossProfile()) for at in (a, b)
    ]
    return attribute(pools[0], pools[1], first=int(steps[a]), last=int(steps[b]))


@dataclass(frozen=True, eq=False)
class Cumulative:
    """The parts of the loss along a run, each summed up from its first line, nats per residue; one entry per line."""

    steps: Array
    loss: Array
    """Training loss of each line."""
    difficulty: Array
    """Part of the curriculum so far."""
    learning: Array
    """Part of the model so far."""
    draw: Array
    """Monte Carlo error of the drawn mask rates: scatters around 0."""


def cumulative(lines: Sequence[TrainRecord], *, smooth: int = 5) -> Cumulative:
    """The attribution of every change from line to line, summed up from the first line.

    Each line is pooled with up to `smooth` lines around it, so that a mask rate is rarely missing; `loss` is the mean
    of the pool, and `loss - loss[0]` is the sum of the three parts at every line.

    Raises:
        DataError: if the run has no line yet.
    """
    if not lines:
        raise DataError("the run has logged nothing yet; nothing can be attributed")
    pools = [
        sum((line.bins for line in lines[max(0, i - smooth // 2) : i + smooth // 2 + 1]), LossProfile())
        for i in range(len(lines))
    ]
    steps = [line.step for line in lines]
    parts = [
        attribute(a, b, first=first, last=last)
        for (a, b), (first, last) in zip(pairwise(pools), pairwise(steps), strict=True)
    ]

    def curve(values: list[float]) -> Array:
        return np.concatenate([[0.0], np.cumsum(values)])

    return Cumulative(
        steps=np.array(steps, np.float64),
        loss=np.array([pool.loss.sum() / pool.residues for pool in pools]),
        difficulty=curve([part.difficulty for part in parts]),
        learning=curve([part.learning for part in parts]),
        draw=curve([part.draw for part in parts]),
    )


def normalised(lines: Sequence[TrainRecord], predictor: Predictor) -> Array:
    """The loss of each line over that of `predictor` at the same mask rates, which is comparable at every difficulty.

    With the unigram model as predictor, 1 is a model as good as the token frequencies alone. (lines,)
    """
    per_bin = predictor.values
    expected = np.array([float(line.bins.drawn @ per_bin) for line in lines])
    ratios: Array = np.array([line.bins.loss.sum() for line in lines]) / np.maximum(expected, 1e-12)
    return ratios


def _extrapolated(values: Array, other: Array) -> Array:
    """Loss per unit of mask rate in bins without a measurement, from the nearest bin and the other time, (BINS,).

    A weighted mean of two extrapolations. In the first the two times differ by the same factor as in the nearest bin.
    In the second they differ by the same number of nats, which decreases to 0 at mask rate 1: where every residue is
    masked, all models that have learnt the token frequencies have the same loss. Compared with networks that were
    evaluated at mask rates they were not trained on, the two err in opposite directions.
    """
    near = nearest(values)
    shape = np.where(np.isfinite(other), other, nearest(other))
    measured = np.flatnonzero(np.isfinite(values))
    closest = measured[np.abs(np.arange(BINS)[:, None] - measured).argmin(1)]
    ratio = np.divide(near, shape[closest], out=np.ones(BINS), where=shape[closest] > 0)
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    decay = np.minimum((1.0 - middle) / (1.0 - middle[closest]), 1.0)
    by_ratio, by_difference = ratio * shape, shape + (near - shape[closest]) * decay
    extrapolated: Array = RATIO_WEIGHT * by_ratio + (1.0 - RATIO_WEIGHT) * by_difference
    return extrapolated
