"""Small worlds in which everything can be enumerated: the oracles of the diffusion core.

A `Toy` is an arbitrary joint distribution over the n^L sequences of n <= 5 symbols and length L <= 4. Noise is applied
by matrix exponentials of the rate matrices of Lou et al. (2024, section 3.3), so that nothing here shares a formula
with the library. All in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor

from sedd.diffusion.graphs import Absorb, Graph
from sedd.diffusion.parametrization import Network, Parametrization
from sedd.diffusion.process import Process
from sedd.plugins.contracts import Noise
from sedd.plugins.noises import LogLinear

Nodes = tuple[Tensor, Tensor]
"""Noise levels sigma and their weights: the sum of weight times f(sigma) is the integral of f over sigma."""


def rates(graph: Graph) -> Tensor:
    """The rate matrix, (states, states): entry (z, a) is the rate from a to z, so that columns sum to 0."""
    if isinstance(graph, Absorb):
        return torch.cat([torch.zeros(graph.n, graph.states), torch.ones(1, graph.states)]).double() - torch.eye(
            graph.states, dtype=torch.float64
        )
    return torch.full((graph.n, graph.n), 1.0 / graph.n, dtype=torch.float64) - torch.eye(graph.n, dtype=torch.float64)


def transitions(graph: Graph, sigma: Tensor) -> Tensor:
    """p(z | a) after noise sigma (S,), for all states a: (S, states, states)."""
    return torch.matrix_exp(sigma.double()[:, None, None] * rates(graph))


def every_sequence(states: int, length: int) -> Tensor:
    """All sequences, (states^length, length), in the order of `codes`."""
    return torch.tensor(list(itertools.product(range(states), repeat=length)))


def codes(tokens: Tensor, states: int) -> Tensor:
    """The place of each sequence (..., length) in `every_sequence`."""
    powers = states ** torch.arange(tokens.shape[-1] - 1, -1, -1)
    return (tokens * powers).sum(-1)


def process_of(graph: Graph, model: Parametrization, noise: Noise | None = None) -> Process:
    """A process; by default with the default log-linear noise."""
    return Process(graph, LogLinear() if noise is None else noise, model)


@dataclass(frozen=True, eq=False)
class Toy:
    """A distribution `p` over sequences, one axis of size n per residue."""

    p: Tensor

    @staticmethod
    def random(n: int, length: int, *, seed: int = 0, contrast: float = 1.0) -> Toy:
        """Probabilities proportional to e^(contrast z), z normal."""
        z = np.random.default_rng(seed).normal(size=(n,) * length)
        return Toy(torch.softmax(torch.from_numpy(contrast * z).flatten(), 0).reshape((n,) * length))

    @property
    def n(self) -> int:
        return self.p.shape[0]

    @property
    def length(self) -> int:
        return self.p.dim()

    @cached_property
    def sequences(self) -> Tensor:
        """All clean sequences, (n^L, L)."""
        return every_sequence(self.n, self.length)

    @cached_property
    def nll(self) -> Tensor:
        """-log p of all clean sequences, nats per sequence, (n^L,)."""
        return -torch.log(self.p.flatten())

    def noisy(self, graph: Graph, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """All noisy sequences (X, L), and p(x_t | x_0) for every noise level and clean sequence, (S, n^L, X)."""
        noisy = every_sequence(graph.states, self.length)
        kernel = transitions(graph, sigma)
        chance = torch.ones(len(sigma), len(self.sequences), len(noisy), dtype=torch.float64)
        for i in range(self.length):
            chance *= kernel[:, noisy[:, i]][:, :, self.sequences[:, i]].transpose(1, 2)
        return noisy, chance

    def marginal(self, graph: Graph, sigma: Tensor, *, clean: int | None = None) -> Tensor:
        """p(x_t) at each noise level, (S, states, ..., states); residue `clean` stays without noise, (..., n, ...)."""
        kernel = transitions(graph, sigma)[:, :, : self.n]
        joint = self.p.expand(len(sigma), *self.p.shape)
        for i in range(self.length):
            if i != clean:
                joint = torch.einsum("sza,s...a->s...z", kernel, joint.movedim(1 + i, -1)).movedim(-1, 1 + i)
        return joint

    def true_log_score(self, graph: Graph, tokens: Tensor, sigma: Tensor) -> Tensor:
        """log p_t(x with y at i) / p_t(x) by definition, (batch, L, n); nan where nothing can be said."""
        levels, which = torch.unique(sigma, return_inverse=True)
        table = torch.log(self.marginal(graph, levels).flatten(1))[which]
        here = table.gather(1, codes(tokens, graph.states)[:, None])
        there = [table.gather(1, codes(changed, graph.states)) for changed in _changed(tokens, self.n)]
        return torch.stack(there, 1) - here[:, None]

    def true_letters(self, graph: Graph, tokens: Tensor, sigma: Tensor) -> Tensor:
        """log p(x0_i = y | what the other residues show), up to a constant, (batch, L, n)."""
        if isinstance(graph, Absorb):
            table = self.p
            for i in range(self.length):  # one more entry on each axis: the sum over it, for "not known"
                table = torch.cat([table, table.sum(i, keepdim=True)], i)
            logs = torch.log(table.flatten())
            return torch.stack([logs[codes(changed, self.n + 1)] for changed in _changed(tokens, self.n)], 1)
        levels, which = torch.unique(sigma, return_inverse=True)
        letters = []
        for i, changed in enumerate(_changed(tokens, self.n)):
            table = torch.log(self.marginal(graph, levels, clean=i).flatten(1))[which]
            letters.append(table.gather(1, codes(changed, self.n)))
        return torch.stack(letters, 1)

    def network(self, graph: Graph, model: Parametrization) -> Network:
        """The perfect network: what it puts out is exact, for either head."""

        def call(tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
            assert mask is None, "a toy has no pads"
            if model.head == "normalised":
                return self.true_letters(graph, tokens, sigma)
            score = self.true_log_score(graph, tokens, sigma).nan_to_num(0.0, 0.0, 0.0)
            if not isinstance(graph, Absorb):
                return score.scatter(-1, tokens[..., None], 7.0)  # the residue's own is never trained
            scale = torch.log(torch.expm1(sigma.double()) * self.n)[:, None, None] if model.scale_by_sigma else 0.0
            return torch.cat([score + scale, torch.full_like(score[..., :1], 7.0)], -1)  # nor is that of MASK

        return call

    def random_network(self, graph: Graph, model: Parametrization, *, seed: int, contrast: float = 1.0) -> Network:
        """Arbitrary numbers for every noisy sequence, wherever they stand: a bad model, but a model."""
        outputs = graph.n if model.head == "normalised" else graph.states
        shape = (graph.states**self.length, self.length, outputs)
        table = contrast * torch.from_numpy(np.random.default_rng(seed).normal(size=shape))
        return lambda tokens, sigma, mask=None: table[codes(tokens, graph.states)]

    def mean_entropy(self, graph: Graph, model: Parametrization, network: Network, sigma: Tensor) -> Tensor:
        """The score entropy summed over residues, in expectation over x_t, for every noise level and clean sequence."""
        noisy, chance = self.noisy(graph, sigma)
        levels = sigma.repeat_interleave(len(noisy))
        x_t = noisy.repeat(len(sigma), 1)
        scores = model.log_score(network(x_t, levels, None), x_t, levels, graph)
        rows = []
        for x0 in self.sequences:
            entropy = graph.score_entropy(scores.double(), levels, x_t, x0.expand_as(x_t))
            rows.append(entropy.sum(-1).reshape(len(sigma), len(noisy)))
        return (torch.stack(rows, 1) * chance).sum(-1)

    def integral(self, graph: Graph, model: Parametrization, network: Network, nodes: Nodes) -> Tensor:
        """The integral of `mean_entropy` over sigma for every clean sequence, nats, (n^L,)."""
        sigma, weight = nodes
        return weight @ self.mean_entropy(graph, model, network, sigma)

    def bound(self, graph: Graph, model: Parametrization, network: Network) -> Tensor:
        """The exact bound on -log p of every clean sequence, nats, (n^L,)."""
        if isinstance(graph, Absorb):
            return self.integral(graph, model, network, even_in_rate(0.0, 1.0))
        end = torch.full((len(self.sequences),), 14.0)
        prior = graph.prior(self.sequences, end).double() * self.length
        return self.integral(graph, model, network, even_in_root(0.0, 14.0)) + prior

    def any_order(self, graph: Graph, model: Parametrization, network: Network) -> Tensor:
        """The same for `absorb` by counting masks: the mean over k of L / k times the cross-entropy of k masks."""
        total = torch.zeros(len(self.sequences), dtype=torch.float64)
        for hidden in itertools.product([False, True], repeat=self.length):
            k = sum(hidden)
            if k == 0:
                continue
            x_t = torch.where(torch.tensor(hidden), graph.n, self.sequences)
            sigma = torch.full((len(x_t),), -math.log1p(-min(k / self.length, 1.0 - 1e-6)), dtype=torch.float64)
            log_p = torch.log_softmax(network(x_t, sigma, None)[..., : graph.n].double(), -1)
            right = log_p.gather(-1, self.sequences[..., None])[..., 0]
            total -= (right * torch.tensor(hidden)).sum(1) / k / math.comb(self.length, k)
        return total


def _changed(tokens: Tensor, n: int) -> list[Tensor]:
    """For each residue, the sequences with every symbol put in its place, (batch, n, L)."""
    places = []
    for i in range(tokens.shape[1]):
        changed = tokens[:, None].repeat(1, n, 1)
        changed[:, :, i] = torch.arange(n)
        places.append(changed)
    return places


def gauss(low: float, high: float, count: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [low, high]."""
    x, w = _legendre(count)
    half = 0.5 * (high - low)
    return torch.from_numpy(low + half * (x + 1.0)), torch.from_numpy(half * w)


