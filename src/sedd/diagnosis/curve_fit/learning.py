"""How learning shows in the loss at the difficulty of each step."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit import trainers
from sedd.diagnosis.curve_fit.settings import Setting
from sedd.diagnosis.curve_fit.shapes import Learning, learning
from sedd.diagnosis.forecast import Forecast
from sedd.diffusion.loss_profile import mask_range

Array = NDArray[np.float64]

CONTEXT = 1.5
"""Exponent of the share of the residues that are not masked in what they tell of the masked ones."""


def under(setting: Setting, at: Array, forecast: Forecast) -> Learning:
    """The curves of learning at optimizer steps, as they show under a setting."""
    ends = _ends(setting, forecast)
    both = [forecast.predictors[name] for name in ("untrained", "unigram")]
    ratio = np.array([math.log(max(both[0].loss(*e), 1e-12) / max(both[1].loss(*e), 1e-12)) for e in ends])
    frequencies = np.interp(setting.difficulty(at), trainers.GRID, ratio / max(ratio[-1], 1e-6))
    return learning_at(at, frequencies, context_weight(setting, at, forecast), forecast)


def _ends(setting: Setting, forecast: Forecast) -> Array:
    """(difficulties, 2): the least and the largest mask rate at each tabulated difficulty."""
    noise, mode = setting.noise or forecast.config.noise, setting.mode or forecast.config.curriculum.mode
    return np.array([mask_range(noise, float(d), mode) for d in trainers.GRID])


def context_weight(setting: Setting, steps: Array, forecast: Forecast) -> Array:
    """How much a model gains from the other residues at the difficulty of each step, over that at full difficulty.

    It is more the fewer residues are masked: the mean of (1 - m)^`CONTEXT` over the mask rates m.
    """
    ends, power = _ends(setting, forecast), CONTEXT + 1.0
    rest = (1.0 - ends) ** power / power
    context = (rest[:, 0] - rest[:, 1]) / np.maximum(ends[:, 1] - ends[:, 0], 1e-9)
    found: Array = np.interp(setting.difficulty(steps), trainers.GRID, context / max(float(context[-1]), 1e-6))
    return found


def learning_at(steps: Array, of_frequencies: Array, of_context: Array, forecast: Forecast) -> Learning:
    """The curves of learning at optimizer steps, of which those in the warm-up count less."""
    return learning(steps, effective(steps, forecast), of_frequencies, of_context)


def effective(steps: Array, forecast: Forecast) -> Array:
    """Optimizer steps at the full learning rate that make up for those so far: the warm-up raises the rate linearly."""
    warmup = max(forecast.config.optim.warmup, 1)
    found: Array = np.where(steps < warmup, steps**2 / (2 * warmup), steps - warmup / 2)
    return found
