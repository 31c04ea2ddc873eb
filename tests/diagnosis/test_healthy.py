"""What is said of the held-out bounds of a run in which nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from sedd.diagnosis.evidence.evaluations import Series
from sedd.diagnosis.healthy import _came_back, _stalled
from sedd.runs.bound_record import RecordedBound


def series(nats: list[float], stderr: float = 0.005) -> Series:
    """Evaluations every 40 steps, without their sequences."""
    steps = 40 * np.arange(1, len(nats) + 1)
    return Series(steps, [RecordedBound(value, stderr) for value in nats], None)


@pytest.mark.parametrize(
    ("nats", "stalled"),
    [([3.3, 2.9, 2.8, 2.7, 2.6, 2.5], False), ([3.3, 2.9, 2.51, 2.52, 2.52, 2.53], True), ([3.3, 2.9], False)],
)
def test_a_model_whose_best_evaluation_is_in_the_first_half_has_stopped_improving(nats, stalled):
    assert _stalled(series(nats)) is stalled


@pytest.mark.parametrize(
    ("nats", "stderr", "steps"),
    [
        ([2.9, 2.7, 2.95, 2.6], 0.005, (80, 120)),
        ([2.9, 2.7, 2.95, 2.6], 0.2, None),  # within its error
        ([2.9, 2.7, 2.71, 2.6], 0.001, None),  # too small to matter
        ([2.9, 2.7, 2.6, 2.95], 0.005, None),  # it did not come back
        ([2.9, 2.8, 2.7, 2.6], 0.005, None),
    ],
)
def test_a_rise_that_was_made_up_is_told_with_its_steps(nats, stderr, steps):
    told = _came_back(series(nats, stderr))
    assert bool(told) is (steps is not None)
    if steps is not None:
        assert all(f"step {step}" in told for step in steps)
