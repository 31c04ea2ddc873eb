"""The training loss is lower than what the same weights reach on training sequences in evaluation mode."""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np

from sedd.diagnosis.bayes import Measured, log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.evaluations import Series, held_out, probe
from sedd.diagnosis.levels import MIN_LINES
from sedd.diffusion.loss_profile import EDGES, LossProfile

SCALE = 0.4
"""Typical gap of a leak, nats per unit of mask rate."""
TOLERANCE = 0.08
"""Gap up to which nothing is wrong: the sequences of the probe are not those of the lines, and the lines are older."""
LINES = 5
"""Lines before an evaluation that are compared with it."""


def leak(facts: RunFacts) -> Evidence | None:
    """Bound on training sequences with raw weights less the training loss, at equal mask rates, per unit of mask rate.

    Without a probe the held-out bound takes its place, but only for evaluations before any sequence was seen twice.
    None where neither is known.
    """
    if len(facts.lines) < MIN_LINES or not math.isfinite(facts.levels.noise):
        return None
    series = probe(facts, raw=True)
    if not len(series):
        series = _before_repetition(facts, held_out(facts))
    # All evaluations use the same sequences, so they are one measurement: the latest one counts.
    latest = _gap(facts, series, len(series) - 1) if len(series) else None
    if latest is None:
        return None
    factor = log_bayes_factor(latest, scale=SCALE, tolerance=TOLERANCE)
    return Evidence(factor, latest, _since(facts, series) if factor > 0 else None)


def _since(facts: RunFacts, series: Series) -> tuple[int, int]:
    """Between which evaluations the gap opened."""
    for index, step in enumerate(series.steps.tolist()):
        gap = _gap(facts, series, index)
        if gap is not None and log_bayes_factor(gap, scale=SCALE, tolerance=TOLERANCE) > 0:
            return (int(series.steps[index - 1]) if index else 0, step)
    return 0, int(series.steps[-1])


def _gap(facts: RunFacts, series: Series, index: int) -> Measured | None:
    step, bound = int(series.steps[index]), series.bounds[index]
    end = bisect_right(facts.lines, step, key=lambda line: line.step)
    lines = [line for line in facts.lines[max(0, end - LINES) : end] if line.step > 0.7 * step]
    if not lines:
        return None
    trained = sum((line.bins for line in lines), LossProfile())
    known = np.isfinite(bound.profile) & (trained.drawn > 0) & (trained.corrupted > 0)
    # Below a mask rate of 1 % the integrand of `uniform` has no limit, and few residues are masked.
    known &= EDGES[1:] > 0.01
    if not known.any():
        return None
    weight = trained.corrupted[known] / trained.corrupted[known].sum()
    values = trained.values[known]
    gap = float(weight @ (bound.profile[known] - values))
    level = float(weight @ values)
    own = level * math.sqrt(facts.levels.noise / max(trained.corrupted.sum(), 1.0))
    # Bins share their sequences: the error is that of the whole bound, scaled to this level.
    share = bound.stderr * max(1.0, level / max(bound.nats, 1e-9))
    few = np.nan_to_num(bound.profile_stderr[known], nan=float(share))
    return Measured(gap, math.hypot(own, max(share, float(np.sqrt(weight**2 @ few**2)))))


def _before_repetition(facts: RunFacts, series: Series) -> Series:
    early = [i for i, step in enumerate(series.steps.tolist()) if (facts.epochs_at(step) or math.inf) < 1.0]
    return Series(series.steps[early], [series.bounds[i] for i in early], series.sequences)
