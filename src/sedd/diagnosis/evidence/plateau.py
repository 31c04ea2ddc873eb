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
    if not len(series):
        return _by_lines(facts, "untrained")
    if data is None or not _settled(facts, series):
        return None
    uniform = math.log(len(data.token_counts))
    return _standing(series, Measured(uniform - series.bounds[-1].nats, series.bounds[-1].stderr))


def unigram_plateau(facts: RunFacts) -> Evidence | None:
    """How far the model is below the unigram model, nats per residue; None where that is not known."""
    series = _model(facts)
    if not len(series):
        return _by_lines(facts, "unigram")
    if not _settled(facts, series):
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


def stalled(series: Series) -> bool:
    """Whether the best evaluation lies in the first half of the run."""
    half = series.before(series.steps[-1] / 2)
    return half is not None and series.best <= half


def stands_still(facts: RunFacts) -> Evidence | None:
    """How much better the held-out bound of a finished run is than in its middle, nats per residue; None where its best
    is younger than that, or the run is not finished."""
    series = held_out(facts)
    half = series.before(series.steps[-1] / 2) if len(series) > 2 else None
    if half is None or not stalled(series) or facts.step < facts.planned:
        return None
    gain, best = series.minus(half, -1), series.best
    factor = log_near_zero(gain, scale=GAIN_SCALE, tolerance=GAIN_TOLERANCE)
    numbers = {"best": series.bounds[best].nats, "waited": float(series.steps[-1] - series.steps[best])}
    return Evidence(factor, gain, (int(series.steps[best]), int(series.steps[best])), numbers)


def _model(facts: RunFacts) -> Series:
    """What the trained weights know: of training sequences where they are evaluated, else of held-out ones."""
    raw = probe(facts, raw=True)
    return raw if len(raw) else held_out(facts)


def _settled(facts: RunFacts, series: Series) -> bool:
    """Whether the last evaluation lies well after the warm-up, and there are enough lines to see a trend."""
    return int(series.steps[-1]) >= 2 * facts.config.optim.warmup and len(facts.lines) >= 2 * MIN_LINES


def _by_lines(facts: RunFacts, rung: str) -> Evidence | None:
    """The same for a run without evaluations, from the training loss of its last half; with dropout it is too high."""
    predictor, levels = facts.predictors.get(rung), facts.levels
    count = len(levels)
    if predictor is None or count < 4 * MIN_LINES or not math.isfinite(levels.noise):
        return None
    half = count // 2
    loss, drawn = levels.loss[half:].sum(), levels.drawn[half:].sum(0)
    expected = float(drawn @ predictor.values)
    level = float(loss / max(drawn.sum(), 1e-12))
    stderr = level * float(levels.error(levels.corrupted[half:].sum()))
    below = Measured((expected - float(loss)) / max(float(drawn.sum()), 1e-12), stderr)
    change = levels.change((count - half // 2, count), (half, count - half // 2))
    gain = Measured(-change.value * level, change.stderr * level)
    return _on_rung(below, gain, (0, int(levels.last[half])))


def _standing(series: Series, below: Measured) -> Evidence:
    half = series.before(series.steps[-1] / 2)
    if half is None or half == len(series) - 1:
        on_rung = log_near_zero(below, scale=RUNG_SCALE, tolerance=RUNG_TOLERANCE)
        return Evidence(min(on_rung, 1.0), below, None, {"below": below.value, "below_stderr": below.stderr})
    return _on_rung(below, series.minus(half, -1), (0, int(series.steps[half])))


def _on_rung(below: Measured, gain: Measured, since: tuple[int, int]) -> Evidence:
    """The evidence that a model so far below a rung, with this gain of late, stands on it."""
    on_rung = log_near_zero(below, scale=RUNG_SCALE, tolerance=RUNG_TOLERANCE)
    still = log_near_zero(gain, scale=GAIN_SCALE, tolerance=GAIN_TOLERANCE)
    numbers = {"below": below.value, "below_stderr": below.stderr, "gain": gain.value, "gain_stderr": gain.stderr}
    return Evidence(on_rung + still, below, since, numbers)
