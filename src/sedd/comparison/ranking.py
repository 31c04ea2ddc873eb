"""Runs in the order of their held-out bounds; runs that are not distinguishable share a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sedd.comparison.bound_curves import Z95, Point
from sedd.comparison.recorded import NEGLIGIBLE, RecordedRun
from sedd.evaluation.paired import paired_difference
from sedd.files import finite_or_none
from sedd.runs.metrics import BoundRecord


@dataclass(frozen=True)
class Ranked:
    """One run of a ranking; bounds in nats per residue."""

    place: int
    """1 and the number of runs that are better by more than the 95 % interval of their difference."""
    run: str
    nats: float
    """Its bound at the last optimizer step that all runs reached, over the mask rates that all were trained on."""
    stderr: float
    """Standard error of `nats` over sequences; NaN where unknown."""
    behind: float
    """Its bound minus that of the best run; 0 for that run."""
    behind_stderr: float
    """Standard error of `behind` over sequences; NaN where unknown."""
    paired: bool
    """Whether `behind_stderr` is that of the differences by sequence. Otherwise it is that of independent evaluations,
    which is too large."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `behind`."""
        return self.behind - Z95 * self.behind_stderr, self.behind + Z95 * self.behind_stderr

    def to_dict(self) -> dict[str, Any]:
        """Plain data; 95 % intervals as half widths."""
        return {
            "place": self.place,
            "run": self.run,
            "nats": self.nats,
            "half_width": finite_or_none(Z95 * self.stderr),
            "behind": self.behind,
            "behind_half_width": finite_or_none(Z95 * self.behind_stderr),
            "paired": self.paired,
        }


def ranking(runs: Sequence[RecordedRun], point: Point, mask_rates: tuple[float, float]) -> tuple[Ranked, ...]:
    """Rank runs at a common optimizer step, the best first.

    Args:
        runs: whose bounds may be compared.
        point: their bounds, in the same order.
        mask_rates: over which these bounds are.
    """
    order = sorted(range(len(runs)), key=lambda run: (point.nats[run], run))
    full = mask_rates[0] <= NEGLIGIBLE and mask_rates[1] >= 1.0 - NEGLIGIBLE
    bounds = [_evaluated_at(run, point.at) if full else None for run in runs]

    def difference(worse: int, better: int) -> tuple[float, float, bool]:
        gap, error = point.difference(worse, better)
        found = _paired(runs[worse], bounds[worse], runs[better], bounds[better])
        return (gap, error, False) if found is None else (gap, found, True)

    ranked = []
    for index, run in enumerate(order):
        surely = [other for other in order[:index] for gap, error, _ in [difference(run, other)] if gap > Z95 * error]
        behind = difference(run, order[0]) if index else (0.0, 0.0, False)
        ranked.append(Ranked(1 + len(surely), runs[run].name, point.nats[run], point.stderr[run], *behind))
    return tuple(ranked)


def _evaluated_at(run: RecordedRun, step: float) -> BoundRecord | None:
    return next((bound for bound in run.history.bounds if bound.step == step), None)


def _paired(
    first: RecordedRun, bound: BoundRecord | None, other: RecordedRun, other_bound: BoundRecord | None
) -> float | None:
    """The standard error of a difference by sequence; None where the values by sequence are not of the same ones."""
    evaluated, other_evaluated = first.history.evaluated, other.history.evaluated
    if bound is None or other_bound is None or evaluated is None or other_evaluated is None:
        return None
    residues = evaluated.held_out.residues
    known = len(bound.by_sequence) == len(other_bound.by_sequence) == len(residues) > 2
    if not known or not np.array_equal(residues, other_evaluated.held_out.residues):
        return None
    error = paired_difference(bound.by_sequence, other_bound.by_sequence, residues).stderr
    return error if np.isfinite(error) else None
