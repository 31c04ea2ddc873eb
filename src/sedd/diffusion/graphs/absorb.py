"""`absorb`: each residue becomes MASK with probability 1 - e^(-sigma)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sedd.diffusion.graphs.base import BoundIntegrand, Graph, column, divergence, log_expm1, one_hot
from sedd.diffusion.loss_profile import BINS, EDGES


@dataclass(frozen=True)
class Absorb(Graph):
    """Masking diffusion.

    At a masked position the true score is p(y | rest) / (e^sigma - 1). At any other position nothing can change.
    """

    has_mask: ClassVar[bool] = True
    unit: ClassVar[str] = "masked residue"

    @property
    def states(self) -> int:
        return self.n + 1

    @property
    def mask(self) -> int:
        """Token id of MASK."""
        return self.n

    def corrupt(self, x0: Tensor, sigma: Tensor, uniforms: Tensor) -> Tensor:
        return torch.where(uniforms[..., 0] < -torch.expm1(-column(sigma, x0)), self.mask, x0)

    def contributes(self, x_t: Tensor) -> Tensor:
        return x_t == self.mask

    def score_from_x0(self, log_p: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        # s_y = p(y) / (e^sigma - 1)
        return log_p - log_expm1(sigma)[:, None, None]

    def score_from_output(self, output: Tensor, x_t: Tensor, sigma: Tensor, *, scale_by_sigma: bool) -> Tensor:
        # With `scale_by_sigma` an output of 0 is the score of a uniform p(x0): 1 / (n (e^sigma - 1)).
        log_scale = log_expm1(sigma)[:, None, None] + math.log(self.n) if scale_by_sigma else 0.0
        return output[..., : self.n] - log_scale

    def score_entropy(self, log_score: Tensor, sigma: Tensor, x_t: Tensor, x0: Tensor) -> Tensor:
        # The target is r = 1 / (e^sigma - 1) at y = x0 and 0 elsewhere, so the sum over y is
        # r [ divergence(log s_x0 - log r) + sum over y != x0 of s_y / r ].
        log_odds = log_expm1(sigma)[:, None, None]
        relative = log_score + log_odds  # log s_y - log r; with the normalised head this is log p(y)
        right = relative.gather(-1, x0[..., None])
        others = torch.exp(relative).sum(-1) - torch.exp(right[..., 0])
        entropy = (divergence(right[..., 0]) + others.clamp(min=0.0)) * torch.exp(-log_odds[..., 0])
        return torch.where(x_t == self.mask, entropy, 0.0)

    def mask_rate_drawn(self, changed: Tensor, residues: Tensor, sigma: Tensor) -> Tensor:
        return changed * torch.exp(-log_expm1(sigma))

    def prior(self, x0: Tensor, sigma: Tensor) -> Tensor:
        # In theory a residue that was never masked costs an unbounded KL. The bound instead takes its integral to
        # sigma = infinity, where everything is masked and this term is 0.
        return torch.zeros_like(sigma)

    def bound_noise(self, x0: Tensor, mask: Tensor, q: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        # Exact mask counts k, stratified over 1..L: the positions with the k smallest random numbers are masked.
        lengths = mask.sum(1).cpu()
        counts = 1 + torch.floor(q * lengths).long().clamp(max=lengths - 1)
        ranks = uniforms[..., 0].masked_fill(~mask, 2.0).argsort(-1).argsort(-1)
        x_t = torch.where(ranks < counts.to(ranks.device)[:, None], self.mask, x0)
        return x_t, -torch.log1p(-counts.double() / lengths)

    def bound_integrand(
        self, log_score: Tensor, x_t: Tensor, x0: Tensor, mask: Tensor, *, sigma: Tensor, trained: tuple[float, float]
    ) -> BoundIntegrand:
        # (1/k) sum over the k masked positions of -log p(x_i | unmasked).
        masked = x_t == self.mask
        counts, lengths = masked.sum(1).cpu(), mask.sum(1).cpu()
        log_p = torch.log_softmax(log_score, -1).gather(-1, x0[..., None])[..., 0]
        values = -(log_p * masked).sum(1).cpu().double() / counts
        # The share of k masks between two mask rates is P(at least k masks) at the upper less that at the lower one.
        ends = [-math.expm1(-end) for end in trained]
        at_least = _at_least(counts, lengths, torch.tensor([*EDGES, *ends], dtype=torch.float64)).numpy()
        return BoundIntegrand(
            values=values.numpy(),
            measure=np.ones(len(x_t)),
            shares=np.diff(at_least[:, : BINS + 1], axis=1),
            trained=at_least[:, -1] - at_least[:, -2],
        )

    def transition_pairs(self) -> tuple[Tensor, Tensor]:
        return torch.arange(self.n), torch.full((self.n,), self.mask)

    def transition_probability(self, x_t: Tensor, x0: Tensor, mask_rate: Tensor) -> Tensor:
        return mask_rate[:, None].expand(-1, len(x_t))

    def sample_limit(self, shape: tuple[int, int], uniforms: Tensor) -> Tensor:
        return torch.full(shape, self.mask, device=uniforms.device)

    def start_mask_rate(self, largest: Tensor, share: Tensor) -> Tensor:
        # Where as many positions are expected to be masked as there are to draw.
        return torch.minimum(largest, share)

    def posterior(self, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        # A mask is left with probability 1 - m_s / m_t, written so that nothing cancels where the step is short.
        share = torch.exp(-sigma_s) * torch.expm1(sigma_s - sigma_t) / torch.expm1(-sigma_t)
        leave = share[:, None, None].expand(*x_t.shape, 1)
        move = torch.cat([torch.softmax(log_score, -1) * leave, 1.0 - leave], -1)
        return torch.where((x_t == self.mask)[..., None], move, one_hot(x_t, self.states))

    def tweedie(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        return self._moved(torch.exp(log_score) * torch.expm1(dsigma)[:, None, None], x_t)

    def euler(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        return self._moved(torch.exp(log_score) * dsigma[:, None, None], x_t)

    def x0_probabilities(self, log_score: Tensor, sigma: Tensor) -> Tensor:
        return torch.softmax(log_score, -1)

    def score_with_x0(self, p: Tensor, log_score: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        # The total rate of leaving MASK stays as it was.
        return torch.log(p) + torch.logsumexp(log_score, -1, keepdim=True)

    def _moved(self, jump: Tensor, x_t: Tensor) -> Tensor:
        """Transitions of a masked position that jumps to a symbol with probabilities `jump`; other positions stay."""
        move = torch.cat([jump, (1.0 - jump.sum(-1, keepdim=True)).clamp(min=0.0)], -1)
        return torch.where((x_t == self.mask)[..., None], move, one_hot(x_t, self.states))


def _at_least(counts: Tensor, lengths: Tensor, rates: Tensor) -> Tensor:
    """Binomial probability of at least `counts` (batch,) masks among `lengths` residues at `rates`, (batch, rates)."""
    total = lengths.double()[:, None]
    k = torch.arange(int(lengths.max()) + 1, dtype=torch.float64)
    rest = (total - k).clamp(min=0.0)
    chosen = torch.lgamma(total + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)
    chosen = chosen.masked_fill((k < counts[:, None]) | (k > total), -math.inf)[:, None]
    log_chance = chosen + torch.xlogy(k, rates[:, None]) + torch.xlogy(rest[:, None], 1.0 - rates[:, None])
    return torch.exp(log_chance).sum(-1)
