"""The training loss: score entropy times d sigma / dt, summed over residues (Lou et al. 2024, equation 10).

The network is asked only where the loss looks: with `absorb` at masked residues, with `uniform` at all but pads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sedd.config.sections import Model
from sedd.data.batch import Batch
from sedd.diffusion.graphs import Graph
from sedd.diffusion.noising import NoiseState
from sedd.diffusion.parametrization import Network, check_output, log_score
from sedd.model.transformer import Transformer


@dataclass(frozen=True, eq=False)
class CorruptedBatch:
    """A batch with noise on it, and where the loss looks."""

    batch: Batch
    """Clean tokens (batch, length) and the mask of residues."""
    x_t: Tensor
    """(batch, length) noisy tokens."""
    state: NoiseState
    """The noise of each sequence, (batch,)."""
    places: Tensor
    """(M,) where the loss looks, as places in the flattened tokens, none twice; filled up to one of few sizes."""
    count: int
    """How many of them are real, the first ones."""

    def to(self, device: torch.device) -> CorruptedBatch:
        """The same on another device."""
        x_t, places = (each.to(device, non_blocking=True) for each in (self.x_t, self.places))
        return CorruptedBatch(self.batch.to(device), x_t, self.state.to(device), places, self.count)

    def pin_memory(self) -> CorruptedBatch:
        """The same in memory that a GPU can read by itself."""
        return CorruptedBatch(
            self.batch.pin_memory(),
            self.x_t.pin_memory(),
            self.state.pin_memory(),
            self.places.pin_memory(),
            self.count,
        )


def corrupt_batch(batch: Batch, state: NoiseState, uniforms: Tensor, *, graph: Graph) -> CorruptedBatch:
    """Corrupt a batch; on the host this leaves nothing to wait for on the device.

    Args:
        batch: clean tokens (batch, length) and the mask of residues.
        state: the noise of each sequence, (batch,).
        uniforms: (batch, length, 2) draws from [0, 1) for the corruption.
        graph: the forward process.
    """
    x_t = graph.corrupt(batch.tokens, state.sigma, uniforms)
    asked = (graph.can_move(x_t) & batch.mask).flatten()
    count = int(asked.sum())
    # Those asked for first, each part in its order: no place comes twice.
    places = torch.argsort(~asked, stable=True)[: _bucketed_length(count, len(asked))]
    return CorruptedBatch(batch, x_t, state, places, count)


def _bucketed_length(count: int, positions: int) -> int:
    """`count` rounded up, by a 32nd of all positions or less, and at least to one step.

    Libraries keep a kernel for each shape they meet (oneDNN: 0.3 MB), so that shapes must come back.
    """
    step = max(8, 1 << (positions // 32).bit_length() - 1) if positions >= 32 else 8
    return min(positions, max(1, -(-count // step)) * step)


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
        network: called as `network(x_t, sigma, mask)`; see `sedd.diffusion.parametrization.Network`.
        batch: clean tokens (batch, length) and the mask of residues.
        state: the noise of each sequence, (batch,).
        uniforms: (batch, length, 2) draws from [0, 1) for the corruption.
        graph: the forward process.
        model: which head the network has.
    """
    return score_entropy_loss(network, corrupt_batch(batch, state, uniforms, graph=graph), graph=graph, model=model)


def score_entropy_loss(
    network: Network,
    given: CorruptedBatch,
    *,
    graph: Graph,
    model: Model,
    selective: bool = False,
    keys: Tensor | None = None,
    always_mask: bool = False,
) -> Loss:
    """The same for a batch that is corrupted already.

    Args:
        network: as in `diffusion_loss`.
        given: what it sees.
        graph: the forward process.
        model: which head the network has.
        selective: whether the network is a `Transformer`, which answers where it is asked and draws dropout by `keys`.
        keys: (batch,) of its dropout, see `Transformer.forward`.
        always_mask: give the network a mask of residues also where there are no pads: a compiled one is compiled once
            more for each case that it meets.
    """
    batch, state, places = given.batch, given.state, given.places[: given.count]
    mask = None if batch.full and not always_mask else batch.mask
    if selective:
        output = network(given.x_t, state.sigma, mask, places=given.places, keys=keys)[: given.count]
    else:
        output = network(given.x_t, state.sigma, mask)
        check_output(output, given.x_t, graph=graph, model=model)
        output = output.flatten(0, 1)[places]
    # Each residue that the loss looks at, as a sequence of one.
    rows = places // batch.tokens.shape[1]
    x_t, x0 = (tokens.flatten()[places, None] for tokens in (given.x_t, batch.tokens))
    sigma = state.sigma[rows]
    scores = log_score(output[:, None], x_t, sigma, graph=graph, model=model)
    entropy = graph.score_entropy(scores, sigma, x_t, x0)[:, 0] * state.dsigma[rows]
    of_sequence = torch.zeros_like(state.sigma).index_add(0, rows, entropy)
    drawn = graph.mask_rate_drawn(given.x_t, batch.tokens, state.sigma, batch.mask) * state.dsigma
    changed = ((given.x_t != batch.tokens) & batch.mask).sum(1)
    return Loss(of_sequence.sum(), torch.stack([of_sequence.detach(), drawn, changed.to(drawn)]))


def answers_where_asked(network: object) -> bool:
    """Whether a network takes `places` and `keys`."""
    return isinstance(network, Transformer)
