"""The expected loss of a trainer at each difficulty, from the definition of its loss and quadrature.

With noise sigma(u), u uniform in [0, 1], mask rate m = 1 - e^(-sigma) and P(m) the cross-entropy of masked tokens:

    consistent          E[P m dsigma / (e^sigma - 1)]         corrupts and weights with the same noise
    mismatched          the same, with d sigma in m alone     corrupts with d sigma, weights with sigma
    unweighted          E[P m] / E[m]                         cross-entropy of masked tokens
    per_masked          consistent / E[m]                     the weighted loss, over the masked tokens
    twice               E[P m dsigma^2 / (e^sigma - 1)]       multiplies by dsigma twice
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sedd.config.config import Config
from sedd.diagnosis.predictors import both_predictors
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.loss_profile import mask_range
from sedd.diffusion.noising import noise_state
from sedd.plugins.networks import Ddit

Array = NDArray[np.float64]
Trainer = Literal["consistent", "mismatched", "unweighted", "per_masked", "twice"]
TIMES = 1000
"""Midpoints of the quadrature over u."""
CONTEXT = 1.5
"""Exponent of the share of the other residues in what context tells: (1 - m)^1.5 of what it tells at no mask."""
DIFFICULTIES = 120
"""Difficulties at which the loss is computed; it is interpolated between them."""


@dataclass(frozen=True, eq=False)
class Expected:
    """Expected losses of fixed predictors, nats per residue, each (points,)."""

    uniform: Array
    """Of the uniform predictor."""
    unigram: Array
    """Of the unigram model."""
    context: Array
    """What a model gains that predicts everything from the other residues, at this weighting."""

    def loss(self, frequencies: Array, beyond: Array) -> Array:
        """Loss of a model that has learnt a share of the token frequencies and a share of the context."""
        learnt = self.unigram - beyond * self.context
        return np.asarray((1.0 - frequencies) * self.uniform + frequencies * learnt)


def expected(config: Config, difficulty: Array, trainer: Trainer, tokens: Array) -> Expected:
    """The losses that a trainer has at each difficulty, (points,), on data with token frequencies `tokens`, (n,)."""
    grid = np.unique(difficulty)
    if len(grid) > DIFFICULTIES:
        grid = np.linspace(grid[0], grid[-1], DIFFICULTIES)
    weights = _predicted if trainer == "consistent" else _sampled
    columns = weights(config, grid, trainer, tokens)
    return Expected(*(np.interp(difficulty, grid, column) for column in columns.T))


def _predicted(config: Config, grid: Array, trainer: Trainer, tokens: Array) -> Array:
    """(difficulties, 3) for a consistent trainer, whose loss is the integral of P from the least to the largest m."""
    fine, integrals = _integrals(config.graph.type, config.model, tuple(tokens.tolist()))
    ends = np.array([mask_range(config.noise, float(d), config.curriculum.mode) for d in grid])
    return np.stack([np.interp(ends[:, 1], fine, i) - np.interp(ends[:, 0], fine, i) for i in integrals], 1)


@lru_cache(maxsize=32)
def _integrals(graph: Literal["absorb", "uniform"], model: Ddit, tokens: tuple[float, ...]) -> tuple[Array, Array]:
    """Mask rates, (points,), and the integrals of P up to them of uniform, unigram and context, (3, points)."""
    both = both_predictors(make_graph(graph, len(tokens)), model, np.array(tokens))
    fine = np.unique(np.concatenate([np.linspace(0.0, 1.0, TIMES + 1), np.geomspace(1e-6, 1e-2, 60)]))
    uniform, unigram = (np.interp(fine, p.mask_rates, p.integral) for p in (both["untrained"], both["unigram"]))
    middle = (fine[1:] + fine[:-1]) / 2
    context = np.concatenate([[0.0], np.cumsum(np.diff(unigram) * (1.0 - middle) ** CONTEXT)])
    return fine, np.stack([uniform, unigram, context])


def _sampled(config: Config, grid: Array, trainer: Trainer, tokens: Array) -> Array:
    """(difficulties, 3) for the other trainers, with `absorb`, where P of the fixed predictors does not depend on m."""
    u = (torch.arange(TIMES) + 0.5) / TIMES
    entropies = np.array([np.log(len(tokens)), -(tokens * np.log(np.maximum(tokens, 1e-12))).sum()])
    rows = []
    for d in grid:
        state = noise_state(config.noise, u, difficulty=float(d), mode=config.curriculum.mode)
        sigma, rate = state.sigma.double().numpy(), state.dsigma.double().numpy()
        m = -np.expm1(-sigma)
        if trainer == "mismatched":
            full = noise_state(config.noise, u, difficulty=1.0, mode=config.curriculum.mode)
            sigma, rate = full.sigma.double().numpy(), full.dsigma.double().numpy()
        weight = rate / np.expm1(sigma)
        per_time = m * {"unweighted": np.ones_like(m), "twice": weight * rate}.get(trainer, weight)
        level = per_time.mean() / (m.mean() if trainer in ("unweighted", "per_masked") else 1.0)
        gain = per_time @ (1.0 - m) ** CONTEXT / per_time.sum()
        rows.append([*(entropies * level), entropies[1] * level * gain])
    return np.array(rows)
