"""Bayes factors of an effect that has been measured with an error.

A fault has an effect d > 0, in advance half-normal with scale tau: small effects are commoner than large ones. Without
the fault d <= 0. For a measurement x with standard error s,

    B  =  integral of N(x; d, s) 2 N(d; 0, tau) dd over d > 0   /   N(x; min(x, 0), s)

       =  2 N(x; 0, sqrt(s^2 + tau^2)) Phi(x tau / (s sqrt(s^2 + tau^2)))   /   N(min(x, 0)...)

B is an e-value: without the fault its expectation is at most 1, so by Markov's inequality it exceeds 1 / alpha with a
probability of at most alpha, and the mean of several e-values is one too (Vovk and Wang 2021). A test that looks many
times spends alpha over its looks: see `many_looks`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST = 14.0
"""Largest log Bayes factor of one kind of evidence for a fault: its model of the noise is never exactly right."""
LEAST = -5.0
"""Smallest one, for the same reason."""


@dataclass(frozen=True)
class Measured:
    """A number with its standard error."""

    value: float
    stderr: float
    """Infinite where it is unknown."""

    def __sub__(self, other: Measured) -> Measured:
        """The difference of two independent measurements."""
        return Measured(self.value - other.value, math.hypot(self.stderr, other.stderr))

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval."""
        return 1.959964 * self.stderr

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value + self.half_width


def log_bayes_factor(effect: Measured, *, scale: float, tolerance: float = 0.0) -> float:
    """Log Bayes factor of an effect above `tolerance` against none, between `LEAST` and `MOST`.

    Args:
        effect: what was measured; positive means a fault.
        scale: tau, the size that the effect of such a fault has typically, in the unit of the effect.
        tolerance: an effect up to this size is no fault.
    """
    if not (math.isfinite(effect.value) and math.isfinite(effect.stderr)):
        return 0.0
    x, s = effect.value - tolerance, max(effect.stderr, 1e-9 * scale)
    total = math.hypot(s, scale)
    fault = math.log(2.0) - 0.5 * (x / total) ** 2 - math.log(total) + log_normal_cdf(x * scale / (s * total))
    none = -0.5 * (min(-x, 0.0) / s) ** 2 - math.log(s)
    return float(np.clip(fault - none, LEAST, MOST))


def log_near_zero(effect: Measured, *, scale: float, tolerance: float) -> float:
    """Log Bayes factor of an effect within +- `tolerance`, against one of typical size `scale`; bounded as above.

    The evidence that something stands still, or is exactly as good as a predictor.
    """
    if not (math.isfinite(effect.value) and math.isfinite(effect.stderr)):
        return 0.0
    narrow, wide = math.hypot(effect.stderr, tolerance), math.hypot(effect.stderr, scale)
    x = effect.value
    still = -0.5 * (x / narrow) ** 2 - math.log(narrow)
    moving = -0.5 * (x / wide) ** 2 - math.log(wide)
    return float(np.clip(still - moving, LEAST * 2, MOST))


def many_looks(log_bayes_factors: Sequence[float] | Array) -> float:
    """The log Bayes factor of a fault that shows in one of several looks, each as probable as the others."""
    values = np.asarray(log_bayes_factors, np.float64)
    if not len(values):
        return 0.0
    return float(np.clip(np.logaddexp.reduce(values) - math.log(len(values)), LEAST, MOST))


def log_normal_cdf(z: float) -> float:
    """Log of the standard normal distribution function; the asymptotic series below -8."""
    if z > -8.0:
        return math.log(max(0.5 * math.erfc(-z / math.sqrt(2.0)), 1e-300))
    return -0.5 * z * z - math.log(-z) - 0.5 * math.log(2.0 * math.pi) + math.log1p(-1.0 / (z * z))


def expected_minimum(count: int) -> float:
    """How far the least of `count` standard normal numbers lies below 0 in expectation, at most.

    The best of many measurements looks better than it is; this much of its error has to be added again.
    """
    return math.sqrt(2.0 * math.log(count)) if count > 1 else 0.0
