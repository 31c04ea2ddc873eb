"""The Monte Carlo error of the training loss: how far the draws of noise alone move it from step to step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sedd.config.config import Config
from sedd.data.statistics import DataStatistics
from sedd.diffusion.graphs import Graph
from sedd.diffusion.noising import noise_state, path_positions

Array = NDArray[np.float64]


def residues_per_step(config: Config, statistics: DataStatistics) -> float:
    """Residues in an optimizer step, on average."""
    training = config.training
    return float(training.batch_residues or training.batch_size * training.accum * statistics.length)


def scatter(config: Config, graph: Graph, statistics: DataStatistics, difficulty: float, *, steps: int = 200) -> float:
    """Relative Monte Carlo error of one step's loss: standard deviation over mean of `losses_of_steps`."""
    losses = losses_of_steps(config, graph, statistics, difficulty, steps=steps)
    return float(losses.std() / max(losses.mean(), 1e-12))


def losses_of_steps(
    config: Config, graph: Graph, statistics: DataStatistics, difficulty: float, *, steps: int
) -> Array:
    """The loss of some training steps at one difficulty, for a constant loss per mask rate, (steps,), up to a factor.

    Simulates the library's own stratified draws, which are independent from step to step. For `uniform` only the noise
    levels are drawn, not the residues.
    """
    per_step = max(1, round(residues_per_step(config, statistics) / statistics.length))
    length = max(1, round(statistics.length))
    random = np.random.default_rng(0)
    starts = range(0, steps * per_step, per_step)
    u = np.stack([path_positions(0, np.arange(start, start + per_step)) for start in starts])
    state = noise_state(config.noise, torch.from_numpy(u).flatten(), difficulty=difficulty, mode=config.curriculum.mode)
    sigma, dsigma = state.sigma.double().numpy(), state.dsigma.double().numpy()
    if graph.has_mask:
        masks = random.binomial(length, -np.expm1(-sigma)) / length
        losses = np.where(masks > 0, masks * dsigma / np.expm1(np.maximum(sigma, 1e-12)), 0.0)
    else:
        losses = dsigma * np.exp(-sigma)
    return np.asarray(losses.reshape(u.shape).mean(1))
