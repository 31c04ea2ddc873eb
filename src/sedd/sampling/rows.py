"""The sequences of a batch on their way: each with its own random stream; one that is finished leaves."""

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
Projector = Callable[[Tensor, Tensor], Tensor]
"""Called as `project(tokens (B, L), free (B, L))` after each step, where `free` marks residues that are not given (and
not padding); returns the tokens to go on with. Given residues are put back afterwards, whatever it did to them."""

AHEAD = 16
"""Steps for which random numbers are drawn at once."""


@dataclass(frozen=True)
class Sample:
    """A sequence that was drawn."""

    index: int
    """Its place among the samples of the request; with the seed, it decides all random numbers."""
    tokens: Ids
    """(length,)."""
    nfe: int
    """Evaluations of the network for this sequence."""


class SampleBatch:
    """A batch.

    Args:
        templates: arrays of ids; `graph.n` marks the residues to draw.
        random: one stream for each.
        graph: the forward process; free residues start from its noise.
        device: where the tensors live.
        project: a constraint of the user's.
        leave: whether finished sequences leave the batch (which changes nothing but the cost).
    """

    def __init__(
        self,
        templates: Sequence[Ids],
        random: Sequence[np.random.Generator],
        *,
        graph: Graph,
        device: torch.device,
        project: Projector | None = None,
        leave: bool = True,
    ) -> None:
        self.graph, self.device, self.project, self.leave = graph, device, project, leave
        self.random = list(random)
        self.lengths = np.array([len(template) for template in templates])
        self.width = int(self.lengths.max())
        self.places = np.arange(len(templates))
        self._ahead: tuple[int | None, NDArray[np.float64]] | None = None
        self._taken = 0
        padded = np.zeros((len(templates), self.width), np.int64)
        for row, template in zip(padded, templates, strict=True):
            row[: len(template)] = template
        self.given = torch.from_numpy(padded).to(device)
        self.seen = torch.from_numpy(np.arange(self.width) < self.lengths[:, None]).to(device)
        self.free = (self.given == graph.n) & self.seen
        start = graph.sample_limit((len(templates), self.width), self.uniforms()).to(device)
        self.tokens = torch.where(self.free, start, self.given)
        self.nfe = np.zeros(len(templates), np.int64)
        self.stale = np.ones(len(templates), bool)
        """Whether the network has not seen the tokens as they are now."""
        self.output: Tensor | None = None
        """What the network put out when it last saw each row, and at which noise."""
        self.output_sigma = torch.full((len(templates),), -1.0)
        self.done: dict[int, tuple[Ids, int]] = {}

    def __len__(self) -> int:
        return len(self.places)

    def uniforms(self, count: int | None = None) -> Tensor:
        """The next numbers in [0, 1) of each row's own stream, float64: `count` each, (B, count); else one for each
        residue, (B, width). Batching cannot change them."""
        if self._ahead is None or self._ahead[0] != count or self._taken == AHEAD:
            self._ahead, self._taken = (count, self._draw(count)), 0
        self._taken += 1
        return torch.from_numpy(self._ahead[1][:, self._taken - 1])

    def _draw(self, count: int | None) -> NDArray[np.float64]:
        """(B, AHEAD, ...): for many steps at once, because asking each stream at each step takes longer than the rest.
        All rows are at the same step, so what is thrown away when `count` changes does not depend on the batch."""
        drawn = np.zeros((len(self), AHEAD, self.width if count is None else count))
        for row, stream, length in zip(drawn, self.random, self.lengths, strict=True):
            wanted = int(length) if count is None else count
            row[:, :wanted] = stream.random((AHEAD, wanted))
        return drawn

    def advance(self, tokens: Tensor) -> None:
        """Take over new tokens: the user's constraint, then the given residues."""
        if self.project is not None:
            tokens = self._projected(tokens)
        tokens = torch.where(self.free, tokens, self.given)
        self.stale |= (tokens != self.tokens).any(1).cpu().numpy()
        self.tokens = tokens

    def hidden(self) -> Tensor:
        """(B, width): residues that are still masked; everywhere False for `uniform`."""
        if not self.graph.has_mask:
            return torch.zeros_like(self.free)
        return self.graph.contributes(self.tokens) & self.seen

    def retire_finished(self) -> None:
        """Let sequences leave in which nothing can happen any more: for `absorb`, those without masks."""
        if self.leave and self.graph.has_mask:
            self.retire(~self.hidden().any(1))

    def retire(self, finished: Tensor) -> None:
        """Keep the result of `finished` rows, (B,) bool, and take them out."""
        out = finished.cpu().numpy()
        if not out.any():
            return
        tokens = self.tokens.cpu().numpy()
        for row in np.flatnonzero(out):
            self.done[int(self.places[row])] = (tokens[row, : self.lengths[row]], int(self.nfe[row]))
        stay = torch.from_numpy(np.flatnonzero(~out))
        self.random = [self.random[row] for row in stay.tolist()]
        for name in ("lengths", "places", "nfe", "stale"):
            setattr(self, name, getattr(self, name)[~out])
        self.output_sigma = self.output_sigma[stay]
        if self._ahead is not None:
            self._ahead = (self._ahead[0], self._ahead[1][~out])
        there = stay.to(self.device)
        for name in ("given", "seen", "free", "tokens"):
            setattr(self, name, getattr(self, name)[there])
        if self.output is not None:
            self.output = self.output[there]

    def retire_all(self) -> None:
        """Let all sequences leave that are still here."""
        self.retire(torch.ones(len(self), dtype=torch.bool))

    def _projected(self, tokens: Tensor) -> Tensor:
        assert self.project is not None  # noqa: S101  # tells the type checker
        new = self.project(tokens.clone(), self.free.clone())
        if not isinstance(new, Tensor) or new.shape != tokens.shape or new.dtype != tokens.dtype:
            got = f"{tuple(new.shape)} of {new.dtype}" if isinstance(new, Tensor) else type(new).__name__
            raise SamplingError(
                f"project returned {got}; expected the tokens, a tensor of {tuple(tokens.shape)} of {tokens.dtype}"
            )
        wrong = self.free & ((new < 0) | (new >= self.graph.states))
        if bool(wrong.any()):
            raise SamplingError(
                f"project returned the id {int(new[wrong][0])}; the ids here are 0 to {self.graph.states - 1}"
            )
        return new
