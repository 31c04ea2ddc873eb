"""The training loss: score entropy times d sigma / dt, summed over residues (Lou et al. 2024, equation 10).

Only positions that contribute to the loss are evaluated: with `absorb` the masked ones, with `uniform` all residues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sedd.data.batch import Batch
from sedd.diffusion.graphs import Graph
from sedd.diffusion.noising import NoiseState
from sedd.diffusion.parametrization import Network
from sedd.diffusion.positions import positions_first
from sedd.diffusion.process import Process


@dataclass(frozen=True, eq=False)
class CorruptedBatch:
    """A batch with noise on it, and the positions that contribute to its loss."""

    batch: Batch
    """Clean tokens and the padding mask."""
    x_t: Tensor
    """Noisy tokens, of the shape of the clean ones."""
    noise: NoiseState
    """The noise of each sequence, (batch,)."""
    residues: Tensor
    """(batch,) int64: residues of each sequence."""
    changed: Tensor
    """(batch,) int64: residues of each sequence that the noise changed."""
    positions: Tensor
    """(M,) indices into the flattened tokens, all different: first those that contribute to the loss, then others that
    round M up to one of few sizes."""
    count: int
    """How many of `positions` contribute to the loss; M in a packed row, where the device tells them apart."""

    def to(self, device: torch.device) -> CorruptedBatch:
        """A copy on `device`; does not wait for the transfer."""
        return self.copied(lambda tensor: tensor.to(device, non_blocking=True))

    def copied(self, copy: Callable[[Tensor], Tensor]) -> CorruptedBatch:
        """The corrupted batch with `copy` of every tensor."""
        batch, noise = self.batch.copied(copy), self.noise.copied(copy)
        x_t, residues, changed, positions = map(copy, (self.x_t, self.residues, self.changed, self.positions))
        return CorruptedBatch(batch, x_t, noise, residues, changed, positions, self.count)


def corrupt_batch(batch: Batch, noise: NoiseState, uniforms: Tensor, *, graph: Graph) -> CorruptedBatch:
    """Corrupt a batch. Done on the host, so that no step waits for the device to count positions.

    Args:
        batch: clean tokens (batch, length) and the padding mask.
        noise: the noise of each sequence, (batch,).
        uniforms: (batch, length, 2) draws from [0, 1).
        graph: the forward process.
    """
    x_t = graph.corrupt(batch.tokens, noise.sigma, uniforms)
    positions, count = positions_first((graph.contributes(x_t) & batch.mask).flatten())
    changed = ((x_t != batch.tokens) & batch.mask).sum(1)
    return CorruptedBatch(batch, x_t, noise, batch.mask.sum(1), changed, positions, count)


@dataclass(frozen=True)
class Loss:
    """The loss of one micro-batch as sums, so that an optimizer step can divide by its own number of residues."""

    total: Tensor
    """Scalar: loss summed over residues, nats; carries the gradient."""
    parts: Tensor
    """(3, batch), per sequence: the loss, nats; `Graph.mask_rate_drawn` times d sigma / dt; the number of residues that
    the noise changed."""


def diffusion_loss(network: Network, batch: Batch, noise: NoiseState, uniforms: Tensor, *, process: Process) -> Loss:
    """Corrupt a batch, run the network once, and sum the score entropy over the residues.

    One `NoiseState` determines the corruption, the conditioning of the network and the weight of the loss.

    Arguments are those of `corrupt_batch` and `score_entropy_loss`.
    """
    return score_entropy_loss(network, corrupt_batch(batch, noise, uniforms, graph=process.graph), process=process)


def score_entropy_loss(
    network: Network,
    corrupted: CorruptedBatch,
    *,
    process: Process,
    selective: bool = False,
    keys: Tensor | None = None,
    always_mask: bool = False,
) -> Loss:
    """Run the network on a corrupted batch and sum the score entropy over the residues.

    Args:
        network: called as `network(x_t, sigma, mask)`.
        corrupted: its input, packed only for a network that `packs`, and the positions that contribute to the loss.
        process: forward process and parametrization.
        selective: whether the network accepts `positions` and `keys`; see `is_selective`.
        keys: (batch,) keys of its dropout; see `Transformer.forward`.
        always_mask: pass a padding mask even where there is no padding. A compiled network is compiled once more for
            each of the two cases.
    """
    batch, noise, positions = corrupted.batch, corrupted.noise, corrupted.positions[: corrupted.count]
    mask = None if batch.full and not always_mask else batch.mask
    if selective:
        options: dict[str, Any] = {"positions": corrupted.positions, "keys": keys}
        if batch.segments is not None:
            mask, options["segments"] = None, batch.segments
        output = network(corrupted.x_t, noise.sigma, mask, **options)[: corrupted.count]
    else:
        output = network(corrupted.x_t, noise.sigma, mask)
        process.parametrization.check_output(output, corrupted.x_t, process.graph)
        output = output.flatten(0, 1)[positions]
    # Each position is scored as a sequence of length 1.
    rows = batch.sequence_of(positions)
    x_t, x0 = (tokens.flatten()[positions, None] for tokens in (corrupted.x_t, batch.tokens))
    sigma, weight = noise.sigma[rows], noise.dsigma[rows]
    if batch.segments is not None:
        # Not by `count`: nothing that differs from step to step is a number of the host.
        contributes = process.graph.contributes(x_t) & batch.mask.flatten()[positions, None]
        output, weight = torch.where(contributes, output, 0.0), weight * contributes[:, 0]
    scores = process.log_score(output[:, None], x_t, sigma)
    entropy = process.graph.score_entropy(scores, sigma, x_t, x0)[:, 0] * weight
    per_sequence = torch.zeros_like(noise.sigma).index_add(0, rows, entropy)
    drawn = process.graph.mask_rate_drawn(corrupted.changed, corrupted.residues, noise.sigma) * noise.dsigma
    return Loss(per_sequence.sum(), torch.stack([per_sequence.detach(), drawn, corrupted.changed.to(drawn)]))


def is_selective(network: object) -> bool:
    """Whether a network has `selective = True`: its forward accepts `positions` and `keys` as `Transformer.forward`."""
    return bool(getattr(network, "selective", False))
