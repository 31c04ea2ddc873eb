"""The effective noise of a batch: one object that feeds corruption, conditioning and the loss weight.

A curriculum at difficulty d replaces the noise path sigma(t), t in [0, 1], by sigma_d(u), u in [0, 1]:

| mode       | sigma_d(u)       | d sigma_d / du                     | expected loss                    |
|------------|------------------|------------------------------------|----------------------------------|
| `scale`    | d sigma(u)       | d sigma'(u)                        | the bound up to d sigma(1)       |
| `truncate` | sigma(d u)       | d sigma'(d u)                      | the bound up to sigma(d)         |
| `bias`     | sigma(u^(1/d))   | sigma'(u^(1/d)) u^(1/d - 1) / d    | the full bound, whatever d is    |

The derivative belongs to the new path, so the loss weight is right by construction: the integral of the score entropy
over sigma does not depend on the speed along the path. In `bias` mode u^(1/d) is near 0 for most u, and the derivative
contains the importance weight of such a t; it is at most 1/d times the derivative of the original path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sedd.plugins.checked import checked_rate, checked_sigma
from sedd.plugins.contracts import Noise
from sedd.randomness import generator

Mode = Literal["scale", "truncate", "bias"]


@dataclass(frozen=True)
class NoiseState:
    """The noise of each sequence of a batch: `sigma` and its derivative `dsigma`, both (batch,) float32."""

    sigma: Tensor
    dsigma: Tensor

    def copied(self, copy: Callable[[Tensor], Tensor]) -> NoiseState:
        """The noise with `copy` of both tensors."""
        return NoiseState(copy(self.sigma), copy(self.dsigma))

    def __getitem__(self, rows: slice) -> NoiseState:
        """The noise of some sequences of the batch."""
        return NoiseState(self.sigma[rows], self.dsigma[rows])

    @property
    def mask_rate(self) -> Tensor:
        """1 - e^(-sigma): the chance that a residue is masked (`absorb`) or resampled (`uniform`)."""
        return -torch.expm1(-self.sigma)


def noise_state(noise: Noise, u: Tensor, *, difficulty: float = 1.0, mode: Mode = "scale") -> NoiseState:
    """The noise at path positions `u`, (batch,) in [0, 1], under a curriculum of this difficulty.

    Computed in float64 and rounded once: schedules are cheap, and their differences near the ends matter.

    Raises:
        PluginError: if the schedule fails, or returns what no noise can be.
    """
    u = u.double()
    match mode:
        case "scale":
            sigma, dsigma = difficulty * checked_sigma(noise, u), difficulty * checked_rate(noise, u)
        case "truncate":
            sigma, dsigma = checked_sigma(noise, difficulty * u), difficulty * checked_rate(noise, difficulty * u)
        case "bias":
            power = 1.0 / max(difficulty, 1e-6)  # a curriculum may start at 0, where every t is 0
            t = u**power
            sigma, dsigma = checked_sigma(noise, t), checked_rate(noise, t) * power * u ** (power - 1.0)
    return NoiseState(sigma.float(), dsigma.float())


def path_positions(seed: int, samples: np.ndarray) -> np.ndarray:
    """Stratified positions u in [0, 1) for one optimizer step: one in each of B equal strata, in random order.

    Args:
        seed: of the run.
        samples: (B,) global sample indices of the whole step, so that splitting it up changes nothing.
    """
    random = generator(seed, "time", int(samples.min()))
    return (random.permutation(len(samples)) + random.random(len(samples))) / len(samples)


def corruption_uniforms(seed: int, samples: np.ndarray, lengths: np.ndarray, longest: int) -> Tensor:
    """(B, longest, 2) draws from [0, 1), each row a function of (seed, global sample index) alone."""
    drawn = np.zeros((len(samples), longest, 2), np.float32)
    for row, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
        drawn[row, :length] = generator(seed, "corrupt", int(sample)).random((int(length), 2), np.float32)
    return torch.from_numpy(drawn)


def dropout_keys(seed: int, samples: np.ndarray) -> Tensor:
    """(B,) int64 below 2^31: the key of each sequence's dropout masks."""
    return torch.tensor([int(generator(seed, "dropout", int(sample)).integers(2**31)) for sample in samples])
