"""The training loss: score entropy times d sigma / dt, summed over residues (Lou et al. 2024, equation 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sedd.data.batch import Batch
from sedd.graphs import Graph
from sedd.heads import Network, log_score
from sedd.noising import NoiseState
from sedd.sections import Model


@dataclass(frozen=True)
class Loss:
    """What one micro-batch adds to a step. Sums, so that the step can divide by its own number of residues."""

    total: Tensor
    """Scalar: loss summed over residues, nats; carries the gradient."""
    parts: Tensor
    """(3, batch), of each sequence: its loss, nats; the mask rate it covers (`Graph.mask_rate_drawn`), summed over
    residues; and the number of residues that the noise changed."""


def diffusion_loss(
    network: Network, batch: Batch, state: NoiseState, uniforms: Tensor, *, graph: Graph, model: Model
) -> Loss:
    """Corrupt a batch, run the network once, and sum the score entropy over its residues.

    The same `state` decides how much is corrupted, what the network is told, and how the result is weighted.

    Args:
        network: called as `network(x_t, sigma, mask)`; see `sedd.heads.Network`.
        batch: clean tokens (batch, length) and the mask of residues.
        state: the noise of each sequence, (batch,).
        uniforms: (batch, length, 2) draws from [0, 1) for the corruption.
        graph: the forward process.
        model: which head the network has.
    """
    x_t = graph.corrupt(batch.tokens, state.sigma, uniforms)
    output = network(x_t, state.sigma, None if batch.full else batch.mask)
    scores = log_score(output, x_t, state.sigma, graph=graph, model=model)
    entropy = graph.score_entropy(scores, state.sigma, x_t, batch.tokens)
    per_residue = (entropy * state.dsigma[:, None]).masked_fill(~batch.mask, 0.0)
    of_sequence = per_residue.sum(1)
    drawn = graph.mask_rate_drawn(x_t, batch.tokens, state.sigma, batch.mask) * state.dsigma
    changed = ((x_t != batch.tokens) & batch.mask).sum(1)
    return Loss(of_sequence.sum(), torch.stack([of_sequence.detach(), drawn, changed.to(drawn)]))
