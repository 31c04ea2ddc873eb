"""What is said of the held-out bounds of a run in which nothing is wrong."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sedd.diagnosis.evidence import came_back
from sedd.diagnosis.evidence.came_back import largest_rise
from sedd.diagnosis.evidence.evaluations import Series
from sedd.diagnosis.evidence.plateau import stalled
from sedd.runs.bound_record import RecordedBound


def series(nats: list[float], stderr: float = 0.005) -> Series:
    """Evaluations every 40 steps, without their sequences."""
    steps = 40 * np.arange(1, len(nats) + 1)
    return Series(steps, [RecordedBound(value, stderr) for value in nats], None)


@pytest.mark.parametrize(
    ("nats", "expected"),
    [([3.3, 2.9, 2.8, 2.7, 2.6, 2.5], False), ([3.3, 2.9, 2.51, 2.52, 2.52, 2.53], True), ([3.3, 2.9], False)],
)
def test_a_model_whose_best_evaluation_is_in_the_first_half_has_stopped_improving(nats, expected):
    assert stalled(series(nats)) is expected


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
def test_a_rise_that_was_made_up_is_found_with_its_steps(nats, stderr, steps):
    rise = largest_rise(series(nats, stderr))
    assert (None if rise is None else (rise.first, rise.last)) == steps


@pytest.mark.parametrize(("high", "unstable"), [(2.95, True), (2.75, False)])
def test_a_large_rise_that_was_made_up_is_an_instability_of_the_past(monkeypatch, high, unstable):
    monkeypatch.setattr(came_back, "held_out", lambda facts: series([2.9, 2.7, high, 2.6]))
    found = came_back.came_back(SimpleNamespace(history=SimpleNamespace(rollbacks=[])))
    assert (found.log_bayes_factor > 3.0) is unstable
    assert found.since == (80, 120)
    assert came_back.came_back(SimpleNamespace(history=SimpleNamespace(rollbacks=["one"]))) is None
