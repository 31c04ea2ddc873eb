"""The sequences of a batch while they are denoised: each with its own random stream, removed when it is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sedd.diffusion.graphs import Graph
from sedd.errors import SamplingError

Ids = NDArray[np.integer]
Constraint = Callable[[Tensor, Tensor], Tensor]
"""Called as `constraint(tokens, to_draw)` after each step, both (batch, length): token ids, and True at residues that
are to be drawn. Returns the token ids to continue with. Fixed residues are restored after it."""

STEPS_AHEAD = 16
"""Steps for which random numbers are drawn at once: a call of each stream at each step takes longer than the rest."""


@dataclass(frozen=True)
class Sample:
    """A sequence that was drawn."""

    index: int
    """Its index among the samples of the request; with the seed, it decides all random numbers."""
    tokens: Ids
    """(length,)."""
    nfe: int
    """Evaluations of the network for this sequence."""


class SampleBatch:
    """Sequences that are denoised together, padded to the longest.

    Args:
        templates: arrays of ids; `graph.n` marks the residues to draw.
        generators: one random stream per sequence.
        graph: the forward process; residues to draw start from its stationary distribution.
        device: device of the tensors.
        constraint: applied to the tokens after each step.
        drop_finished: whether finished sequences are removed, which changes nothing but the cost.
    """

    def __init__(
        self,
        templates: Sequence[Ids],
        generators: Sequence[np.random.Generator],
        *,
        graph: Graph,
        device: torch.device,
        constraint: Constraint | None = None,
        drop_finished: bool = True,
    ) -> None:
        self.graph, self.device, self.constraint, self.drop_finished = graph, device, constraint, drop_finished
        self.generators = list(generators)
        self.lengths = np.array([len(template) for template in templates])
        self.padded_length = int(self.lengths.max())
        self.indices = np.arange(len(templates))
        """(batch,): which of the templates each sequence belongs to."""
        self._buffer: tuple[int | None, NDArray[np.float64]] | None = None
        self._buffer_step = 0
        padded = np.zeros((len(templates), self.padded_length), np.int64)
        for row, template in zip(padded, templates, strict=True):
            row[: len(template)] = template
        self.templates = torch.from_numpy(padded).to(device)
        self.padding_mask = torch.from_numpy(np.arange(self.padded_length) < self.lengths[:, None]).to(device)
        """(batch, length) bool: True at residues, False at padding."""
        self.to_draw = (self.templates == graph.n) & self.padding_mask
        """(batch, length) bool."""
        start = graph.sample_limit((len(templates), self.padded_length), self.uniforms()).to(device)
        self.tokens = torch.where(self.to_draw, start, self.templates)
        """(batch, length) token ids."""
        self.nfe = np.zeros(len(templates), np.int64)
        self.tokens_changed = np.ones(len(templates), bool)
        """(batch,): whether the tokens have changed since the last evaluation."""
        self.output: Tensor | None = None
        """(batch, length, outputs): the network's output at the last evaluation of each sequence."""
        self.output_sigma = torch.full((len(templates),), -1.0)
        """(batch,): the sigma of that evaluation."""
        self.results: dict[int, tuple[Ids, int]] = {}
        """Tokens and evaluations of removed sequences by their index."""

    def __len__(self) -> int:
        return len(self.indices)

    def uniforms(self, count: int | None = None) -> Tensor:
        """The next float64 numbers in [0, 1) of each sequence's own stream, whatever the batch.

        Returns:
            (batch, count); or, without `count`, one per residue, (batch, length).
        """
        if self._buffer is None or self._buffer[0] != count or self._buffer_step == STEPS_AHEAD:
            self._buffer, self._buffer_step = (count, self._draw(count)), 0
        self._buffer_step += 1
        return torch.from_numpy(self._buffer[1][:, self._buffer_step - 1])

    def _draw(self, count: int | None) -> NDArray[np.float64]:
        """(batch, STEPS_AHEAD, ...). All sequences are at the same step, so what is thrown away when `count` changes
        does not depend on the batch."""
        drawn = np.zeros((len(self), STEPS_AHEAD, self.padded_length if count is None else count))
        for row, generator, length in zip(drawn, self.generators, self.lengths, strict=True):
            needed = int(length) if count is None else count
            row[:, :needed] = generator.random((STEPS_AHEAD, needed))
        return drawn

    def update(self, tokens: Tensor) -> None:
        """Replace the tokens, (batch, length), after applying the constraint and restoring fixed residues."""
        if self.constraint is not None:
            tokens = self._constrained(tokens, self.constraint)
        tokens = torch.where(self.to_draw, tokens, self.templates)
        self.tokens_changed |= (tokens != self.tokens).any(1).cpu().numpy()
        self.tokens = tokens

    def masked(self) -> Tensor:
        """(batch, length) bool: residues that are masked; False everywhere for graphs without MASK."""
        if not self.graph.has_mask:
            return torch.zeros_like(self.to_draw)
        return self.graph.contributes(self.tokens) & self.padding_mask

    def remove_finished(self) -> None:
        """Remove sequences that cannot change any more: with MASK, those without masked residues."""
        if self.drop_finished and self.graph.has_mask:
            self.remove(~self.masked().any(1))

    def remove(self, finished: Tensor) -> None:
        """Keep the results of the `finished` sequences, (batch,) bool, and remove them from the batch."""
        removed = finished.cpu().numpy()
        if not removed.any():
            return
        tokens = self.tokens.cpu().numpy()
        for row in np.flatnonzero(removed):
            self.results[int(self.indices[row])] = (tokens[row, : self.lengths[row]], int(self.nfe[row]))
        kept = torch.from_numpy(np.flatnonzero(~removed))
        self.generators = [self.generators[row] for row in kept.tolist()]
        for name in ("lengths", "indices", "nfe", "tokens_changed"):
            setattr(self, name, getattr(self, name)[~removed])
        self.output_sigma = self.output_sigma[kept]
        if self._buffer is not None:
            self._buffer = (self._buffer[0], self._buffer[1][~removed])
        kept = kept.to(self.device)
        for name in ("templates", "padding_mask", "to_draw", "tokens"):
            setattr(self, name, getattr(self, name)[kept])
        if self.output is not None:
            self.output = self.output[kept]

    def remove_all(self) -> None:
        """Remove all sequences."""
        self.remove(torch.ones(len(self), dtype=torch.bool))

    def _constrained(self, tokens: Tensor, constraint: Constraint) -> Tensor:
        new = constraint(tokens.clone(), self.to_draw.clone())
        if not isinstance(new, Tensor) or new.shape != tokens.shape or new.dtype != tokens.dtype:
            got = f"{tuple(new.shape)} of {new.dtype}" if isinstance(new, Tensor) else type(new).__name__
            raise SamplingError(
                f"the constraint returned {got}; expected token ids, a tensor of {tuple(tokens.shape)} of "
                f"{tokens.dtype}",
                about="constraint",
            )
        wrong = self.to_draw & ((new < 0) | (new >= self.graph.states))
        if bool(wrong.any()):
            raise SamplingError(
                f"the constraint returned the id {int(new[wrong][0])}; expected 0 to {self.graph.states - 1}",
                about="constraint",
            )
        return new
