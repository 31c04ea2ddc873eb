"""The held-out bound of runs over a range of mask rates, at equal steps, equal residues and equal time.

The bound is an integral over the mask rate, and evaluations keep the part of it up to the end of each bin. Within a bin
it is interpolated linearly, and between two evaluations of a run, too; never beyond its last one. Standard errors
of sums and mixtures are bounded by adding those of the terms (as if these rose and fell together), so they are never
too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import EDGES
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord

Array = NDArray[np.float64]
Clock = Literal["steps", "residues", "seconds"]
CLOCKS: tuple[Clock, ...] = get_args(Clock)
Z95 = 1.96
"""Standard errors on either side of a 95 % interval."""
SHOWN = 4
"""Common points that are shown, the last one included."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The evaluations of one run; each array is (evaluations,), by increasing step."""

    run: str
    nats: Array = field(repr=False)
    """The bound over the range, nats per residue."""
    stderr: Array = field(repr=False)
    """Its standard error over sequences; NaN where unknown."""
    steps: Array = field(repr=False)
    residues: Array = field(repr=False)
    seconds: Array = field(repr=False)

    @staticmethod
    def of(run: str, history: History, mask_rates: tuple[float, float]) -> Curve:
        """The part of each bound of a run between two mask rates; evaluations that were not finite are left out."""
        parts = [(line, *part(line, *mask_rates)) for line in history.bounds]
        good = [(line, nats, stderr) for line, nats, stderr in parts if np.isfinite(nats)]
        columns = [
            np.array([getattr(line, name) for line, _, _ in good], dtype=np.float64)
            for name in ("step", "residues", "seconds")
        ]
        return Curve(run, np.array([n for _, n, _ in good]), np.array([s for _, _, s in good]), *columns)

    def along(self, clock: Clock) -> Array:
        """(evaluations,): where they are, by this clock."""
        array: Array = getattr(self, clock)
        return array

    def at(self, clock: Clock, point: float) -> tuple[float, float]:
        """The bound and its standard error at a point between the first and the last evaluation.

        Raises:
            ValueError: if the point lies outside.
        """
        there = self.along(clock)
        if not there[0] <= point <= there[-1]:
            raise ValueError(f"{self.run}: {clock} {point:g} is outside its evaluations, {there[0]:g} to {there[-1]:g}")
        return float(np.interp(point, there, self.nats)), float(np.interp(point, there, self.stderr))

    def to_json(self) -> dict[str, Any]:
        """Plain data; null for a standard error that is unknown."""
        lists = {name: getattr(self, name).tolist() for name in ("steps", "residues", "seconds", "nats")}
        return {"run": self.run, **lists, "stderr": [known(value) for value in self.stderr]}


@dataclass(frozen=True)
class Point:
    """The bounds of all runs at one common point; the first run is the one that others are held against."""

    at: float
    """Optimizer steps, residues or seconds."""
    nats: tuple[float, ...]
    """Of each run, nats per residue."""
    stderr: tuple[float, ...]

    def difference(self, other: int, first: int = 0) -> tuple[float, float]:
        """Bound of run `other` less that of run `first`, and its standard error as if they were independent.

        They are not: both are measured on the same sequences with the same noise, where the same sequences are hard for
        both. So this error is too large, never too small; `sedd.comparison.paired` has the right one.
        """
        return self.nats[other] - self.nats[first], float(np.hypot(self.stderr[other], self.stderr[first]))

    def to_json(self) -> dict[str, Any]:
        """Plain data, with 95 % intervals as half widths."""
        gaps = [self.difference(other) for other in range(1, len(self.nats))]
        return {
            "at": self.at,
            "nats": list(self.nats),
            "half_width": [known(Z95 * error) for error in self.stderr],
            "difference_to_first": [gap for gap, _ in gaps],
            "difference_half_width": [known(Z95 * error) for _, error in gaps],
        }


def part(line: BoundRecord, low: float, high: float) -> tuple[float, float]:
    """The part of a bound between two mask rates and its standard error, nats per residue."""
    if (low, high) == (0.0, 1.0):
        return line.nats, line.stderr if np.isfinite(line.stderr) else np.nan
    up_to, error = (np.concatenate([[0.0], array]) for array in (line.up_to, line.up_to_stderr))
    ends = np.interp([low, high], EDGES, up_to)
    errors = np.interp([low, high], EDGES, error)
    return float(ends[1] - ends[0]), float(errors.sum())


def align(curves: Sequence[Curve], clock: Clock) -> tuple[Point, ...]:
    """Every point at which at least one run was evaluated and no run has to be extrapolated; none if there is none."""
    every = [curve.along(clock) for curve in curves]
    first, last = max(float(each[0]) for each in every), min(float(each[-1]) for each in every)
    points = sorted({float(x) for each in every for x in each if first <= x <= last})
    found = []
    for point in points:
        values = [curve.at(clock, point) for curve in curves]
        found.append(Point(point, tuple(nats for nats, _ in values), tuple(error for _, error in values)))
    return tuple(found)


def few(points: Sequence[Point], count: int = SHOWN) -> tuple[Point, ...]:
    """At most `count` of them, spread evenly over their range, the last one always; none too near the one before."""
    if not points:
        return ()
    places = np.array([point.at for point in points])
    span = places[-1] - places[0]
    chosen: list[int] = [len(places) - 1]
    for share in range(count - 1, 0, -1):
        nearest = int(np.abs(places - (places[0] + span * share / count)).argmin())
        if places[chosen[0]] - places[nearest] > span / (2 * count):
            chosen.insert(0, nearest)
    return tuple(points[place] for place in chosen)


def known(value: float) -> float | None:
    """For JSON: None for what is not finite."""
    return float(value) if np.isfinite(value) else None
