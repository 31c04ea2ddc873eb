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

from sedd.data import Sequences, lengths_of
from sedd.data.batch import Batch, load
from sedd.data.order import GlobalBatch
from sedd.diffusion.graphs import SIGMA_END, BoundIntegrand
from sedd.diffusion.loss_profile import BINS, EDGES
from sedd.diffusion.parametrization import Network
from sedd.diffusion.process import Process
from sedd.plugins.contracts import Backend
from sedd.randomness import generator


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
        process: of the model. Its noise limits what the network is conditioned on and defines `Bound.trained`.
        backend: gives the precision.
        device: where to run.
        max_length: longer sequences are cropped, to the same part every time.
        count: how many sequences, at most; a keyed choice where there are more.
        masks: noise levels per sequence.
        batch_size: sequences per batch.
        seed: keys every draw.
    """

    data: Sequences
    process: Process
    backend: Backend
    device: torch.device
    max_length: int
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
            cropped=int((lengths_of(self.data, chosen) > self.max_length).sum()),
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
        batch = _unpadded(tokens, self.device)
        first = np.zeros(len(tokens), np.int64)
        levels = [self._values(network, batch, self._levels(first, level), level).values for level in range(self.masks)]
        return np.stack(levels, 1)

    @torch.no_grad()
    def scores(self, network: Network, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Log-scores (batch, length, n) of noisy sequences without pads.

        The network is told of `sigma`, (batch,), as far as it was trained on it.
        """
        batch = _unpadded(tokens, self.device)
        return self._scores(network, batch, batch.tokens, sigma, least=self.process.noise.sigma_min)

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
        lengths = np.minimum(lengths_of(self.data, chosen[ranks]), self.max_length)
        by_length = np.argsort(lengths, kind="stable")
        for first in range(0, len(ranks), self.batch_size):
            place = by_length[first : first + self.batch_size]
            items = chosen[ranks[place]]
            plan = GlobalBatch(samples=items, indices=items, lengths=lengths[place])
            batch = load(self.data, plan, seed=self.seed, max_length=self.max_length)
            yield batch.to(self.device), ranks[place]

    def _levels(self, order: np.ndarray, level: int) -> np.ndarray:
        """Stratified positions in [0, 1): one of each sequence in every 1/masks, filled evenly by all."""
        total = min(self.count, len(self.data))
        random = generator(self.seed, "bound-levels", level)
        fine: np.ndarray = (random.permutation(total) + random.random(total)) / total
        return np.asarray((level + fine[order]) / self.masks)

    def _values(self, network: Network, batch: Batch, q: np.ndarray, level: int) -> BoundIntegrand:
        """The integrand of each sequence at its noise level `q`, (batch,) in [0, 1)."""
        length, graph = batch.tokens.shape[1], self.process.graph
        draws = [
            generator(self.seed, "bound-noise", level, int(s)).random((length, 2), np.float32) for s in batch.samples
        ]
        uniforms = torch.from_numpy(np.stack(draws)).to(batch.tokens.device)
        # Numbers per sequence are float64 on the host; numbers per residue are float32 on the device.
        x_t, sigma = graph.bound_noise(batch.tokens, batch.mask, torch.from_numpy(q), uniforms)
        scores = self._scores(network, batch, x_t, sigma)
        trained = self.process.sigma_range
        return graph.bound_integrand(scores, x_t, batch.tokens, batch.mask, sigma=sigma, trained=trained)

    def _scores(self, network: Network, batch: Batch, x_t: Tensor, sigma: Tensor, *, least: float = 0.0) -> Tensor:
        """Log-scores at `sigma` (batch,); the network is never conditioned on more noise than it was trained with."""
        device = batch.tokens.device
        conditioned = sigma.clamp(min=least, max=self.process.noise.sigma_max).float().to(device)
        with self.backend.autocast():
            output = network(x_t, conditioned, None if batch.full else batch.mask)
        # A fully masked sequence is at infinite noise; the score needs a finite one.
        return self.process.log_score(output, x_t, sigma.clamp(max=SIGMA_END).float().to(device))


def _unpadded(tokens: Tensor, device: torch.device) -> Batch:
    """A batch of sequences of one length, all keyed as the first item."""
    samples = torch.zeros(len(tokens), dtype=torch.int64)
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), samples).to(device)
