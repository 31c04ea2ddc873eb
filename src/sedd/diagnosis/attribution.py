"""A change of the loss, split exactly into a part of the curriculum and a part of the model, with their errors.

With bins b of mask rate, the loss of some steps is the sum of w_b P_b: w_b is the mask rate that their draws covered
in the bin, P_b the loss per unit of it (`sedd.diffusion.loss_profile`). Between two times,

    L' - L  =  sum (P_b + P_b') / 2 (e_b' - e_b)      difficulty: the curriculum allows other mask rates
             + sum (e_b + e_b') / 2 (P_b' - P_b)      learning: the loss at equal mask rate has changed
             + sum P_b' (w_b' - e_b') - P_b (w_b - e_b)     draw: Monte Carlo error of the drawn mask rates

with e_b the expectation of w_b, a pure function of the configuration. The three parts sum to the change.

Difficulty and learning estimate what evaluating each of the two networks at the difficulty of each would give. Each
part is linear in P and P', whose Monte Carlo variance the scatter between the lines of the run gives
(`sedd.diagnosis.scatter`); lines that belong to both times are counted once. To it are added the error of what was not
measured (`sedd.diagnosis.unmeasured`), and two smaller ones (`sedd.diagnosis.profile_error`): a bin that was drawn
rather early or late in the lines that are pooled, and one that is open in part. All intervals are 95 % intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.predictors import Array, Predictor
from sedd.diagnosis.profile_error import NO_ERROR, ProfileError
from sedd.diagnosis.scatter import Lines
from sedd.diagnosis.unmeasured import fill
from sedd.diffusion.loss_profile import EDGES, LossProfile, rounded
from sedd.errors import DataError
from sedd.evaluation.intervals import decimals, plus_minus
from sedd.runs.metrics import TrainRecord

PARTS = ("difficulty", "learning", "draw")
Interval = tuple[float, float]


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
    """(BINS,): bins without a measurement at one of the two times; it is extrapolated from the nearest bins."""
    difficulty_error: float = math.nan
    """Half of the 95 % interval of `difficulty`, nats per residue; NaN where too few lines tell it."""
    learning_error: float = math.nan
    """Half of the 95 % interval of `learning`."""
    draw_error: float = math.nan
    """Half of the 95 % interval of `draw`."""
    extrapolation_error: float = math.nan
    """Half of the 95 % interval that the bins `assumed` alone give difficulty and learning, with opposite signs."""

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
    def difficulty_interval(self) -> Interval:
        """95 % interval of `difficulty`; NaN where it is not known."""
        return self.difficulty - self.difficulty_error, self.difficulty + self.difficulty_error

    @property
    def learning_interval(self) -> Interval:
        """95 % interval of `learning`; NaN where it is not known."""
        return self.learning - self.learning_error, self.learning + self.learning_error

    @property
    def draw_interval(self) -> Interval:
        """95 % interval of `draw`; NaN where it is not known."""
        return self.draw - self.draw_error, self.draw + self.draw_error

    @property
    def known(self) -> bool:
        """Whether the errors are known."""
        return math.isfinite(self.learning_error)

    def moved(self, count: int = 3) -> list[tuple[float, float, float, float]]:
        """The `count` bins with the largest parts: lowest and highest mask rate, difficulty part, learning part."""
        size = np.abs(self.difficulty_by_bin) + np.abs(self.learning_by_bin)
        largest = [int(b) for b in np.argsort(-size)[:count] if size[b] > 0]
        return [
            (float(EDGES[b]), float(EDGES[b + 1]), float(self.difficulty_by_bin[b]), float(self.learning_by_bin[b]))
            for b in sorted(largest)
        ]

    @property
    def digits(self) -> int:
        """Decimals that are worth printing: two significant digits of the smaller of the two errors that is not 0."""
        errors = [error for error in (self.difficulty_error, self.learning_error) if error > 0]
        return decimals(min(errors, default=math.nan), of=(self.difficulty, self.learning))

    def __str__(self) -> str:
        direction, digits = "rose" if self.change > 0 else "fell", self.digits
        difficulty, learning = (
            plus_minus(value, error)
            for value, error in ((self.difficulty, self.difficulty_error), (self.learning, self.learning_error))
        )
        text = (
            f"From step {self.first:,} to {self.last:,} the loss {direction} by {abs(self.change):.{digits}f} nats per "
            f"residue ({self.before:.{digits}f} to {self.after:.{digits}f}): difficulty {difficulty}, learning "
            f"{learning}, Monte Carlo error of the drawn mask rates {self.draw:+.{digits}f}"
        )
        if not self.known:
            return f"{text}. How far off the parts may be is not known: too few lines were logged."
        text += " (± is half of a 95 % interval)."
        if self.extrapolation_error > 0.3 * self.learning_error:
            highest = EDGES[np.flatnonzero(self.assumed)[-1] + 1]
            text += (
                f" Of the ±, {self.extrapolation_error:.{digits}f} is for mask rates (up to {highest:.0%}) that were "
                "not measured at both times: there the loss is extrapolated."
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """The attribution as plain data; an interval that is not known is null."""
        data: dict[str, Any] = {name: getattr(self, name) for name in ("first", "last", "before", "after", "change")}
        for name in PARTS:
            low, high = getattr(self, f"{name}_interval")
            data |= {name: getattr(self, name), f"{name}_interval": [low, high] if math.isfinite(low) else None}
        return data | {
            "extrapolation_error": self.extrapolation_error if self.known else None,
            "difficulty_by_mask_rate": rounded(self.difficulty_by_bin),
            "learning_by_mask_rate": rounded(self.learning_by_bin),
        }


def attribute(
    before: LossProfile, after: LossProfile, *, first: int, last: int, error: ProfileError = NO_ERROR
) -> Attribution:
    """Split the difference of the losses of two groups of steps: sums `before` around `first`, `after` around `last`.

    Without `error` the parts have no intervals.

    Raises:
        DataError: if one of the groups has no loss by mask rate.
    """
    if not (before.drawn.any() and after.drawn.any()):
        raise DataError(f"steps {first:,} and {last:,}: no loss by mask rate was recorded; nothing can be attributed")
    w, w_after = before.drawn / before.residues, after.drawn / after.residues
    e, e_after = before.expected / before.residues, after.expected / after.residues
    measured, measured_after = np.isfinite(before.values), np.isfinite(after.values)
    old = fill(before.values, after.values, error.before, error.after, error.level)
    new = fill(after.values, before.values, error.after, error.before, error.level)
    middle, allowed = (e_after - e) / 2, (e + e_after) / 2
    missing = ~measured & ~measured_after
    inside = error.inside(e, e_after)

    def half_width(a: Array, b: Array) -> tuple[float, float]:
        """Of sum a P + b P': half of the 95 % interval, and that of the extrapolated bins alone."""
        a_old, b_new = np.where(measured, a + b * new.share, 0.0), np.where(measured_after, b + a * old.share, 0.0)
        variance = a_old**2 * error.before + b_new**2 * error.after + 2 * a_old * b_new * error.both
        moved = float(a_old @ error.early + b_new @ error.late)
        old_guess, new_guess = np.abs(a) * old.stderr, np.abs(b) * new.stderr
        guesses = old_guess[~missing].sum(), new_guess[~missing].sum(), (old_guess + new_guess)[missing].sum()
        guessed = float(np.linalg.norm(guesses))
        total = math.sqrt(max(0.0, float(variance.sum())) + moved**2 + guessed**2 + inside**2)
        return error.quantile * total, error.quantile * guessed

    learning_error, extrapolation_error = half_width(-allowed, allowed)
    return Attribution(
        first=first,
        last=last,
        before=float(before.loss.sum() / before.residues),
        after=float(after.loss.sum() / after.residues),
        difficulty_by_bin=(old.values + new.values) * middle,
        draw_by_bin=new.values * (w_after - e_after) - old.values * (w - e),
        learning_by_bin=allowed * (new.values - old.values),
        assumed=~(measured & measured_after) & ((e + e_after) > 0),
        difficulty_error=half_width(middle, middle)[0],
        learning_error=learning_error,
        draw_error=half_width(-(w - e), w_after - e_after)[0],
        extrapolation_error=extrapolation_error,
    )


