"""Held-out data get worse than they were; the training data do not."""

from __future__ import annotations

import math

import numpy as np

from sedd.diagnosis.bayes import Measured, expected_minimum, log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.evaluations import Series, held_out, probe
from sedd.diagnosis.levels import MIN_LINES

SCALE = 0.1
"""Typical rise of a bound that overfits, nats per residue."""
TOLERANCE = 0.003
"""Rise up to which nothing is wrong, nats per residue."""


def worse_on_held_out(facts: RunFacts) -> Evidence | None:
    """The last held-out bound less the best one, nats per residue; None for fewer than two evaluations."""
    return _worse(held_out(facts))


def worse_on_seen(facts: RunFacts) -> Evidence | None:
    """The same on training sequences, with averaged weights; None without a probe."""
    return _worse(probe(facts))


def gap_growth(facts: RunFacts) -> Evidence | None:
    """Growth of (held-out bound - bound on training sequences) since the best held-out bound, nats per residue.

    None for fewer than two evaluations of both.
    """
    held, seen = held_out(facts), probe(facts)
    if len(held) < 2 or held.best == len(held) - 1:
        return None
    if len(held) == len(seen):
        trained = seen.minus(-1, held.best)
    elif (found := _change_of_training(facts, int(held.steps[held.best]))) is not None:
        trained = found
    else:
        return None
    growth = held.minus(-1, held.best) - trained
    return Evidence(log_bayes_factor(growth, scale=SCALE, tolerance=TOLERANCE), growth)


def _change_of_training(facts: RunFacts, step: int) -> Measured | None:
    """Change of the training loss at equal mask rates since a step, in nats per masked residue; None if unknown."""
    levels = facts.levels
    count = len(levels)
    at = int(np.searchsorted(levels.last, step))
    if count < 2 * MIN_LINES or at > count - MIN_LINES:
        return None
    before, now = (max(0, at - MIN_LINES), max(at, MIN_LINES)), (count - MIN_LINES, count)
    change, recent = levels.change(now, before), facts.lines[-1].bins
    level = float(recent.loss.sum()) / max(float(recent.drawn.sum()), 1e-12)
    return Measured(change.value * level, change.stderr * level)


def _worse(series: Series) -> Evidence | None:
    if len(series) < 2:
        return None
    best = series.best
    if best == len(series) - 1:
        # It still improves: as strong against a rise as the last step down is certain.
        return Evidence(log_bayes_factor(series.minus(-1, -2), scale=SCALE, tolerance=TOLERANCE), series.minus(-1, -2))
    rise = series.minus(-1, best)
    corrected = Measured(rise.value - expected_minimum(len(series)) * rise.stderr / math.sqrt(2.0), rise.stderr)
    numbers = {
        "best": series.bounds[best].nats,
        "best_step": float(series.steps[best]),
        "now": series.bounds[-1].nats,
        "step": float(series.steps[-1]),
    }
    factor = log_bayes_factor(corrected, scale=SCALE, tolerance=TOLERANCE)
    return Evidence(factor, rise, _turning_point(series), numbers)


def _turning_point(series: Series) -> tuple[int, int]:
    """Between which evaluations the series turned: all that cannot be told from the best one, and one more after."""
    best = series.best

    def as_good(index: int) -> bool:
        rise = series.minus(index, best)
        return rise.value < 2.0 * rise.stderr

    low = high = best
    while low > 0 and as_good(low - 1):
        low -= 1
    while high < len(series) - 1 and as_good(high + 1):
        high += 1
    return int(series.steps[low]), int(series.steps[min(high + 1, len(series) - 1)])