@cache
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(count)


def even_in_rate(low: float, high: float, count: int = 12) -> Nodes:
    """Nodes over mask rates: exact for `absorb`, whose integrand over the mask rate is a polynomial."""
    m, w = gauss(low, high, count)
    return -torch.log1p(-m), w / (1.0 - m)


def even_in_root(low: float, high: float, count: int = 64) -> Nodes:
    """Nodes over the square root of sigma: crowded near 0, where the integrand of `uniform` has sigma log sigma."""
    v, w = gauss(math.sqrt(low), math.sqrt(high), count)
    return v * v, 2.0 * v * w


def chi_square(observed: Tensor, expected: Tensor) -> float:
    """The p-value of counts under expected counts, (cells,); cells that expect less than 5 are put together."""
    order = expected.argsort()
    observed, expected = observed.double()[order], expected.double()[order]
    small = int((expected < 5.0).sum())
    if small:
        observed = torch.cat([observed[:small].sum()[None], observed[small:]])
        expected = torch.cat([expected[:small].sum()[None], expected[small:]])
        if expected[0] < 1e-9:
            assert observed[0] == 0, "what is impossible was drawn"
            observed, expected = observed[1:], expected[1:]
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = torch.tensor((len(expected) - 1) / 2.0, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2.0))


def counts(samples: Tensor, states: int) -> Tensor:
    """How often each sequence was drawn, (states^L,)."""
    return torch.bincount(codes(samples, states), minlength=states ** samples.shape[1])


def mean_and_error(draw: Callable[[int], float], repeats: int) -> tuple[float, float]:
    """Mean and standard error of `draw(0)`, `draw(1)`, ..."""
    values = np.array([draw(i) for i in range(repeats)])
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(repeats))
