"""`uniform`: each residue is resampled uniformly with probability 1 - e^(-sigma)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sedd.diffusion.graphs.base import (
    SIGMA_END,
    TINY,
    BoundIntegrand,
    Graph,
    column,
    divergence,
    log_expm1,
    one_hot,
)
from sedd.diffusion.loss_profile import BINS, bin_of


@dataclass(frozen=True)
class Uniform(Graph):
    """Uniform diffusion: any position can be noise, and no position is known to be."""

    has_mask: ClassVar[bool] = False
    unit: ClassVar[str] = "unit of mask rate"

    @property
    def states(self) -> int:
        return self.n

    def corrupt(self, x0: Tensor, sigma: Tensor, uniforms: Tensor) -> Tensor:
        drawn = (uniforms[..., 1] * self.n).long().clamp(max=self.n - 1)
        return torch.where(uniforms[..., 0] < -torch.expm1(-column(sigma, x0)), drawn, x0)

    def contributes(self, x_t: Tensor) -> Tensor:
        return torch.ones_like(x_t, dtype=torch.bool)

    def score_from_x0(self, log_p: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        # s_y = (n p_y + e^sigma - 1) / (n p_x + e^sigma - 1), with both divided by e^sigma - 1: at high noise both
        # are 1 and a little, and the score is in the little.
        log_odds = log_expm1(sigma)[:, None, None]
        marginal = F.softplus(log_p + math.log(self.n) - log_odds)
        return marginal - marginal.gather(-1, x_t[..., None])

    def score_from_output(self, output: Tensor, x_t: Tensor, sigma: Tensor, *, scale_by_sigma: bool) -> Tensor:
        # The ratio of a token to itself is 1, whatever the network puts out there.
        return output.scatter(-1, x_t[..., None], 0.0)

    def score_entropy(self, log_score: Tensor, sigma: Tensor, x_t: Tensor, x0: Tensor) -> Tensor:
        # rho = p(y|x0) / p(x0|x0) for y != x0. The textbook 1 - n / (esigm1 + n) cancels; this form does not, at
        # either end. Log-ratios of all y: log rho where x_t = x0; elsewhere -log rho at y = x0 and 0 at other y.
        log_rho = -torch.log1p(self.n / torch.expm1(sigma.clamp(min=TINY)))[:, None]
        log_r = torch.where(x_t == x0, log_rho, 0.0)[..., None].expand_as(log_score)
        log_r = log_r.scatter(-1, x0[..., None], -log_rho[..., None].expand(*x0.shape, 1))
        terms = torch.exp(log_r) * divergence(log_score - log_r)
        return terms.scatter(-1, x_t[..., None], 0.0).sum(-1) / self.n

    def mask_rate_drawn(self, changed: Tensor, residues: Tensor, sigma: Tensor) -> Tensor:
        # Weights: the loss of an untrained model at a residue that stayed and at one that moved. At little noise the
        # few that moved cost of order 1 / sigma each, and one more or less would drown everything else.
        token = torch.zeros(len(sigma), 2, dtype=torch.long, device=sigma.device)
        after = token + torch.arange(2, device=sigma.device)
        stay, move = self.score_entropy(torch.zeros(*token.shape, self.n, device=sigma.device), sigma, after, token).T
        expected = -torch.expm1(-sigma) * (self.n - 1) / self.n
        share = (changed * move + (residues - changed) * stay) / (expected * move + (1.0 - expected) * stay)
        # At much noise both costs vanish, and so does the Monte Carlo error.
        return torch.where(sigma < 5.0, share, residues) * torch.exp(-sigma)

    def prior(self, x0: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.double()
        kept, moved = torch.exp(-sigma), -torch.expm1(-sigma)
        stays = kept + moved / self.n
        others = moved * (self.n - 1) / self.n
        kl = stays * torch.log(stays * self.n) + torch.where(others > 0, others * torch.log(moved.clamp(min=TINY)), 0.0)
        return kl.float()

    def bound_noise(self, x0: Tensor, mask: Tensor, q: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        # sigma = SIGMA_END q^3 crowds near 0: a residue moves there with probability of order sigma and then costs of
        # order 1 / sigma, so that any density that stays finite at 0 would give an infinite variance.
        sigma = (SIGMA_END * q**3).clamp(min=1e-9)
        return self.corrupt(x0, sigma.float().to(x0.device), uniforms), sigma

    def bound_integrand(
        self, log_score: Tensor, x_t: Tensor, x0: Tensor, mask: Tensor, *, sigma: Tensor, trained: tuple[float, float]
    ) -> BoundIntegrand:
        # The integral of the score entropy over sigma, and beyond SIGMA_END the prior term, below 1e-9 nats.
        # Density of sigma under q uniform in [0, 1): dq / dsigma.
        density = 1.0 / (3.0 * SIGMA_END ** (1 / 3) * sigma ** (2 / 3))
        entropy = self.score_entropy(log_score, sigma.float().to(x0.device), x_t, x0).masked_fill(~mask, 0.0)
        per_residue = entropy.sum(1).cpu().double() / mask.sum(1).cpu()
        prior = self.prior(x0, torch.full_like(sigma, SIGMA_END))
        low, high = trained
        return BoundIntegrand(
            values=(per_residue / density + prior).numpy(),
            measure=(torch.exp(-sigma) / density).numpy(),
            shares=np.eye(BINS)[bin_of(-np.expm1(-sigma.numpy()))],
            trained=((sigma >= low) & (sigma <= high)).double().numpy(),
        )

    def transition_pairs(self) -> tuple[Tensor, Tensor]:
        symbols = torch.arange(self.n)
        return symbols.repeat_interleave(self.n), symbols.repeat(self.n)

    def transition_probability(self, x_t: Tensor, x0: Tensor, mask_rate: Tensor) -> Tensor:
        return mask_rate[:, None] / self.n + (x_t == x0) * (1 - mask_rate[:, None])

    def sample_limit(self, shape: tuple[int, int], uniforms: Tensor) -> Tensor:
        return (uniforms * self.n).long().clamp(max=self.n - 1)

    def start_mask_rate(self, largest: Tensor, share: Tensor) -> Tensor:
        # Full noise: a residue that was resampled looks like any other.
        return largest

    def posterior(self, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        return self.tweedie(log_score, x_t, sigma_t - sigma_s)

    def tweedie(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        # Undo the noise of the step in the marginal, then apply it as a likelihood.
        step = dsigma[:, None, None]
        likelihood = torch.exp(-step) * one_hot(x_t, self.n) - torch.expm1(-step) / self.n
        return (self._marginal_before(log_score, dsigma) * likelihood).float()

    def euler(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        current = one_hot(x_t, self.n)
        jump = torch.exp(log_score) * dsigma[:, None, None] / self.n * (1.0 - current)
        return jump + current * (1.0 - jump.sum(-1, keepdim=True)).clamp(min=0.0)

    def x0_probabilities(self, log_score: Tensor, sigma: Tensor) -> Tensor:
        clean = self._marginal_before(log_score, sigma)
        return (clean / clean.sum(-1, keepdim=True)).float()

    def score_with_x0(self, p: Tensor, log_score: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        return self.score_from_x0(torch.log(p), x_t, sigma)

    def _marginal_before(self, log_score: Tensor, dsigma: Tensor) -> Tensor:
        """The marginal of each position given the others before the last `dsigma` of noise, (batch, length, n).

        It sums to 1, or to more where wrong scores had to be clamped at 0.
        """
        step = dsigma[:, None, None]
        marginal = torch.softmax(_double(log_score), -1)
        return (torch.exp(step) * marginal - torch.expm1(step) / self.n).clamp(min=0.0)


def _double(x: Tensor) -> Tensor:
    """In float64, on devices that have it (Apple GPUs do not)."""
    return x if x.device.type == "mps" else x.double()
