"""How far a noiseless curve is from the best healthy one: an oracle's z, computed without the judge.

A healthy curve is F(s) e^g(s), with F the loss of the uniform predictor in this trainer and g never rising, since
learning never goes back. g has bounds: it falls no faster than the fastest known learning and ends no lower than the
best known models. So the best healthy explanation of a curve y(s) is an isotonic regression, and

    z^2  =  sum over points of (log y - log F - g)^2 / sd^2

is twice the log-likelihood ratio of an oracle that is given the noise. z above 6 is what "the evidence decides" means.
"""

from __future__ import annotations

import numpy as np

from judging.expected import Array

BEST_KNOWN = np.log(0.6)
"""Of log(loss / loss of the uniform predictor): a little below what the best protein models reach."""
FASTEST = 20.0
"""Steps at the full learning rate in which the fastest models learn a share of 1 - 1/e."""


def never_rising(values: Array, weights: Array) -> Array:
    """Weighted least-squares fit of a sequence that never rises (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        level, total, count = float(value), float(weight), 1
        while blocks and blocks[-1][0] < level:
            before, mass, number = blocks.pop()
            level = (before * mass + level * total) / (mass + total)
            total, count = total + mass, count + number
        blocks.append((level, total, count))
    return np.concatenate([np.full(count, level) for level, _, count in blocks])


def lowest(effective: Array) -> Array:
    """The lowest g of a healthy model after so many steps at the full learning rate."""
    return np.asarray(BEST_KNOWN * -np.expm1(-effective / FASTEST))


def best_healthy(ratio: Array, sd: Array, effective: Array) -> Array:
    """The healthy g that fits log(loss / F), (points,), best."""
    fit = never_rising(ratio, sd**-2.0)
    return np.clip(fit, lowest(effective), 0.0)


def distance(ratio: Array, sd: Array, effective: Array) -> float:
    """z of a curve against the best healthy one."""
    finite = np.isfinite(ratio)
    if not finite.any():
        return np.inf
    ratio, sd = ratio[finite], sd[finite]
    return float(np.linalg.norm((ratio - best_healthy(ratio, sd, effective[finite])) / sd))


def distance_of_shifts(shifts: Array, tails: float) -> float:
    """z of lines that are shifted by `shifts`, (points,), in scales of their noise.

    Twice the expected log-likelihood ratio of the noise and the shifted noise; with `tails` degrees of freedom a line
    far away says less than in a Gaussian.
    """
    if np.isinf(tails):
        return float(np.linalg.norm(shifts))
    noise = np.linspace(-200.0, 200.0, 40_001)
    density = (1.0 + noise**2 / tails) ** (-(tails + 1.0) / 2.0)
    grid = np.concatenate([np.linspace(0.0, 10.0, 101), np.geomspace(10.5, 500.0, 60)])
    ratio = [np.log((tails + (noise - shift) ** 2) / (tails + noise**2)) for shift in grid]
    twice = (tails + 1.0) * np.average(ratio, axis=1, weights=density)
    return float(np.sqrt(np.interp(np.abs(shifts), grid, twice).sum()))


def distance_of_scatter(factor: Array) -> float:
    """z of a change of scatter by `factor`, (points,): twice the expected log-likelihood ratio of two Gaussians."""
    return float(np.sqrt(np.sum(factor**2 - 1.0 - 2.0 * np.log(factor))))
