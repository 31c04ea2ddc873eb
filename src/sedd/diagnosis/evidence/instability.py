"""Skipped steps, a loss that oscillates at equal mask rates, gradients that explode."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.bayes import LEAST, Measured, log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.levels import MIN_LINES, Levels

Array = NDArray[np.float64]

RECENT_SHARE = 5
"""The last fifth of the run is the present; what was over before is not."""
USUAL_SKIPS = 2e-3
"""Share of skipped steps of a run in which nothing is wrong, at most."""
MOST_SCATTER = 0.1
"""Relative scatter of a line at equal mask rates that is unstable even from the first line on."""
MIN_SCATTER = 0.02
"""Relative scatter of a line at equal mask rates below which an oscillation is not worth a sentence."""


def skipped_steps(facts: RunFacts) -> Evidence:
    """Share of skipped steps (gradient not finite) in the present part of the run."""
    last = facts.step
    begin = last - max(last // RECENT_SHARE, min(last, 50))
    skipped = sum(1 for skip in facts.history.skipped if skip.step >= begin)
    attempts = max(last - begin, skipped, 1)  # the clock counts skipped steps too
    share = skipped / attempts
    # A binomial share, against the usual one: the normal approximation of its logarithm.
    expected = max(USUAL_SKIPS * attempts, 1.0)
    effect = Measured(math.log(max(skipped, 0.1) / expected), 1.0 / math.sqrt(max(skipped, 1.0)))
    factor = log_bayes_factor(effect, scale=2.0) if skipped else -3.0
    numbers = {"skipped": float(skipped), "share": share}
    return Evidence(factor, Measured(share, math.sqrt(share / attempts)), _skips_since(facts, share), numbers)


def _skips_since(facts: RunFacts, share: float) -> tuple[int, int] | None:
    """When the skips began: at the earliest one from which on at least half of the present share was skipped.

    If a share p of the steps fails, the first failure comes within 3 / p steps in 95 % of all cases.
    """
    steps, last = [skip.step for skip in facts.history.skipped], facts.step
    for index, step in enumerate(steps):
        rest = len(steps) - index
        if rest / max(last - step + 1, rest) >= 0.5 * share:
            return max(step - math.ceil(3.0 / max(share, 1e-3)), 0), step + 1
    return None


def oscillation(facts: RunFacts) -> Evidence | None:
    """Log ratio of the scatter from line to line at equal mask rates, now to before; None for too few lines.

    A scatter that is far above what independent residues explain counts from the first line on.
    """
    if len(facts.lines) < 3 * MIN_LINES:
        return None
    levels = facts.levels
    squares = clipped_squares(levels.standardised)
    if squares is None or not math.isfinite(levels.noise) or levels.noise <= 0:
        return None
    relative = levels.error(levels.corrupted[1:].sum(1) / 2.0)  # of a line, if the noise is that of the whole run
    always = _always(squares, levels)
    begin, since = _variance_change(squares, levels.first[1:], levels.last[1:])
    before, after = squares[:begin].mean(), squares[begin:].mean()
    ratio = 0.5 * math.log(max(after, 1e-12) / max(before, 1e-12))
    # Heavy tails, and neighbours share a line: twice the error of independent, normal values.
    effect = Measured(ratio, 2.0 / math.sqrt(2.0 * (len(squares) - begin)))
    scatter = float(np.nanmedian(relative[begin:])) * math.sqrt(after / levels.noise)
    factor = log_bayes_factor(effect, scale=1.0, tolerance=math.log(2.0)) - math.log(len(squares) / MIN_LINES)
    if scatter < MIN_SCATTER:
        factor = min(factor, -1.0)
    if always.log_bayes_factor > 0 and not effect.low > math.log(1.5):
        return always
    return Evidence(max(factor, LEAST), effect, since, {"scatter": scatter})


def _always(squares: Array, levels: Levels) -> Evidence:
    """Scatter of the whole run over the largest that independent residues and a tenth of the loss allow."""
    size = float(np.median(levels.corrupted.sum(1)))
    scatter = math.sqrt(float(squares.mean()) / max(size / 2.0, 1.0))
    allowed = max(MOST_SCATTER, 4.0 / math.sqrt(max(size, 1.0)))
    effect = Measured(math.log(max(scatter, 1e-9) / allowed), 2.0 / math.sqrt(2.0 * len(squares)))
    return Evidence(log_bayes_factor(effect, scale=1.0), effect, (0, int(levels.last[1])), {"scatter": scatter})


def _variance_change(squares: Array, first: NDArray[np.int64], last: NDArray[np.int64]) -> tuple[int, tuple[int, int]]:
    """From which value on the squares are larger: the likeliest index, and a 95 % interval of optimizer steps."""
    count = len(squares)
    k = np.arange(MIN_LINES, count - MIN_LINES + 1)
    sums = np.concatenate([[0.0], squares.cumsum()])
    before, after = sums[k] / k, (sums[-1] - sums[k]) / (count - k)
    likelihood = -0.5 * (k * np.log(np.maximum(before, 1e-12)) + (count - k) * np.log(np.maximum(after, 1e-12)))
    likelihood = np.where(after > before, 0.5 * likelihood, -np.inf)  # neighbours share a line: half the information
    if not np.isfinite(likelihood).any():
        return int(k[-1]), (int(first[k[0]]), int(last[-1]))
    posterior = np.exp(likelihood - likelihood.max())
    cumulative = posterior.cumsum() / posterior.sum()
    low, high = (int(np.searchsorted(cumulative, q)) for q in (0.025, 0.975))
    steps = int(first[max(k[low] - 2, 0)]), int(last[min(k[min(high, len(k) - 1)], count - 1)])
    return int(k[int(likelihood.argmax())]), steps


def clipped_squares(values: Array) -> Array | None:
    """Squares of differences around their median, each at most four times the median of its neighbours, so that a
    single spike is no oscillation; None if too few are known."""
    known = values[np.isfinite(values)]
    if len(known) < 2 * MIN_LINES:
        return None
    squares = (known - np.median(known)) ** 2
    around = np.lib.stride_tricks.sliding_window_view(np.pad(squares, 4, mode="reflect"), 9)
    return np.asarray(np.minimum(squares, 4.0 * np.median(around, -1)))
