"""The model stands on a rung of the ladder (uniform predictor, unigram model) and does not improve."""

from __future__ import annotations

import math

from sedd.diagnosis.bayes import MOST, Measured, log_near_zero
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.evaluations import Series, held_out, probe
from sedd.diagnosis.levels import MIN_LINES

RUNG_SCALE = 0.15
"""Typical distance of a model that learns from the rung below it, nats per residue."""
RUNG_TOLERANCE = 0.006
"""Distance from a rung at which a model still stands on it, nats per residue."""
GAIN_SCALE = 0.03
"""Typical improvement over the last half of a run that learns, nats per residue."""
GAIN_TOLERANCE = 0.003
"""Improvement up to which a model does not improve, nats per residue."""


def uniform_plateau(facts: RunFacts) -> Evidence | None:
    """How far the model is below the uniform predictor, nats per residue; None where that is not known."""
    series, data = _model(facts), facts.history.data
    if data is None or not len(series) or not _settled(facts, series):
        return None
    uniform = math.log(len(data.token_counts))
    return _standing(series, Measured(uniform - series.bounds[-1].nats, series.bounds[-1].stderr))


def unigram_plateau(facts: RunFacts) -> Evidence | None:
    """How far the model is below the unigram model, nats per residue; None where that is not known."""
    series = _model(facts)
    if not len(series) or not _settled(facts, series):
        return None
    below = series.below(len(series) - 1, "unigram")
    return None if below is None else _standing(series, below)


def late_plateau(facts: RunFacts) -> Evidence | None:
    """The held-out bound has not improved for `monitoring.patience` steps: by how much it did not, nats per residue."""
    series = held_out(facts)
    if len(series) < 2:
        return None
    best = series.best
    waited = int(series.steps[-1] - series.steps[best])
    if waited < facts.config.monitoring.patience:
        return None
    gain = series.minus(best, -1)
    numbers = {"best": series.bounds[best].nats, "waited": float(waited)}
    # The user has said what a plateau is, so there is no doubt about it.
    return Evidence(MOST, gain, (int(series.steps[best]), int(series.steps[best])), numbers)


def _model(facts: RunFacts) -> Series:
    """What the trained weights know: of training sequences where they are evaluated, else of held-out ones."""
    raw = probe(facts, raw=True)
    return raw if len(raw) else held_out(facts)


def _settled(facts: RunFacts, series: Series) -> bool:
    """Whether the last evaluation lies well after the warm-up, and there are enough lines to see a trend."""
    return int(series.steps[-1]) >= 2 * facts.config.optim.warmup and len(facts.lines) >= 2 * MIN_LINES


def _standing(series: Series, below: Measured) -> Evidence:
    on_rung = log_near_zero(below, scale=RUNG_SCALE, tolerance=RUNG_TOLERANCE)
    half = series.before(series.steps[-1] / 2)
    numbers = {"below": below.value, "below_stderr": below.stderr}
    if half is None or half == len(series) - 1:
        return Evidence(min(on_rung, 1.0), below, None, numbers)
    gain = series.minus(half, -1)
    still = log_near_zero(gain, scale=GAIN_SCALE, tolerance=GAIN_TOLERANCE)
    numbers |= {"gain": gain.value, "gain_stderr": gain.stderr}
    since = (0, int(series.steps[half]))
    return Evidence(on_rung + still, below, since, numbers)
