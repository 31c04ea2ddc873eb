"""The training loss is above that of an untrained model at the same mask rates."""

from __future__ import annotations

import math

from sedd.diagnosis.bayes import Measured, log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diffusion.loss_profile import LossProfile

RECENT = 3
"""Lines that are pooled."""
SCALE = 0.3
"""Typical log ratio of a model that diverged so far."""
TOLERANCE = 0.05
"""Log ratio up to which nothing is wrong: first steps with a random head, and Monte Carlo error of few lines."""


def above_untrained(facts: RunFacts) -> Evidence | None:
    """Log ratio of the present loss to that of the uniform predictor; None where that is not known."""
    predictor = facts.predictors.get("untrained")
    if predictor is None or len(facts.lines) < RECENT:
        return None
    recent = facts.lines[-RECENT:]
    bins = sum((line.bins for line in recent), LossProfile())
    expected = float(bins.drawn @ predictor.values)
    loss = float(bins.loss.sum())
    if expected <= 0 or loss <= 0:
        return None
    size = max(float(bins.corrupted.sum()), 1.0)
    noise = facts.levels.noise
    # Before the noise is known: that of independent residues, whose loss scatters as much as its mean.
    error = math.sqrt((noise if math.isfinite(noise) else 1.0) / size)
    effect = Measured(math.log(loss / expected), max(error, 0.01))
    since = _since(facts, expected_over=1.0 + TOLERANCE)
    numbers = {"over_untrained": math.exp(effect.value)}
    # A loss below that of an untrained model does not exclude a divergence.
    return Evidence(max(0.0, log_bayes_factor(effect, scale=SCALE, tolerance=TOLERANCE)), effect, since, numbers)


def _since(facts: RunFacts, *, expected_over: float) -> tuple[int, int]:
    """The line from which on all lines are above an untrained model, and the one before it."""
    predictor = facts.predictors["untrained"]
    begin = len(facts.lines)
    while begin > 0:
        bins = facts.lines[begin - 1].bins
        if float(bins.loss.sum()) <= expected_over * float(bins.drawn @ predictor.values):
            break
        begin -= 1
    last = facts.lines[min(begin, len(facts.lines) - 1)].step
    return (facts.lines[begin - 1].step if begin else 0, last)