def between(records: Sequence[TrainRecord], first: int, last: int, *, span: int | None = None) -> Attribution:
    """Split the change between two optimizer steps of a run.

    Args:
        records: the lines of the run.
        first: the earlier step; the nearest line is taken.
        last: the later step; the nearest line is taken.
        span: optimizer steps around each that are pooled; by default a twentieth of the distance.

    Raises:
        DataError: if both steps are nearest to the same line.
    """
    steps = np.array([record.step for record in records])
    if len(steps) < 2:
        raise DataError(f"the run has {len(steps)} logged steps; a change needs at least two (training.log_every)")
    a, b = (int(np.abs(steps - step).argmin()) for step in (first, last))
    if a == b:
        raise DataError(
            f"steps {first:,} and {last:,}: both are nearest to the line of step {steps[a]:,}; choose steps further "
            f"apart, between {steps[0]:,} and {steps[-1]:,}"
        )
    half = (abs(steps[b] - steps[a]) / 20 if span is None else span) / 2
    lines = Lines.of(records)
    pools = [np.flatnonzero(np.abs(steps - steps[at]) <= half) for at in (a, b)]
    return attribute(
        *(lines.pool(pool) for pool in pools),
        first=int(steps[a]), last=int(steps[b]), error=ProfileError.of(lines, *pools),
    )  # fmt: skip


def normalised(lines: Sequence[TrainRecord], predictor: Predictor) -> Array:
    """The loss of each line over that of `predictor` at the same mask rates, which is comparable at every difficulty.

    With the unigram model as predictor, 1 is a model as good as the token frequencies alone. (lines,)
    """
    per_bin = predictor.values
    expected = np.array([float(line.bins.drawn @ per_bin) for line in lines])
    ratios: Array = np.array([line.bins.loss.sum() for line in lines]) / np.maximum(expected, 1e-12)
    return ratios
