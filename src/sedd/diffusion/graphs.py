"""The forward processes on tokens: `absorb` (mask) and `uniform` (Lou et al. 2024, section 3.3).

Tokens 0 .. n-1 are the real symbols. `absorb` has one state more, the mask, with id n. Scores are log-ratios
log p_t(y) / p_t(x) over the real symbols y, (batch, length, n), float32.

Everything is written in terms of log s - log r, the log-ratio of the score to its target: differences of the raw
terms of the score entropy cancel catastrophically at small sigma, where r is of order n / sigma.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-12


def log_expm1(sigma: Tensor) -> Tensor:
    """log(e^sigma - 1) without overflow or cancellation; sigma is clamped away from 0, where it is -inf."""
    sigma = sigma.clamp(min=_TINY)
    return torch.where(sigma > 1.0, sigma + torch.log1p(-torch.exp(-sigma)), torch.log(torch.expm1(sigma)))


def divergence(log_ratio: Tensor) -> Tensor:
    """e^a - a - 1: zero and stationary at a = 0, positive elsewhere."""
    return torch.expm1(log_ratio) - log_ratio


@dataclass(frozen=True)
class Graph(ABC):
    """A forward process over `n` real symbols."""

    n: int

    @property
    @abstractmethod
    def states(self) -> int:
        """Number of token ids that can appear in a noisy sequence."""

    @abstractmethod
    def corrupt(self, x0: Tensor, sigma: Tensor, uniforms: Tensor) -> Tensor:
        """Draw x_t given x_0.

        Args:
            x0: (batch, length) clean tokens.
            sigma: (batch,) cumulative noise.
            uniforms: (batch, length, 2) draws from [0, 1): the first decides whether, the second to what.
        """

    @abstractmethod
    def can_move(self, x_t: Tensor) -> Tensor:
        """(batch, length) bool: where the reverse process can change something, and so where the loss looks."""

    @abstractmethod
    def score_entropy(self, log_score: Tensor, sigma: Tensor, x_t: Tensor, x0: Tensor) -> Tensor:
        """Denoising score entropy of each residue per unit of sigma (Lou et al. 2024, equation 9), (batch, length).

        sum over y != x_t of Q(x_t, y) [ s_y - r_y log s_y + r_y (log r_y - 1) ], r_y = p(y|x0) / p(x_t|x0);
        zero exactly at the true ratios, never negative. Times d sigma / dt it is the training loss.
        """

    @abstractmethod
    def mask_rate_drawn(self, x_t: Tensor, x0: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        """Per sequence, (batch,): a sum over residues whose expectation is d(mask rate) / d sigma for each.

        The loss divided by this is the loss per unit of mask rate, see `sedd.diffusion.loss_profile`. It goes by the
        residues that the noise did hit, so that their luck cancels in the quotient: for `absorb` this is exactly the
        mean cross-entropy of the masks that there are.
        """

    @abstractmethod
    def prior(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """KL of p_sigma(. | x0) from the stationary distribution, nats per residue, (batch,)."""

    @abstractmethod
    def start(self, shape: tuple[int, int], uniforms: Tensor) -> Tensor:
        """Draw from the stationary distribution, using `uniforms` (batch, length)."""

    @abstractmethod
    def posterior(self, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        """Unnormalised p(x_s | x_t) of each residue for sigma_s < sigma_t, (batch, length, states).

        It is exact for one residue given the others, for any step size; residues of one step are drawn independently.
        """

    @abstractmethod
    def tweedie(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        """Unnormalised p(x_s | x_t) of one analytic step over `dsigma` (batch,), (batch, length, states).

        Tweedie's formula (Lou et al. 2024, theorem 4.2) on the scores as they are: probabilities that wrong scores make
        negative count as 0.
        """

    @abstractmethod
    def euler(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        """Transition probabilities of one tau-leaping step over `dsigma` (batch,), (batch, length, states)."""

    @abstractmethod
    def letters(self, log_score: Tensor, sigma: Tensor) -> Tensor:
        """p(x0 | what the other residues show) of each residue, (batch, length, n); for `absorb` at masked residues."""

    @abstractmethod
    def score_of(self, letters: Tensor, log_score: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        """The log-score that goes with other letters than those of `log_score`: the inverse of `letters`."""


def _column(sigma: Tensor, like: Tensor) -> Tensor:
    """(batch,) to (batch, 1, ...) with as many dimensions as `like`."""
    return sigma.reshape(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class Absorb(Graph):
    """Each residue becomes MASK with probability 1 - e^(-sigma). At a masked residue the true score is
    p(y | rest) / (e^sigma - 1); at any other residue nothing can happen."""

    @property
    def states(self) -> int:
        return self.n + 1

    @property
    def mask(self) -> int:
        """Token id of MASK."""
        return self.n

    def corrupt(self, x0: Tensor, sigma: Tensor, uniforms: Tensor) -> Tensor:
        return torch.where(uniforms[..., 0] < -torch.expm1(-_column(sigma, x0)), self.mask, x0)

    def can_move(self, x_t: Tensor) -> Tensor:
        return x_t == self.mask

    def score_entropy(self, log_score: Tensor, sigma: Tensor, x_t: Tensor, x0: Tensor) -> Tensor:
        log_odds = log_expm1(sigma)[:, None, None]
        relative = log_score + log_odds  # log s_y - log r: for a normalised model this is log p(y)
        right = relative.gather(-1, x0[..., None])
        others = torch.exp(relative).sum(-1) - torch.exp(right[..., 0])
        entropy = (divergence(right[..., 0]) + others.clamp(min=0.0)) * torch.exp(-log_odds[..., 0])
        return torch.where(x_t == self.mask, entropy, 0.0)

    def mask_rate_drawn(self, x_t: Tensor, x0: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        return ((x_t == self.mask) & mask).sum(1) * torch.exp(-log_expm1(sigma))

    def prior(self, x0: Tensor, sigma: Tensor) -> Tensor:
        # The residues that were never masked cost an unbounded KL in theory; what the bound needs instead is the
        # chance that nothing is known, so that evaluation takes the integral to sigma = infinity, where this is 0.
        return torch.zeros_like(sigma)

    def start(self, shape: tuple[int, int], uniforms: Tensor) -> Tensor:
        return torch.full(shape, self.mask, device=uniforms.device)

    def posterior(self, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        # 1 - m_s / m_t, written so that nothing cancels where the step is short.
        share = torch.exp(-sigma_s) * torch.expm1(sigma_s - sigma_t) / torch.expm1(-sigma_t)
        leave = share[:, None, None].expand(*x_t.shape, 1)
        move = torch.cat([torch.softmax(log_score, -1) * leave, 1.0 - leave], -1)
        return torch.where((x_t == self.mask)[..., None], move, _one_hot(x_t, self.states))

    def tweedie(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        jump = torch.exp(log_score) * torch.expm1(dsigma)[:, None, None]
        return self._moved(jump, x_t)

    def euler(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        return self._moved(torch.exp(log_score) * dsigma[:, None, None], x_t)

    def letters(self, log_score: Tensor, sigma: Tensor) -> Tensor:
        return torch.softmax(log_score, -1)

    def score_of(self, letters: Tensor, log_score: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        return torch.log(letters) + torch.logsumexp(log_score, -1, keepdim=True)

    def _moved(self, jump: Tensor, x_t: Tensor) -> Tensor:
        """A masked residue jumps to a symbol with probabilities `jump` and stays with the rest; others stay."""
        move = torch.cat([jump, (1.0 - jump.sum(-1, keepdim=True)).clamp(min=0.0)], -1)
        return torch.where((x_t == self.mask)[..., None], move, _one_hot(x_t, self.states))


@dataclass(frozen=True)
class Uniform(Graph):
    """Each residue is drawn anew, uniformly, with probability 1 - e^(-sigma)."""

    @property
    def states(self) -> int:
        return self.n

    def corrupt(self, x0: Tensor, sigma: Tensor, uniforms: Tensor) -> Tensor:
        drawn = (uniforms[..., 1] * self.n).long().clamp(max=self.n - 1)
        return torch.where(uniforms[..., 0] < -torch.expm1(-_column(sigma, x0)), drawn, x0)

    def can_move(self, x_t: Tensor) -> Tensor:
        return torch.ones_like(x_t, dtype=torch.bool)

    def score_entropy(self, log_score: Tensor, sigma: Tensor, x_t: Tensor, x0: Tensor) -> Tensor:
        # p(y|x0) / p(x0|x0) for y != x0. The textbook 1 - n / (esigm1 + n) cancels; this does not, at either end.
        log_rho = -torch.log1p(self.n / torch.expm1(sigma.clamp(min=_TINY)))[:, None]
        # Log-ratios of all y: log rho where the residue did not move; where it did, -log rho at x0 and 0 elsewhere.
        log_r = torch.where(x_t == x0, log_rho, 0.0)[..., None].expand_as(log_score)
        log_r = log_r.scatter(-1, x0[..., None], -log_rho[..., None].expand(*x0.shape, 1))
        terms = torch.exp(log_r) * divergence(log_score - log_r)
        return terms.scatter(-1, x_t[..., None], 0.0).sum(-1) / self.n

    def mask_rate_drawn(self, x_t: Tensor, x0: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        # What a model that knows nothing loses at a residue that stayed and at one that moved. At little noise the few
        # that moved cost of order 1 / sigma each, and one of them more or less would drown everything else.
        token = torch.zeros(len(sigma), 2, dtype=torch.long, device=sigma.device)
        after = token + torch.arange(2, device=sigma.device)
        stay, move = self.score_entropy(torch.zeros(*token.shape, self.n, device=sigma.device), sigma, after, token).T
        moved, residues = ((x_t != x0) & mask).sum(1), mask.sum(1)
        expected = -torch.expm1(-sigma) * (self.n - 1) / self.n
        share = (moved * move + (residues - moved) * stay) / (expected * move + (1.0 - expected) * stay)
        # At much noise both costs vanish, and nothing depends on luck.
        return torch.where(sigma < 5.0, share, residues) * torch.exp(-sigma)

    def prior(self, x0: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.double()
        kept, moved = torch.exp(-sigma), -torch.expm1(-sigma)
        stays = kept + moved / self.n
        others = moved * (self.n - 1) / self.n
        kl = stays * torch.log(stays * self.n) + torch.where(
            others > 0, others * torch.log(moved.clamp(min=_TINY)), 0.0
        )
        return kl.float()

    def start(self, shape: tuple[int, int], uniforms: Tensor) -> Tensor:
        return (uniforms * self.n).long().clamp(max=self.n - 1)

    def posterior(self, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        return self.tweedie(log_score, x_t, sigma_t - sigma_s)

    def tweedie(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        # Undo the step's noise in the marginal, then apply it as a likelihood.
        step = dsigma[:, None, None]
        likelihood = torch.exp(-step) * _one_hot(x_t, self.n) - torch.expm1(-step) / self.n
        return (self._earlier(log_score, dsigma) * likelihood).float()

    def euler(self, log_score: Tensor, x_t: Tensor, dsigma: Tensor) -> Tensor:
        here = _one_hot(x_t, self.n)
        jump = torch.exp(log_score) * dsigma[:, None, None] / self.n * (1.0 - here)
        return jump + here * (1.0 - jump.sum(-1, keepdim=True)).clamp(min=0.0)

    def letters(self, log_score: Tensor, sigma: Tensor) -> Tensor:
        clean = self._earlier(log_score, sigma)
        return (clean / clean.sum(-1, keepdim=True)).float()

    def score_of(self, letters: Tensor, log_score: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        # p_t(y) is proportional to n p(y) + e^sigma - 1; divided by e^sigma - 1, so that nothing is lost at high noise.
        marginal = torch.log1p(self.n * letters * torch.exp(-log_expm1(sigma))[:, None, None])
        return marginal - marginal.gather(-1, x_t[..., None])

    def _earlier(self, log_score: Tensor, dsigma: Tensor) -> Tensor:
        """The marginal of each residue given the others, `dsigma` of noise before; sums to 1 or, clamped, to more."""
        step = dsigma[:, None, None]
        marginal = torch.softmax(_wide(log_score), -1)
        return (torch.exp(step) * marginal - torch.expm1(step) / self.n).clamp(min=0.0)


def _wide(x: Tensor) -> Tensor:
    """In float64, on devices that have it (Apple GPUs do not)."""
    return x if x.device.type == "mps" else x.double()


def _one_hot(tokens: Tensor, states: int) -> Tensor:
    return torch.nn.functional.one_hot(tokens, states).float()


def make_graph(kind: str, n: int) -> Graph:
    """The graph that `graph.type` names, over `n` real symbols."""
    return {"absorb": Absorb, "uniform": Uniform}[kind](n)
