"""At which step the training data changed: a posterior over the line of the log in which they did.

Before the change the log of the divergence of the token frequencies scatters around its usual value. After it, it has
another value at once, or the share of the other data grows evenly, and the divergence with its first or second power.
The line of the change itself may hold sequences of both kinds, so that it says nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MASS = 0.95
"""Posterior probability of the interval."""
CANDIDATES = 400
"""Lines that are compared at once; of more lines these are spread evenly, and then those between the likeliest."""
ROUNDS = 2
"""Times that the candidates are narrowed."""
LINES = 2000
"""Lines that a growth is compared with, at most."""
POWERS = (1.0, 2.0)
"""Powers of its share with which the divergence of the other data grows."""
FREEDOM = 4.0
"""Degrees of freedom of Student's t, the scatter around either."""


def began(steps: Array, logs: Array, usual: float, scatter: float, changed: NDArray[np.bool_]) -> tuple[int, int]:
    """The 95 % interval of the optimizer step at which the data changed.

    Args:
        steps: (lines + 1,) optimizer step before the first line and after each line.
        logs: (lines,) log of the divergence, from the first line to the last one that is changed.
        usual: its value before the change.
        scatter: its standard deviation before the change.
        changed: (lines,) whether a line clearly belongs to the changed ones; at least one.
    """
    after = logs[changed]
    level = float(np.median(after))
    wide = max(scatter, 1.4826 * float(np.median(np.abs(after - level))))
    low, high = 0, len(logs) - 1
    for _ in range(ROUNDS):
        lines = np.unique(np.linspace(low, high, CANDIDATES).astype(np.int64))
        before = np.concatenate([[0.0], _log_density(logs - usual, scatter).cumsum()])[lines]
        changing = np.logaddexp(_jump(lines, logs, level, wide), _growth(lines, steps, logs, usual, wide))
        weights = np.exp(before + changing - (before + changing).max())
        reach = weights.cumsum() / weights.sum()
        first, last = (min(int(np.searchsorted(reach, 0.5 + side * MASS / 2)), len(lines) - 1) for side in (-1, 1))
        if len(lines) > high - low:  # every line was compared
            break
        low, high = int(lines[max(first - 1, 0)]), int(lines[min(last + 1, len(lines) - 1)])
    return int(steps[lines[first]]), int(steps[lines[last] + 1])


def _log_density(away: Array, scale: float) -> Array:
    return np.asarray(-0.5 * (FREEDOM + 1.0) * np.log1p((away / scale) ** 2 / FREEDOM) - math.log(scale))


def _jump(lines: NDArray[np.int64], logs: Array, level: float, wide: float) -> Array:
    """(candidates,): log-likelihood of the lines after each candidate, if all have the same level."""
    each = _log_density(logs - level, wide)
    return np.asarray(each.sum() - each.cumsum()[lines])


def _growth(lines: NDArray[np.int64], steps: Array, logs: Array, usual: float, wide: float) -> Array:
    """(candidates,): the same, if the share of the other data grows evenly to the last line."""
    shown = np.unique(np.linspace(0, len(logs) - 1, LINES).astype(np.int64))
    at, end = (steps[shown] + steps[shown + 1]) / 2.0, float(steps[-1])
    peak = math.exp(float(logs[-min(3, len(logs)) :].mean()))
    found = []
    for power in POWERS:
        for line in lines:
            later = shown > line
            grown = (at[later] - steps[line]) / max(end - steps[line], 1.0)
            expected = np.log(math.exp(usual) + peak * grown**power)
            found.append(float(_log_density(logs[shown[later]] - expected, wide).sum()) * len(logs) / len(shown))
    by_power = np.array(found).reshape(len(POWERS), len(lines))
    return np.asarray(np.logaddexp.reduce(by_power) - math.log(len(POWERS)))
