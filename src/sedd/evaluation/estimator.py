"""Monte Carlo estimate of the bound on fixed sequences at fixed, stratified noise levels.

Two evaluations of the same sequences differ only by the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sedd.data import Sequences, lengths_of
from sedd.data.batch import Batch, load
from sedd.data.order import GlobalBatch
from sedd.data.random_batches import filled
from sedd.diffusion.graphs import SIGMA_END, BoundIntegrand
from sedd.diffusion.loss_profile import BINS
from sedd.diffusion.packing import RowShape, packs
from sedd.diffusion.parametrization import Network
from sedd.diffusion.process import Process
from sedd.diffusion.recorded_network import recorder_of
from sedd.evaluation.bound import MOST_BY_SEQUENCE, Bound, Contributions
from sedd.evaluation.packed_network import PackedNetwork
from sedd.evaluation.statistics import BoundStatistics
from sedd.plugins.contracts import Backend
from sedd.randomness import generator


@dataclass(frozen=True)
class Estimator:
    """Evaluates networks on the same sequences at the same noise.

    Args:
        data: held-out sequences.
        process: of the model. Its noise limits what the network is conditioned on and defines `Bound.trained`.
        backend: gives the precision.
        device: where to run.
        max_length: longer sequences are cropped, to the same part in every evaluation.
        count: number of sequences, at most; of more sequences, a keyed choice.
        masks: noise levels per sequence.
        batch_size: sequences per batch.
        seed: keys all draws.
        on_evaluated: called after each evaluation of a batch with the number of its sequences, `work` in all.
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
    on_evaluated: Callable[[int], object] | None = None

    @property
    def work(self) -> int:
        """Evaluations of a sequence that a bound takes: one for each noise level."""
        return min(self.count, len(self.data)) * self.masks

    def __call__(self, network: Network) -> Bound:
        """Bound of `network`, which must be in eval mode."""
        return self.with_sequences(network)[0]

    def with_sequences(self, network: Network) -> tuple[Bound, Contributions]:
        """Bound of `network`, and the contributions of single sequences for a paired comparison of two models."""
        chosen = self.chosen()
        contributions = self._contributions(network, chosen, np.arange(len(chosen)))
        bound = BoundStatistics.of(contributions).bound()
        if len(chosen) <= MOST_BY_SEQUENCE:
            bound = replace(bound, by_sequence=tuple(contributions.values.mean(1).tolist()))
        return bound, contributions

    def in_parts(self, network: Network, *, size: int = 4096) -> Iterator[Contributions]:
        """Contributions of about `size` sequences at a time, so that memory does not grow with their number."""
        chosen = self.chosen()
        for ranks in np.array_split(np.arange(len(chosen)), -(-len(chosen) // size)):
            yield self._contributions(network, chosen, ranks)

    @torch.no_grad()
    def with_shared_noise(self, network: Network, tokens: Tensor) -> np.ndarray:
        """Bound of each sequence from each noise level, (sequences, masks), nats per residue.

        All sequences get the noise of the first item of the data, at the same positions. So their differences have
        little Monte Carlo error. The mean over `masks` is the bound of a sequence. `tokens` are clean ids without pads,
        (sequences, length); the network is in eval mode.
        """
        batch = _unpadded(tokens, self.device)
        first = np.zeros(len(tokens), np.int64)
        levels = [self._values(network, batch, self._levels(first, level), level).values for level in range(self.masks)]
        return np.stack(levels, 1)

    @torch.no_grad()
    def scores(self, network: Network, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Log-scores (batch, length, n) of noisy sequences without pads.

        The network is conditioned on `sigma`, (batch,), clamped to the range that it was trained on.
        """
        batch = _unpadded(tokens, self.device)
        return self._scores(network, batch, batch.tokens, sigma, sigma_min=self.process.noise.sigma_min)

    @torch.no_grad()
    def _contributions(self, network: Network, chosen: np.ndarray, ranks: np.ndarray) -> Contributions:
        """Contributions of the chosen sequences with these consecutive ranks."""
        n, first = len(ranks), int(ranks[0])
        levels = [self._levels(ranks, level) for level in range(self.masks)]
        residues, values, trained = np.zeros(n), np.zeros((n, self.masks)), np.zeros(n)
        by_bin, drawn = np.zeros((n, BINS)), np.zeros((n, BINS))
        packed = packs(network) and self.backend.layout != "rows" and self.backend.fast_packed()
        if packed:
            network = PackedNetwork(network, self._row_shape(chosen[ranks]), recorder_of(self.backend, self.device))
        for batch, batch_ranks in self._batches(chosen, ranks, packed=packed):
            rows = batch_ranks - first
            residues[rows] = batch.mask.sum(1).cpu().double().numpy()
            for level in range(self.masks):
                integrand = self._values(network, batch, levels[level][rows], level)
                values[rows, level] = integrand.values
                by_bin[rows] += integrand.values[:, None] * integrand.shares / self.masks
                drawn[rows] += integrand.measure[:, None] * integrand.shares / self.masks
                trained[rows] += integrand.values * integrand.trained / self.masks
                if self.on_evaluated is not None:
                    self.on_evaluated(len(rows))
        items = chosen[ranks]
        cropped = lengths_of(self.data, items) > self.max_length
        return Contributions(items, residues, cropped, values, by_bin, drawn, trained)

    def chosen(self) -> np.ndarray:
        """Indices of the items to evaluate, ascending."""
        return chosen_items(len(self.data), count=self.count, seed=self.seed)

    def _batches(
        self, chosen: np.ndarray | None = None, ranks: np.ndarray | None = None, *, packed: bool = False
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Batches of sequences of similar length, or that fill a packed row, and the rank of each sequence among the
        chosen ones."""
        chosen = self.chosen() if chosen is None else chosen
        ranks = np.arange(len(chosen)) if ranks is None else ranks
        lengths = self._lengths(chosen[ranks])
        order = np.arange(len(ranks)) if packed else np.argsort(lengths, kind="stable")
        cuts = self._row_cuts(lengths) if packed else np.arange(self.batch_size, len(ranks), self.batch_size)
        for rows in np.split(order, cuts):
            items = chosen[ranks[rows]]
            plan = GlobalBatch(samples=items, indices=items, lengths=lengths[rows])
            batch = load(self.data, plan, seed=self.seed, max_length=self.max_length)
            yield batch.to(self.device), ranks[rows]

    def _lengths(self, items: np.ndarray) -> np.ndarray:
        return np.minimum(lengths_of(self.data, items), self.max_length)

    def _row_cuts(self, lengths: np.ndarray) -> np.ndarray:
        """Where sequences of these lengths are cut into packed rows."""
        return filled(lengths, max(int(lengths.max()), round(self.batch_size * float(lengths.mean()))))

    def _row_shape(self, items: np.ndarray) -> RowShape:
        """The shape of the packed rows that hold these items."""
        lengths = self._lengths(items)
        rows = np.split(lengths, self._row_cuts(lengths))
        return RowShape.of(max(row.sum() for row in rows), max(map(len, rows)), longest=self.max_length)

    def _levels(self, ranks: np.ndarray, level: int) -> np.ndarray:
        """Stratified noise levels in [0, 1), (sequences,).

        Each sequence has one level in each stratum of width 1 / masks, in which all sequences are stratified too.
        """
        total = min(self.count, len(self.data))
        random = generator(self.seed, "bound-levels", level)
        within: np.ndarray = (random.permutation(total) + random.random(total)) / total
        return np.asarray((level + within[ranks]) / self.masks)

    def _values(self, network: Network, batch: Batch, q: np.ndarray, level: int) -> BoundIntegrand:
        """The integrand of each sequence at its noise level `q`, (batch,) in [0, 1)."""
        length, graph = batch.tokens.shape[1], self.process.graph
        streams = [generator(self.seed, "bound-noise", level, int(sample)) for sample in batch.samples]
        draws = np.stack([stream.random((length, 2), np.float32) for stream in streams])
        uniforms = torch.from_numpy(draws).to(batch.tokens.device)
        # Numbers per sequence are float64 on the host; numbers per residue are float32 on the device.
        x_t, sigma = graph.bound_noise(batch.tokens, batch.mask, torch.from_numpy(q), uniforms)
        scores = self._scores(network, batch, x_t, sigma)
        trained = self.process.sigma_range
        return graph.bound_integrand(scores, x_t, batch.tokens, batch.mask, sigma=sigma, trained=trained)

    def _scores(self, network: Network, batch: Batch, x_t: Tensor, sigma: Tensor, *, sigma_min: float = 0.0) -> Tensor:
        """Log-scores at `sigma` (batch,); the network is never conditioned on more noise than it was trained with."""
        device = batch.tokens.device
        conditioned = sigma.clamp(min=sigma_min, max=self.process.noise.sigma_max).float().to(device)
        with self.backend.autocast():
            output = network(x_t, conditioned, None if batch.full else batch.mask)
        # A fully masked sequence is at infinite noise; the score needs a finite one.
        return self.process.log_score(output, x_t, sigma.clamp(max=SIGMA_END).float().to(device))


def chosen_items(sequences: int, *, count: int, seed: int) -> np.ndarray:
    """Indices of the items that an `Estimator` with this `count` and `seed` evaluates, of so many, ascending."""
    return np.sort(generator(seed, "bound-sequences").permutation(sequences)[:count])


def _unpadded(tokens: Tensor, device: torch.device) -> Batch:
    """A batch of sequences of one length, all keyed as the first item."""
    samples = torch.zeros(len(tokens), dtype=torch.int64)
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), samples).to(device)
