"""What a forward process on tokens has to answer.

Tokens 0 .. n-1 are the symbols of the alphabet; `absorb` has one more state, MASK, with id n. Scores are log-ratios
log p_t(y) / p_t(x) over the n symbols y: (batch, length, n), float32.

Everything is written in terms of log s - log r, the log-ratio of the score to its target. At small sigma r is of order
n / sigma, and differences of the raw terms of the score entropy would cancel catastrophically.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

TINY = 1e-12
"""Smallest sigma of `log_expm1`."""
SIGMA_END = 12.0
"""The sigma that stands for infinite noise in the bound: a residue is clean there with probability e^(-12)."""


def log_expm1(sigma: Tensor) -> Tensor:
    """log(e^sigma - 1) without overflow or cancellation; sigma is clamped away from 0, where it is -inf."""
    sigma = sigma.clamp(min=TINY)
    return torch.where(sigma > 1.0, sigma + torch.log1p(-torch.exp(-sigma)), torch.log(torch.expm1(sigma)))


def divergence(log_ratio: Tensor) -> Tensor:
    """e^a - a - 1: zero and stationary at a = 0, positive elsewhere."""
    return torch.expm1(log_ratio) - log_ratio


def column(sigma: Tensor, like: Tensor) -> Tensor:
    """Reshape (batch,) to (batch, 1, ...) with as many dimensions as `like`."""
    return sigma.reshape(-1, *[1] * (like.dim() - 1))


def one_hot(tokens: Tensor, states: int) -> Tensor:
    """(batch, length, states) float32 indicators of `tokens` (batch, length)."""
    return torch.nn.functional.one_hot(tokens, states).float()


@dataclass(frozen=True)
class BoundIntegrand:
    """The integrand of the bound at one noise level per sequence; see `Graph.bound_integrand`."""

    values: np.ndarray
    """(batch,): the integrand over the density of the noise level, nats per residue; its mean is the bound."""
    measure: np.ndarray
    """(batch,): `values` of an integrand that is 1 per unit of mask rate."""
    shares: np.ndarray
    """(batch, BINS): how the noise level divides over the bins of mask rate; rows sum to 1."""
    trained: np.ndarray
    """(batch,): the share of it within the noise that the model was trained on, in [0, 1]."""


@dataclass(frozen=True)
class Graph(ABC):
    """A forward process over `n` symbols."""

    has_mask: ClassVar[bool]
    """Whether the process masks: a masked position is known to be noise, and an unmasked one to be clean."""
    unit: ClassVar[str]
    """What the loss profile is measured per."""

    n: int

    @property
    @abstractmethod
    def states(self) -> int:
        """Number of token ids that can appear in a noisy sequence."""

    # Training ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def corrupt(self, x0: Tensor, sigma: Tensor, uniforms: Tensor) -> Tensor:
        """Draw x_t given x_0.

        Args:
            x0: (batch, length) clean tokens.
            sigma: (batch,) cumulative noise.
            uniforms: (batch, length, 2) draws from [0, 1): one decides whether a token changes, the other to what.
        """

    @abstractmethod
    def contributes(self, x_t: Tensor) -> Tensor:
        """(batch, length) bool: positions that contribute to the loss, since the reverse process can change them."""

    @abstractmethod
    def score_from_x0(self, log_p: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        """Log-score of the `normalised` head, (batch, length, n).

        Args:
            log_p: (batch, length, n) log p(x0 | the other positions of x_t).
            x_t: (batch, length) noisy tokens.
            sigma: (batch,) cumulative noise.
        """

    @abstractmethod
    def score_from_output(self, output: Tensor, x_t: Tensor, sigma: Tensor, *, scale_by_sigma: bool) -> Tensor:
        """Log-score of the `score` head, (batch, length, n), from the network's output (batch, length, states)."""

    @abstractmethod
    def score_entropy(self, log_score: Tensor, sigma: Tensor, x_t: Tensor, x0: Tensor) -> Tensor:
        """Denoising score entropy of each position per unit of sigma (Lou et al. 2024, equation 9), (batch, length).

        sum over y != x_t of Q(x_t, y) [ s_y - r_y log s_y + r_y (log r_y - 1) ], r_y = p(y|x0) / p(x_t|x0).
        It is zero exactly at the true ratios and never negative. Times d sigma / dt it is the training loss.
        """

    @abstractmethod
    def mask_rate_drawn(self, changed: Tensor, residues: Tensor, sigma: Tensor) -> Tensor:
        """Per sequence, (batch,): a sum over residues whose expectation is d(mask rate) / d sigma for each residue.

        Args:
            changed: (batch,) number of residues that the noise changed.
            residues: (batch,) number of residues.
            sigma: (batch,) cumulative noise.

        The loss divided by this is the loss per unit of mask rate (`sedd.diffusion.loss_profile`). It counts the
        residues that were corrupted in this draw, so that the Monte Carlo error of the corruption cancels in the ratio.
        For `absorb` the ratio is exactly the mean cross-entropy of the masked residues.
        """

    # Evaluation ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def prior(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """KL of p_sigma(. | x0) from the stationary distribution, nats per residue, (batch,)."""

    @abstractmethod
    def bound_noise(self, x0: Tensor, mask: Tensor, q: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Corrupt sequences at stratified noise levels for the bound; returns x_t (batch, length), sigma (batch,).

        Args:
            x0: (batch, length) clean tokens.
            mask: (batch, length), True at residues.
            q: (batch,) float64 in [0, 1), on the host: where in the range of noise each sequence is evaluated.
            uniforms: (batch, length, 2) draws from [0, 1).
        """

    @abstractmethod
    def bound_integrand(
        self, log_score: Tensor, x_t: Tensor, x0: Tensor, mask: Tensor, *, sigma: Tensor, trained: tuple[float, float]
    ) -> BoundIntegrand:
        """The integrand of the bound at the noise of `bound_noise`.

        Args:
            log_score: (batch, length, n) of the model at x_t.
            x_t: (batch, length) noisy tokens.
            x0: (batch, length) clean tokens.
            mask: (batch, length), True at residues.
            sigma: (batch,) float64 on the host.
            trained: the least and the largest sigma that the model was trained on.
        """

    @abstractmethod
    def transition_pairs(self) -> tuple[Tensor, Tensor]:
        """All pairs (x0, x_t) of one position that contribute to the loss, (pairs,) each."""

    @abstractmethod
    def transition_probability(self, x_t: Tensor, x0: Tensor, mask_rate: Tensor) -> Tensor:
        """p(x_t | x0) of the pairs (pairs,) at mask rates (rates,), as (rates, pairs)."""

    # Sampling ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def sample_limit(self, shape: tuple[int, int], uniforms: Tensor) -> Tensor:
        """Draw from the stationary distribution, using `uniforms` (batch, length)."""

    @abstractmethod
    def start_mask_rate(self, largest: Tensor, share: Tensor) -> Tensor:
        """The mask rate at which sampling starts, (batch,) float64.

        Args:
            largest: (batch,) the mask rate at sigma_max.
            share: (batch,) the share of positions that are to be drawn.
        """

    @abstractmethod
    def posterior(self, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        """Unnormalised p(x_s | x_t) of each position for sigma_s < sigma_t, (batch, length, states).

        It is exact for one position given the others, for any step size. Positions are independent within a step.
        """

    @abstractmethod
    def tweedie(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        """Unnormalised p(x_s | x_t) of one analytic step over `dsigma` (batch,), (batch, length, states).

        Tweedie's formula (Lou et al. 2024, theorem 4.2). Probabilities that wrong scores make negative become 0.
        """

    @abstractmethod
    def euler(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        """Transition probabilities of one tau-leaping step over `dsigma` (batch,), (batch, length, states)."""

    @abstractmethod
    def x0_probabilities(self, log_score: Tensor, sigma: Tensor) -> Tensor:
        """p(x0 | the other positions of x_t), (batch, length, n); for `absorb` at masked positions only."""

    @abstractmethod
    def score_with_x0(self, p: Tensor, log_score: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        """The log-score with its p(x0 | others) replaced by `p` (batch, length, n); inverts `x0_probabilities`."""
