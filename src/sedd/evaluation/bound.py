"""The headline metric: an upper bound on -log p(x), nats per residue, that never sees the curriculum.

For `absorb`, with k uniform in 1..L and S a uniform subset of k positions,

    -log p(x) / L  <=  E_k E_S [ (1/k) sum over i in S of -log p(x_i | x without S) ]

(Uria et al. 2014; Ou et al. 2024): no noise schedule and no cut-off. For `uniform` it is the integral over sigma of
the score entropy, plus the prior term (Lou et al. 2024, theorem 3.6). Both are estimated on fixed sequences with fixed,
stratified noise levels, so that two evaluations differ only by the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sedd.config.sections import Model
from sedd.data import Sequences, lengths_of
from sedd.data.batch import Batch, load
from sedd.data.order import GlobalBatch
from sedd.diffusion.graphs import Absorb, Graph
from sedd.diffusion.loss_profile import BINS, EDGES, bin_of
from sedd.diffusion.parametrization import Network, log_score
from sedd.plugins.contracts import Backend, Noise
from sedd.randomness import generator

SIGMA_END = 12.0
"""Where the `uniform` integral ends and the prior term takes over (which is then below 1e-9 nats)."""


@dataclass(frozen=True)
class Bound:
    """A bound on the negative log-likelihood of a set of sequences."""

    nats: float
    """Upper bound on -log p(x), nats per residue."""
    stderr: float
    """Standard error over sequences, nats per residue; infinite for a single one, which says nothing of others."""
    trained: float
    """The part of the integral within the range of noise that the model was trained on, nats per residue."""
    sequences: int
    """How many were evaluated."""
    residues: int
    """Residues in them."""
    cropped: int
    """Sequences longer than `model.length`: only a part of each was scored."""
    profile: tuple[float | None, ...] = field(default=(), repr=False)
    """The integrand by mask rate, in the bins of `sedd.diffusion.loss_profile`; None where nothing was drawn."""
    up_to: tuple[float, ...] = field(default=(), repr=False)
    """The part of the integral up to the end of each bin, nats per residue: what runs of other noise can share."""
    up_to_stderr: tuple[float, ...] = field(default=(), repr=False)
    """Its standard error over sequences."""

    @property
    def bits(self) -> float:
        """Bits per residue."""
        return self.nats / math.log(2.0)

    @property
    def perplexity(self) -> float:
        """e^nats: as many equally likely symbols."""
        return math.exp(self.nats)


@dataclass(frozen=True, eq=False)
class BySequence:
    """What each evaluated sequence contributes to a bound, in the order of the chosen items."""

    residues: np.ndarray
    """(sequences,): residues that were scored."""
    by_bin: np.ndarray
    """(sequences, BINS): the part of the integral in each bin of mask rate, nats per residue of that sequence."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the evaluated sequences, one after the other, with what every noise level said of them."""

    items: np.ndarray
    """(sequences,): which items of the data, in order."""
    residues: np.ndarray
    """(sequences,): residues that were scored."""
    values: np.ndarray
    """(sequences, masks): an unbiased estimate of the bound from each stratum, nats per residue; their mean is it."""
    by_bin: np.ndarray
    """(sequences, BINS): as in `BySequence`."""
    drawn: np.ndarray
    """(sequences, BINS): how much mask rate was drawn in each bin; 1 in all on average."""
    trained: np.ndarray
    """(sequences,): the part within the range of noise that the model was trained on."""


