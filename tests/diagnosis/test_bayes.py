"""Bayes factors: the closed form against quadrature, and what makes them e-values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import float64, special, tensor

from sedd.diagnosis.bayes import (
    LEAST,
    MOST,
    Measured,
    expected_minimum,
    log_bayes_factor,
    log_near_zero,
    log_normal_cdf,
    many_looks,
)


def normal(x: np.ndarray, scale: float) -> np.ndarray:
    """The density of a normal distribution around 0."""
    return np.exp(-0.5 * (x / scale) ** 2) / (scale * math.sqrt(2.0 * math.pi))


@given(
    x=st.floats(-0.3, 0.6),
    stderr=st.floats(0.02, 0.5),
    scale=st.floats(0.05, 1.0),
)
def test_the_bayes_factor_is_the_ratio_of_the_two_integrals(x, stderr, scale):
    d = np.linspace(0.0, 10.0 * scale, 40_001)
    fault = normal(x - d, stderr) * 2.0 * normal(d, scale)
    expected = math.log(float(np.trapezoid(fault, d)) / float(normal(np.array(x - min(x, 0.0)), stderr)))
    found = log_bayes_factor(Measured(x, stderr), scale=scale)
    assert found == pytest.approx(min(max(expected, LEAST), MOST), abs=1e-4)


@pytest.mark.parametrize("scale", [0.05, 0.3])
def test_without_an_effect_its_expectation_is_at_most_one(scale):
    random = np.random.default_rng(0)
    for truth in (0.0, -0.1):
        factors = [math.exp(log_bayes_factor(Measured(x, 0.1), scale=scale)) for x in random.normal(truth, 0.1, 20_000)]
        mean, error = np.mean(factors), np.std(factors) / math.sqrt(len(factors))
        assert mean <= 1.0 + 4.0 * error + math.exp(LEAST)


def test_many_looks_at_noise_rarely_exceed_a_hundred():
    random = np.random.default_rng(1)
    best = [
        max(log_bayes_factor(Measured(x, 0.1), scale=0.3) - math.log(200) for x in random.normal(0, 0.1, 200))
        for _ in range(500)
    ]
    assert np.mean(np.array(best) > math.log(100.0)) <= 0.02


def test_an_effect_within_the_tolerance_is_evidence_against_a_fault():
    assert log_bayes_factor(Measured(0.01, 0.001), scale=0.3, tolerance=0.02) < -3.0
    assert log_bayes_factor(Measured(0.5, 0.01), scale=0.3, tolerance=0.02) == MOST


def test_what_is_not_known_is_no_evidence():
    for unknown in (Measured(math.nan, 0.1), Measured(0.3, math.inf), Measured(0.3, math.nan)):
        assert log_bayes_factor(unknown, scale=0.3) == 0.0
        assert log_near_zero(unknown, scale=0.3, tolerance=0.01) == 0.0


def test_standing_still_is_told_from_moving():
    assert log_near_zero(Measured(0.001, 0.002), scale=0.2, tolerance=0.005) > 3.0
    assert log_near_zero(Measured(0.1, 0.002), scale=0.2, tolerance=0.005) < -5.0
    assert abs(log_near_zero(Measured(0.0, 1.0), scale=0.2, tolerance=0.005)) < 0.1  # nothing can be seen


@pytest.mark.parametrize("z", [-30.0, -9.0, -7.9, -1.0, 0.0, 3.0])
def test_the_logarithm_of_the_normal_distribution(z):
    assert log_normal_cdf(z) == pytest.approx(float(special.log_ndtr(tensor(z, dtype=float64))), abs=2e-3)


def test_the_best_of_many_is_biased_by_less_than_its_bound():
    random = np.random.default_rng(2)
    for count in (2, 10, 100):
        least = random.normal(size=(4000, count)).min(1).mean()
        assert -expected_minimum(count) <= least
    assert expected_minimum(1) == 0.0


def test_the_mean_of_looks():
    assert many_looks([]) == 0.0
    assert many_looks([math.log(4.0), math.log(2.0)]) == pytest.approx(math.log(3.0))
