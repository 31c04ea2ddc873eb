"""The token frequencies of the training sequences changed."""

from __future__ import annotations

import math

import numpy as np

from sedd.diagnosis.bayes import Measured, log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.data_onset import began
from sedd.diagnosis.levels import MIN_LINES, NORMAL

WINDOW = 3
"""Lines that are pooled."""
SCALE = 2.0
"""Typical log ratio of the divergence after a change to that before."""
TOLERANCE = math.log(3.0)
"""Log ratio up to which the divergence of token frequencies varies by itself."""
MIN_NATS = 0.01
"""Divergence, nats per residue, below which a change of the token frequencies is not worth a sentence."""


def data_change(facts: RunFacts) -> Evidence | None:
    """Log ratio of the largest divergence of the token frequencies, over three lines, to the usual one.

    The divergence is that of Kullback and Leibler, of the sequences of a line from the training set, nats per residue.
    None where it was not recorded, or for too few lines.
    """
    known = [line for line in facts.lines if line.token_divergence is not None]
    if len(known) < MIN_LINES:
        return None
    steps = np.array([0, *(line.step for line in known)])
    nats = np.maximum(np.array([line.token_divergence for line in known], np.float64), 1e-9)
    logs = np.log(nats)
    # The first lines are the usual ones, so that a change which lasts does not become usual itself; but where the data
    # are in an order, the first lines are as unusual as the last, and the usual ones are the lower half.
    early = float(np.median(logs[: max(MIN_LINES - WINDOW, len(logs) // 4)]))
    low, lower, middle = (float(q) for q in np.quantile(logs, [0.05, 0.25, 0.5]))
    usual = min(early, lower + max(lower - low, 0.1))
    scatter = max(min(NORMAL * float(np.median(np.abs(logs - middle))), lower - low), 0.1)
    means = np.convolve(logs, np.full(WINDOW, 1.0 / WINDOW), "valid") - usual
    top = int(means.argmax())
    effect = Measured(float(means[top]), scatter / math.sqrt(WINDOW))
    looks = max(1, len(means) // WINDOW)
    shift = float(nats[top : top + WINDOW].mean())
    factor = log_bayes_factor(effect, scale=SCALE, tolerance=TOLERANCE) - math.log(looks)
    if shift < MIN_NATS:
        factor = min(factor, 0.0) - 1.0
    # The change lies between the last usual line and the first that is clearly not.
    limit = usual + 0.5 * float(means[top])
    begin = top + WINDOW - 1
    while begin > 0 and logs[begin - 1] > limit:
        begin -= 1
    while begin < len(logs) - 1 and logs[begin] <= limit:
        begin += 1
    stop = next((i for i in range(begin + 1, len(logs)) if logs[i] <= limit), len(logs))
    changed = np.arange(stop) >= begin
    since = began(steps[: stop + 1], logs[:stop], usual, scatter, changed)
    ends = int(steps[stop]) if stop < len(logs) else math.nan
    numbers = {"shift": shift, "usual": math.exp(float(usual)), "ended": float(ends)}
    return Evidence(factor, effect, since, numbers)