@dataclass(frozen=True)
class Estimator:
    """Evaluates networks on the same sequences at the same noise, again and again.

    Args:
        data: held-out sequences.
        graph: the forward process.
        model: which head the network has, and the longest sequence (longer ones are cropped, always alike).
        noise: the schedule the model was trained with; bounds what the network is told and defines `Bound.trained`.
        backend: where to run.
        count: how many sequences, at most; a keyed choice where there are more.
        masks: noise levels per sequence.
        batch_size: sequences per batch.
        seed: keys every draw.
    """

    data: Sequences
    graph: Graph
    model: Model
    noise: Noise
    backend: Backend
    count: int
    masks: int
    batch_size: int
    seed: int = 0

    def __call__(self, network: Network) -> Bound:
        """Bound of `network` (called as in `sedd.diffusion.parametrization.Network`; put it in eval mode first)."""
        return self.with_sequences(network)[0]

    def with_sequences(self, network: Network) -> tuple[Bound, BySequence]:
        """The same, and what each sequence contributes: two models are told apart best sequence by sequence."""
        chosen = self.chosen()
        whole = self._part(network, chosen, np.arange(len(chosen)))
        total, lengths, by_bin, drawn = len(whole.items), whole.residues, whole.by_bin, whole.drawn
        residues, means = lengths.sum(), by_bin.sum(1)
        nats = float(lengths @ means / residues)
        known = lengths @ drawn > 0
        profile = np.divide(lengths @ by_bin, lengths @ drawn, out=np.zeros(BINS), where=known)
        # A part of the integral is the profile times the width of each bin: how much of a bin each sequence happened
        # to draw is then no source of error.
        left = (by_bin - profile * drawn).cumsum(1)
        scatter = lengths[:, None] * np.column_stack([means - nats, left])
        stderr = np.linalg.norm(scatter, axis=0) / residues if total > 1 else np.full(BINS + 1, math.inf)
        bound = Bound(
            nats=nats,
            stderr=float(stderr[0]),
            trained=float(lengths @ whole.trained / residues),
            sequences=total,
            residues=int(residues),
            cropped=int((lengths_of(self.data, chosen) > self.model.length).sum()),
            profile=tuple(float(p) if there else None for p, there in zip(profile, known, strict=True)),
            up_to=tuple(np.cumsum(profile * np.diff(EDGES)).tolist()),
            up_to_stderr=tuple(stderr[1:].tolist()),
        )
        return bound, BySequence(lengths, by_bin)

    def parts(self, network: Network, *, size: int = 4096) -> Iterator[Part]:
        """The same in parts of at most about `size` sequences, so that memory does not grow with their number."""
        chosen = self.chosen()
        for ranks in np.array_split(np.arange(len(chosen)), -(-len(chosen) // size)):
            yield self._part(network, chosen, ranks)

    @torch.no_grad()
    def in_place_of_first(self, network: Network, tokens: Tensor) -> np.ndarray:
        """What every noise level says of sequences put in the place of the first item, (sequences, masks).

        The noise is the same for all of them, at the same places, so that they differ by what they are. Nats per
        residue; the mean over `masks` is the bound.

        Args:
            network: in eval mode.
            tokens: (sequences, length) clean ids, without pads.
        """
        batch = _unpadded(tokens, self.backend.device())
        first = np.zeros(len(tokens), np.int64)
        levels = [self._values(network, batch, self._levels(first, level), level).values for level in range(self.masks)]
        return np.stack(levels, 1)

    @torch.no_grad()
    def scores(self, network: Network, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Log-scores (batch, length, n) of noisy sequences without pads.

        The network is told of `sigma`, (batch,), as far as it was trained on it.
        """
        batch = _unpadded(tokens, self.backend.device())
        return self._scores(network, batch, batch.tokens, sigma, least=self.noise.sigma_min)

    @torch.no_grad()
    def _part(self, network: Network, chosen: np.ndarray, ranks: np.ndarray) -> Part:
        """The sequences of these consecutive ranks among the chosen ones."""
        n, first = len(ranks), int(ranks[0])
        levels = [self._levels(ranks, level) for level in range(self.masks)]
        lengths, values, trained = np.zeros(n), np.zeros((n, self.masks)), np.zeros(n)
        by_bin, drawn = np.zeros((n, BINS)), np.zeros((n, BINS))
        for batch, order in self._batches(chosen, ranks):
            here = order - first
            lengths[here] = batch.mask.sum(1).cpu().double().numpy()
            for level in range(self.masks):
                found = self._values(network, batch, levels[level][here], level)
                values[here, level] = found.values
                by_bin[here] += found.values[:, None] * found.shares / self.masks
                drawn[here] += found.measure[:, None] * found.shares / self.masks
                trained[here] += found.values * found.trained / self.masks
        return Part(chosen[ranks], lengths, values, by_bin, drawn, trained)

    def chosen(self) -> np.ndarray:
        """The items to evaluate, in order."""
        total = min(self.count, len(self.data))
        return np.sort(generator(self.seed, "bound-sequences").permutation(len(self.data))[:total])

    def _batches(
        self, chosen: np.ndarray | None = None, ranks: np.ndarray | None = None
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Batches of similar length, and the rank of each sequence among those evaluated; of these ranks, or all."""
        chosen = self.chosen() if chosen is None else chosen
        ranks = np.arange(len(chosen)) if ranks is None else ranks
        lengths = np.minimum(lengths_of(self.data, chosen[ranks]), self.model.length)
        by_length = np.argsort(lengths, kind="stable")
        for first in range(0, len(ranks), self.batch_size):
            place = by_length[first : first + self.batch_size]
            items = chosen[ranks[place]]
            plan = GlobalBatch(samples=items, indices=items, lengths=lengths[place])
            batch = load(self.data, plan, seed=self.seed, max_length=self.model.length)
            yield batch.to(self.backend.device()), ranks[place]

    def _levels(self, order: np.ndarray, level: int) -> np.ndarray:
        """Stratified positions in [0, 1): one of each sequence in every 1/masks, filled evenly by all."""
        total = min(self.count, len(self.data))
        random = generator(self.seed, "bound-levels", level)
        fine: np.ndarray = (random.permutation(total) + random.random(total)) / total
        return np.asarray((level + fine[order]) / self.masks)

    def _values(self, network: Network, batch: Batch, q: np.ndarray, level: int) -> _Found:
        """The integrand of each sequence at its noise level."""
        length = batch.tokens.shape[1]
        draws = [
            generator(self.seed, "bound-noise", level, int(s)).random((length, 2), np.float32) for s in batch.samples
        ]
        uniforms = torch.from_numpy(np.stack(draws)).to(batch.tokens.device)
        # What is per sequence is float64 on the host; what is per residue is float32 on the device.
        integrand = self._absorb if isinstance(self.graph, Absorb) else self._uniform
        return integrand(network, batch, torch.from_numpy(q), uniforms)

    def _trained_range(self) -> tuple[float, float]:
        """The least and the most noise that the model was trained on."""
        low, high = self.noise.total(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        return low, high

    def _absorb(self, network: Network, batch: Batch, q: Tensor, uniforms: Tensor) -> _Found:
        lengths = batch.mask.sum(1).cpu()
        counts = 1 + torch.floor(q * lengths).long().clamp(max=lengths - 1)
        ranks = uniforms[..., 0].masked_fill(~batch.mask, 2.0).argsort(-1).argsort(-1)
        hidden = ranks < counts.to(ranks.device)[:, None]
        x_t = torch.where(hidden, self.graph.n, batch.tokens)
        sigma = -torch.log1p(-counts.double() / lengths)
        scores = self._scores(network, batch, x_t, sigma)
        log_p = torch.log_softmax(scores, -1).gather(-1, batch.tokens[..., None])[..., 0]
        # Over a range of mask rates, k masks count with the chance of k or more at its end, less that at its start.
        ends = [-math.expm1(-end) for end in self._trained_range()]
        chances = _at_least(counts, lengths, torch.tensor([*EDGES, *ends], dtype=torch.float64)).numpy()
        values = -(log_p * hidden).sum(1).cpu().double() / counts
        return _Found(
            values=values.numpy(),
            measure=np.ones(len(q)),
            shares=np.diff(chances[:, : BINS + 1], axis=1),
            trained=chances[:, -1] - chances[:, -2],
        )

    def _uniform(self, network: Network, batch: Batch, q: Tensor, uniforms: Tensor) -> _Found:
        # Crowded near 0: a residue moves there with a chance of order sigma and then costs of order 1 / sigma, so that
        # any density that stays finite at 0 would give an infinite variance.
        sigma = (SIGMA_END * q**3).clamp(min=1e-9)
        density = 1.0 / (3.0 * SIGMA_END ** (1 / 3) * sigma ** (2 / 3))
        there = sigma.float().to(batch.tokens.device)
        x_t = self.graph.corrupt(batch.tokens, there, uniforms)
        scores = self._scores(network, batch, x_t, sigma)
        entropy = self.graph.score_entropy(scores, there, x_t, batch.tokens).masked_fill(~batch.mask, 0.0)
        prior = self.graph.prior(batch.tokens, torch.full_like(sigma, SIGMA_END))
        low, high = self._trained_range()
        per_residue = entropy.sum(1).cpu().double() / batch.mask.sum(1).cpu()
        place = bin_of(-np.expm1(-sigma.numpy()))
        return _Found(
            values=(per_residue / density + prior).numpy(),
            measure=(torch.exp(-sigma) / density).numpy(),
            shares=np.eye(BINS)[place],
            trained=((sigma >= low) & (sigma <= high)).double().numpy(),
        )

    def _scores(self, network: Network, batch: Batch, x_t: Tensor, sigma: Tensor, *, least: float = 0.0) -> Tensor:
        """Log-scores; the network is never told of more noise than it was trained with."""
        device = batch.tokens.device
        told = sigma.clamp(min=least, max=self.noise.sigma_max).float().to(device)
        with self.backend.autocast():
            output = network(x_t, told, None if batch.full else batch.mask)
        real = sigma.clamp(max=SIGMA_END).float().to(device)
        return log_score(output, x_t, real, graph=self.graph, model=self.model)


@dataclass(frozen=True)
class _Found:
    """What one noise level says of each sequence of a batch."""

    values: np.ndarray
    """(batch,): the integrand over its density, nats per residue."""
    measure: np.ndarray
    """(batch,): the same of an integrand that is 1 per unit of mask rate."""
    shares: np.ndarray
    """(batch, BINS): in which bins of mask rate it lies; rows sum to 1."""
    trained: np.ndarray
    """(batch,): how much of it lies within the range of noise that the model was trained on."""


def _unpadded(tokens: Tensor, device: torch.device) -> Batch:
    """A batch of sequences of one length, all keyed as the first item."""
    samples = torch.zeros(len(tokens), dtype=torch.int64)
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), samples).to(device)


def _at_least(counts: Tensor, lengths: Tensor, rates: Tensor) -> Tensor:
    """The chance that at least `counts` of `lengths` residues are masked at these mask rates, (batch, rates)."""
    total = lengths.double()[:, None]
    k = torch.arange(int(lengths.max()) + 1, dtype=torch.float64)
    rest = (total - k).clamp(min=0.0)
    chosen = torch.lgamma(total + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)
    chosen = chosen.masked_fill((k < counts[:, None]) | (k > total), -math.inf)[:, None]
    log_chance = chosen + torch.xlogy(k, rates[:, None]) + torch.xlogy(rest[:, None], 1.0 - rates[:, None])
    return torch.exp(log_chance).sum(-1)
