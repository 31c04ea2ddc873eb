"""Change-points: found where they are, with intervals that hold them, and not where there are none."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from sedd.diagnosis.change_point import change_point, clipped

COUNT, EVERY = 120, 10
LAST = np.arange(1, COUNT + 1) * EVERY
FIRST = LAST - EVERY


def learning(steps: np.ndarray) -> np.ndarray:
    return 0.25 * np.exp(-steps / 300.0)


def series(seed: int, rise: Callable[[np.ndarray], np.ndarray], noise: float = 0.01, tails: bool = False) -> np.ndarray:
    random = np.random.default_rng([7, seed])
    draws = random.standard_t(4, COUNT) / math.sqrt(2.0) if tails else random.normal(size=COUNT)
    middle = (FIRST + LAST) / 2
    return learning(middle) + rise(middle) + noise * draws


SHAPES: dict[str, Callable[[float], Callable[[np.ndarray], np.ndarray]]] = {
    "jump": lambda at: lambda s: 0.1 * (s > at),
    "growth": lambda at: lambda s: 0.3 * np.maximum(s - at, 0) / 1200.0,
    "accelerating": lambda at: lambda s: 0.8 * (np.maximum(s - at, 0) / 1200.0) ** 2,
    "saturating": lambda at: lambda s: -0.1 * np.expm1(-np.maximum(s - at, 0) / 60.0),
}


@pytest.mark.parametrize("tails", [False, True])
@pytest.mark.parametrize("shape", ["jump", "growth"])
def test_the_interval_of_a_clear_change_holds_the_true_step(shape, tails):
    inside, found = 0, 0
    for seed in range(60):
        at = float(np.random.default_rng([8, seed]).uniform(300, 900))
        result = change_point(FIRST, LAST, series(seed, SHAPES[shape](at), tails=tails), np.full(COUNT, 0.01))
        assert result is not None
        if result.log_bayes_factor > math.log(100.0):
            found += 1
            inside += result.low <= at <= result.high
    assert found >= 57
    assert inside / found >= 0.9


@pytest.mark.parametrize("shape", ["saturating", "accelerating"])
def test_slow_growth_is_found_and_its_beginning_is_not_said_to_be_later_than_it_is_seen(shape):
    late = 0
    for seed in range(60):
        at = float(np.random.default_rng([9, seed]).uniform(300, 700))
        result = change_point(FIRST, LAST, series(seed, SHAPES[shape](at)), np.full(COUNT, 0.01))
        assert result is not None
        assert result.log_bayes_factor > math.log(100.0)
        rise = SHAPES[shape](at)
        # A checkpoint at the lower end may be after the beginning, but not where the harm exceeds two errors of a line.
        late += float(rise(np.array([float(result.low)]))[0]) > 0.02 + learning(np.array([at]))[0]
    assert late <= 3


@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_a_series_that_only_falls_has_no_change(noise):
    factors = [
        found.log_bayes_factor
        for seed in range(200)
        if (found := change_point(FIRST, LAST, series(seed, np.zeros_like, noise), np.full(COUNT, noise)))
    ]
    assert np.mean(np.array(factors) > math.log(100.0)) <= 0.02


def test_a_spike_is_clipped_and_unknown_points_are_left_out():
    y = series(0, np.zeros_like)
    y[60] += 5.0
    assert clipped(y, np.full(COUNT, 0.01))[60] < 0.4
    y[30:40] = np.nan
    found = change_point(FIRST, LAST, y, np.full(COUNT, 0.01))
    assert found is not None
    assert found.log_bayes_factor < math.log(10.0)


def test_too_few_points_have_no_change_point():
    assert change_point(FIRST[:5], LAST[:5], np.zeros(5), np.ones(5)) is None
