"""The expected loss of the uniform predictor in trainers of several kinds, as a function of the difficulty.

With u in [0, 1] the position on the noise path at difficulty d (`sedd.diffusion.noising`), m the mask rate and P the
loss per unit of mask rate (ln n for `absorb` with the normalised head):

    consistent   E[P dm/du]                  the bound up to the largest mask rate
    mismatched   corrupts with d sigma, conditions and weights with sigma; `scale` only
    unweighted   E[P]                        plain cross-entropy, mean over masked residues
    unweighted mean  E[m P]                  plain cross-entropy, summed over masked residues, mean over all residues
    twice        E[P dm/du dsigma/du]        the weight dsigma/du is applied two times
    masked       E[P dm/du] / E[m]           the bound over the share of masked residues
    masked weights  E[P dm/du / m]           the weighted loss, mean over the masked residues of each sequence
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sedd.diagnosis.predictors import Predictor
from sedd.diffusion.noising import Mode, noise_state
from sedd.plugins.contracts import Noise

Array = NDArray[np.float64]
Trainer = Literal[
    "consistent", "mismatched", "unweighted", "unweighted mean", "twice", "masked", "masked weights"
]  # fmt: skip
"""How a trainer turns corrupted sequences into a loss; see the table of the module."""

WORDS: dict[Trainer, str] = {
    "consistent": "a trainer with the same noise in its masks, in the network's input and in the weight of the loss",
    "mismatched": "a trainer that masks with d·σ, and gives the network and the weight of the loss σ",
    "unweighted": "a trainer that reports the plain cross-entropy of masked residues, without weights",
    "unweighted mean": "a trainer that reports the plain cross-entropy of masked residues, divided by all residues",
    "twice": "a trainer that applies the weight dσ/dt twice",
    "masked": "a trainer that divides the loss by the number of masked residues",
    "masked weights": "a trainer that averages the weighted loss over the masked residues of each sequence",
}
GRID: Array = np.concatenate([np.geomspace(1e-3, 0.05, 25)[:-1], np.linspace(0.05, 1.0, 58)])
"""Difficulties at which the loss is tabulated."""
POSITIONS = 384
"""Positions on the noise path of the quadrature."""
LEAST = 1e-12
"""Loss of a difficulty at which nothing is masked."""


def table(trainer: Trainer, predictor: Predictor, noise: Noise, mode: Mode) -> Array:
    """(len(GRID),): log of the expected loss of a fixed predictor at each difficulty of `GRID`, nats per residue."""
    if trainer == "mismatched":
        values = _mismatched(predictor, noise)
    elif trainer == "consistent":
        ends, _ = _paths(noise, mode, np.array([0.0, 1.0]))
        integral = np.interp(-np.expm1(-ends), predictor.mask_rates, predictor.integral)
        values = integral[:, 1] - integral[:, 0]
    else:
        values = _mean(trainer, predictor, *_paths(noise, mode, (np.arange(POSITIONS) + 0.5) / POSITIONS))
    logs: Array = np.log(np.maximum(values, LEAST))
    return logs


def at(table_: Array, difficulties: Array) -> Array:
    """The tabulated log loss at any difficulties."""
    logs: Array = np.interp(np.log(np.maximum(difficulties, GRID[0])), np.log(GRID), table_)
    return logs


def exists(trainer: Trainer, *, has_mask: bool, mode: Mode) -> bool:
    """Whether a kind of trainer has a closed form here: all but `consistent` need masks, a mismatch needs `scale`."""
    return trainer == "consistent" or (has_mask and (trainer != "mismatched" or mode == "scale"))


def mismatched_loss(predictor: Predictor, difficulty: float, low: float, high: float) -> float:
    """Loss of a fixed predictor in a trainer that corrupts with d sigma, but weights and conditions with sigma.

    With `absorb`; d is the difficulty, `low` and `high` the smallest and the largest mask rate at full difficulty.
    """
    edges = np.linspace(low, high, 2001)
    middle = (edges[1:] + edges[:-1]) / 2
    parts = np.diff(np.interp(edges, predictor.mask_rates, predictor.integral))
    return float(parts @ (-np.expm1(difficulty * np.log1p(-middle)) / middle))


def _mismatched(predictor: Predictor, noise: Noise) -> Array:
    low, high = -np.expm1(-noise.total(torch.tensor([0.0, 1.0], dtype=torch.float64)).numpy())
    edges = np.linspace(low, high, 801)
    middle = (edges[1:] + edges[:-1]) / 2
    parts = np.diff(np.interp(edges, predictor.mask_rates, predictor.integral))
    values: Array = (-np.expm1(GRID[:, None] * np.log1p(-middle)) / middle) @ parts
    return values


def _mean(trainer: Trainer, predictor: Predictor, sigma: Array, dsigma: Array) -> Array:
    """(difficulties,): the loss of a trainer; both arguments are (difficulties, positions)."""
    rates = -np.expm1(-sigma)
    per_rate = np.interp(rates, *_density(predictor))
    weighted = per_rate * dsigma * np.exp(-sigma)
    match trainer:
        case "unweighted":
            found = per_rate.mean(1)
        case "unweighted mean":
            found = (rates * per_rate).mean(1)
        case "twice":
            found = (weighted * dsigma).mean(1)
        case "masked":
            found = weighted.mean(1) / np.maximum(rates.mean(1), LEAST)
        case _:
            found = (weighted / np.maximum(rates, LEAST)).mean(1)
    return np.asarray(found)


def _density(predictor: Predictor) -> tuple[Array, Array]:
    rates, integral = predictor.mask_rates, predictor.integral
    return (rates[1:] + rates[:-1]) / 2, np.diff(integral) / np.diff(rates)


def _paths(noise: Noise, mode: Mode, u: Array) -> tuple[Array, Array]:
    """sigma and its derivative at the positions `u`, each (difficulties, positions)."""
    positions = torch.from_numpy(u)
    if mode == "scale":
        sigma, dsigma = noise.total(positions).numpy(), noise.rate(positions).numpy()
        return GRID[:, None] * sigma, GRID[:, None] * dsigma
    states = [noise_state(noise, positions, difficulty=float(d), mode=mode) for d in GRID]
    return (
        np.array([state.sigma.double().numpy() for state in states]),
        np.array([state.dsigma.double().numpy() for state in states]),
    )
