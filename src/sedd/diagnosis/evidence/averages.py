"""The averaged weights (EMA) do not follow the trained ones."""

from __future__ import annotations

from sedd.diagnosis.bayes import log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.evaluations import difference, probe

SCALE = 0.3
"""Typical loss by averages that do not follow, nats per residue."""
TOLERANCE = 0.02
"""Loss up to which nothing is wrong, nats per residue."""


def averages(facts: RunFacts) -> Evidence | None:
    """Bound on training sequences with averaged weights less that with raw weights half as many steps ago.

    Averages follow with a delay. A delay of more than half of the run is a fault. In nats per residue; None without a
    probe, or before two evaluations.
    """
    raw, average = probe(facts, raw=True), probe(facts)
    if len(average) < 2 or len(raw) != len(average):
        return None
    half = raw.before(average.steps[-1] / 2)
    earlier = 0 if half is None else half
    behind = difference(average.bounds[-1], raw.bounds[earlier], average.sequences)
    now = difference(average.bounds[-1], raw.bounds[-1], average.sequences)
    factor = log_bayes_factor(behind, scale=SCALE, tolerance=TOLERANCE)
    factor = min(factor, log_bayes_factor(now, scale=SCALE, tolerance=TOLERANCE))
    share = facts.history.bounds[-1].ema_initial_share
    numbers = {
        "average": average.bounds[-1].nats,
        "raw": raw.bounds[-1].nats,
        "initial_share": float("nan") if share is None else share,
    }
    return Evidence(factor, now, (0, int(average.steps[0])), numbers)
