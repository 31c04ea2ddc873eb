"""Curves of the held-out bound over a range of mask rates, at equal steps, equal residues and equal time.

The bound is an integral over the mask rate m. An evaluation records its part up to the end of each bin, so

    bound(low, high) = up_to(high) - up_to(low)

with linear interpolation within a bin, and between two evaluations of a run; nothing is extrapolated. The standard
error of a difference or a mixture is the sum of those of its terms (perfect correlation), an upper bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import EDGES
from sedd.files import finite_or_none
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord

Array = NDArray[np.float64]
Clock = Literal["steps", "residues", "seconds"]
CLOCKS: tuple[Clock, ...] = get_args(Clock)
Z95 = 1.96
"""Standard errors on either side of a 95 % interval."""
SHOWN = 4
"""Number of common points in a table, the last one included."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The bounds of one run over a range of mask rates; each array is (evaluations,), by increasing step."""

    run: str
    nats: Array = field(repr=False)
    """The bound over the range, nats per residue."""
    stderr: Array = field(repr=False)
    """Standard error of each over sequences; NaN where unknown."""
    steps: Array = field(repr=False)
    residues: Array = field(repr=False)
    seconds: Array = field(repr=False)

    @staticmethod
    def of(run: str, history: History, mask_rates: tuple[float, float]) -> Curve:
        """Take the part of each bound between two mask rates, without evaluations that were not finite."""
        parts = [(bound, *part(bound, *mask_rates)) for bound in history.bounds]
        rows = [
            (nats, stderr, bound.step, bound.residues, bound.seconds)
            for bound, nats, stderr in parts
            if np.isfinite(nats)
        ]
        return Curve(run, *np.array(rows, np.float64).reshape(-1, 5).T)

    def positions(self, clock: Clock) -> Array:
        """(evaluations,): the steps, residues or seconds of the evaluations."""
        array: Array = getattr(self, clock)
        return array

    def at(self, clock: Clock, point: float) -> tuple[float, float]:
        """Interpolate the bound and its standard error. Raises ValueError if the point is not between the first and the
        last evaluation."""
        x = self.positions(clock)
        if not x[0] <= point <= x[-1]:
            raise ValueError(f"{self.run}: {clock} {point:g} is outside its evaluations, {x[0]:g} to {x[-1]:g}")
        return float(np.interp(point, x, self.nats)), float(np.interp(point, x, self.stderr))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; null for a standard error that is unknown."""
        lists = {name: getattr(self, name).tolist() for name in ("steps", "residues", "seconds", "nats")}
        return {"run": self.run, **lists, "stderr": [finite_or_none(value) for value in self.stderr]}


@dataclass(frozen=True)
class Point:
    """The bounds of all runs at one common point."""

    at: float
    """Optimizer steps, residues or seconds."""
    nats: tuple[float, ...]
    """Bound of each run, nats per residue."""
    stderr: tuple[float, ...]
    """Standard error of each; NaN where unknown."""

    def difference(self, other: int, first: int = 0) -> tuple[float, float]:
        """Bound of run `other` minus that of run `first`, and its standard error as if they were independent.

        Both runs are evaluated on the same sequences with the same noise, so their errors are positively correlated
        and this standard error is too large. `sedd.comparison.paired` computes the one of the paired difference.
        """
        return self.nats[other] - self.nats[first], float(np.hypot(self.stderr[other], self.stderr[first]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with 95 % intervals as half widths."""
        gaps = [self.difference(other) for other in range(1, len(self.nats))]
        return {
            "at": self.at,
            "nats": list(self.nats),
            "half_width": [finite_or_none(Z95 * error) for error in self.stderr],
            "difference_to_first": [gap for gap, _ in gaps],
            "difference_half_width": [finite_or_none(Z95 * error) for _, error in gaps],
        }


def part(bound: BoundRecord, low: float, high: float) -> tuple[float, float]:
    """The part of a bound between two mask rates and its standard error, nats per residue."""
    if (low, high) == (0.0, 1.0):
        return bound.nats, bound.stderr if np.isfinite(bound.stderr) else np.nan
    up_to, errors = (np.interp([low, high], EDGES, [0.0, *array]) for array in (bound.up_to, bound.up_to_stderr))
    return float(up_to[1] - up_to[0]), float(errors.sum())


def align(curves: Sequence[Curve], clock: Clock) -> tuple[Point, ...]:
    """The bounds at every point where some run was evaluated and none has to be extrapolated."""
    positions = [curve.positions(clock) for curve in curves]
    first, last = max(float(x[0]) for x in positions), min(float(x[-1]) for x in positions)
    points = []
    for at in sorted({float(at) for x in positions for at in x if first <= at <= last}):
        nats, stderr = zip(*(curve.at(clock, at) for curve in curves), strict=True)
        points.append(Point(at, nats, stderr))
    return tuple(points)


def evenly_spread(points: Sequence[Point], count: int = SHOWN) -> tuple[Point, ...]:
    """Choose at most `count` points, spread over their range, at least half a spacing apart; always the last one."""
    if not points:
        return ()
    x = np.array([point.at for point in points])
    span = x[-1] - x[0]
    chosen = [len(x) - 1]
    for part_of_span in range(count - 1, 0, -1):
        nearest = int(np.abs(x - (x[0] + span * part_of_span / count)).argmin())
        if x[chosen[0]] - x[nearest] > span / (2 * count):
            chosen.insert(0, nearest)
    return tuple(points[index] for index in chosen)
