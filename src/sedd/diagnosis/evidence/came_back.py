"""The held-out bound was worse for a while, and came back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sedd.diagnosis.bayes import Measured, log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.evaluations import Series, held_out

LEAST_RISE = 0.03
"""Rise of the bound, nats per residue, that is worth a sentence although it was made up later."""
SCALE = 0.15
"""Typical rise of a run that was unstable for a while, nats per residue."""
TOLERANCE = 0.1
"""Rise up to which a model that has recovered was not unstable, nats per residue."""


@dataclass(frozen=True)
class Rise:
    """A rise of the bound that was made up later."""

    first: int
    """Optimizer step of the best evaluation before it."""
    last: int
    """Optimizer step of the evaluation at its height."""
    size: Measured
    """How much worse it was there, nats per residue."""


def largest_rise(series: Series) -> Rise | None:
    """The largest rise that was made up later; None if none has a 95 % interval above `LEAST_RISE`."""
    found: Rise | None = None
    for high in range(1, len(series) - 1):
        low = int(series.nats[:high].argmin())
        size = series.minus(high, low)
        if size.low > (LEAST_RISE if found is None else found.size.low) and series.minus(high, -1).low > 0:
            found = Rise(int(series.steps[low]), int(series.steps[high]), size)
    return found


def came_back(facts: RunFacts) -> Evidence | None:
    """How much worse the bound was, nats per residue; None where it was not, where the last one is still above the best
    one, and in runs that were rolled back, which says it."""
    series = held_out(facts)
    rise = largest_rise(series)
    if rise is None or facts.history.rollbacks or series.minus(-1, series.best).low > LEAST_RISE:
        return None
    factor = log_bayes_factor(rise.size, scale=SCALE, tolerance=TOLERANCE) - math.log(len(series))
    return Evidence(factor, rise.size, (rise.first, rise.last))
