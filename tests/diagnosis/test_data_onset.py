"""The step at which the training data changed: the interval has it as often as it says, also where the change grows."""

from __future__ import annotations

import numpy as np
import pytest

from sedd.diagnosis.evidence.data_onset import began

USUAL, SCATTER = np.log(0.002), 0.3
EVERY = 8


def log_of(seed: int, lines: int, onset: int, *, grows: bool) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and the log divergences of a run whose data change at a step."""
    random = np.random.default_rng(seed)
    steps = np.arange(lines + 1.0) * EVERY
    begin, end = steps[:-1], steps[1:]
    share = np.clip((end - onset) / EVERY, 0.0, 1.0)  # of the line that has other data
    if grows:
        share = np.maximum((begin + end) / 2 - onset, 0.0) / (steps[-1] - onset)
    divergence = np.exp(USUAL + SCATTER * random.standard_normal(lines)) + 0.3 * share**2
    return steps, np.log(divergence * np.exp(0.1 * random.standard_normal(lines)))


@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize("lines", [40, 300])
def test_the_interval_has_the_true_step_and_is_short(lines, grows):
    random = np.random.default_rng(lines)
    hits, widths = 0, []
    for seed in range(200):
        onset = int(random.uniform(0.2, 0.8) * lines * EVERY)
        steps, logs = log_of(seed, lines, onset, grows=grows)
        low, high = began(steps, logs, USUAL, SCATTER, logs > (USUAL + logs[-3:].mean()) / 2)
        hits += low <= onset <= high
        widths.append((high - low) / EVERY)
    assert hits >= 180
    assert np.median(widths) <= (0.25 * lines if grows else 2)


def test_a_long_log_is_searched_in_rounds():
    onset = 12_345 * EVERY + 3
    steps, logs = log_of(0, 50_000, onset, grows=False)
    low, high = began(steps, logs, USUAL, SCATTER, logs > (USUAL + logs[-3:].mean()) / 2)
    assert low <= onset <= high
    assert high - low <= 3 * EVERY
