"""The loss at equal mask rates is higher than it was."""

from __future__ import annotations

import math

from sedd.diagnosis.bayes import LEAST, MOST, log_bayes_factor, many_looks
from sedd.diagnosis.change_point import ChangePoint, change_point
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.levels import MIN_LINES, Levels

WINDOWS = (3, 10, 30)
"""Blocks that are pooled as the present."""
SCALE = 0.15
"""Typical log ratio of a divergence: 16 % more loss."""
TOLERANCE = 0.01
"""Log ratio up to which nothing is wrong: trained weights fluctuate."""


def divergence(facts: RunFacts) -> Evidence | None:
    """Log ratio of the present loss to that before its rise, at equal mask rates; None while it cannot be measured."""
    if len(facts.lines) < MIN_LINES + 3 or not math.isfinite(facts.levels.noise):
        return None
    found = [(factor_of(point), point) for window in WINDOWS if (point := _look(facts.levels, window)) is not None]
    if not found:
        return None
    factor, best = max(found, key=lambda pair: pair[0])
    since = (best.low, best.high) if factor > 0 else None
    return Evidence(many_looks([value for value, _ in found]), best.rise, since)


def factor_of(point: ChangePoint) -> float:
    """The evidence for a rise that matters: the weaker one of that for a rise and that for its size."""
    size = log_bayes_factor(point.rise, scale=SCALE, tolerance=TOLERANCE)
    return float(min(max(min(point.log_bayes_factor, size), LEAST), MOST))


def _look(levels: Levels, window: int) -> ChangePoint | None:
    """The series of all blocks, relative to the last `window`."""
    count = len(levels)
    if count < window + MIN_LINES:
        return None
    y, error = levels.series((count - window, count))
    wider = math.sqrt(levels.noise_of_last(window) / levels.noise)
    error[-window:] *= wider
    return change_point(levels.first, levels.last, y, error, recent=window)
