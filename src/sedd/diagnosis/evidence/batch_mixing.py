"""The network mixes the sequences of a batch."""

from __future__ import annotations

import math

from sedd.diagnosis.bayes import Measured, log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts

SCALE = 0.3
"""Typical change of the output for a sequence when the others of its batch change, in its standard deviations."""
TOLERANCE = 0.002
"""Change up to which it may be rounding: in bfloat16, of relative precision 0.004, that of few values."""


def batch_mixing(facts: RunFacts) -> Evidence | None:
    """Change of a sequence's output when the others of its batch change, of `sedd.evaluation.batch_mixing`.

    It is computed and not sampled: its error is 0. None in runs that did not record it.
    """
    known = [(b.step, b.batch_mixing) for b in facts.history.bounds if b.batch_mixing is not None]
    finite = [(step, value) for step, value in known if math.isfinite(value)]
    if not finite:
        return None
    value = finite[-1][1]
    mixing = [step for step, value in finite if value > TOLERANCE]
    factor = log_bayes_factor(Measured(value, 0.0), scale=SCALE, tolerance=TOLERANCE)
    return Evidence(factor, Measured(value, 0.0), (0, mixing[0]) if mixing else None)
