"""Which part of the work each process does, and how the numbers of all parts come together.

A step is cut where its lengths differ, and into at least `accum` times as many parts as there are processes, which
are dealt out in turn: neighbours in length stay together, and each process has as much of every length. Sums are made
of numbers that one process has and the others leave at 0, so that they are exact and do not depend on how many
processes there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from sedd.data.batch import Batch
from sedd.data.order import GlobalBatch
from sedd.evaluation.bound import Estimator, Part
from sedd.heads import Network
from sedd.sampling.generation import Generation, Request
from sedd.training.world import ALONE, World


@dataclass(frozen=True)
class Piece:
    """A part of a step that this process computes at once: a micro-batch."""

    batch: GlobalBatch
    where: slice
    """Its place among the sequences of the step."""
    weight: int
    """What its loss counts: 1, or 0 for a stand-in, which only keeps the processes together."""
    last: bool
    """Whether the gradients are put together after it."""


def pieces(plan: GlobalBatch, accum: int, world: World) -> list[Piece]:
    """The micro-batches of this process: as many for each, because each one ends in work for all."""
    strata = plan.parts()
    each = -(-accum // len(strata)) * world.size
    parts = [part for stratum in strata for part in stratum.split(each)]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    rounds = -(-len(parts) // world.size)
    mine = []
    for turn in range(rounds):
        number = turn * world.size + world.rank
        stand_in = number >= len(parts)
        part = _first_of(parts[0]) if stand_in else parts[number]
        end = len(part) if stand_in else ends[number]
        mine.append(Piece(part, slice(end - len(part), end), int(not stand_in), turn + 1 == rounds))
    return mine


def _first_of(batch: GlobalBatch) -> GlobalBatch:
    return GlobalBatch(batch.samples[:1], batch.indices[:1], batch.lengths[:1])


def put_together(
    world: World, done: list[Piece], parts: np.ndarray, letters: tuple[int, ...], *, total: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """What every sequence of a step said, (3, total) in the order of the step, and its letters, for all processes.

    Args:
        world: the processes.
        done: the micro-batches of this one.
        parts: `Loss.parts` of its sequences, (3, batch).
        letters: how often each symbol occurs in them.
        total: sequences in the step.
    """
    if world.size == 1:
        return parts, letters
    table = np.zeros((3, total))
    first = 0
    for piece in done:
        here = slice(first, first + len(piece.batch))
        first = here.stop
        if piece.weight:
            table[:, piece.where] = parts[:, here]
    summed = world.total(np.concatenate([table.ravel(), np.array(letters, np.float64)]))
    table, counts = summed[: table.size].reshape(table.shape), summed[table.size :]
    return table, tuple(int(count) for count in counts)


@dataclass(frozen=True)
class DividedEstimator(Estimator):
    """An `Estimator` whose batches are dealt out over the processes; the bound is that of one process."""

    world: World = ALONE

    def _batches(
        self, chosen: np.ndarray | None = None, ranks: np.ndarray | None = None
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        return islice(super()._batches(chosen, ranks), self.world.rank, None, self.world.size)

    def _part(self, network: Network, chosen: np.ndarray, ranks: np.ndarray) -> Part:
        part, total = super()._part(network, chosen, ranks), self.world.total
        return replace(
            part,
            residues=total(part.residues),
            values=total(part.values),
            by_bin=total(part.by_bin),
            drawn=total(part.drawn),
            trained=total(part.trained),
        )


def texts(generation: Generation, request: Request, world: World) -> list[str]:
    """All samples of a request, batches dealt out over the processes; those of one process."""
    size, count = request.options.batch_size, len(request.templates)
    mine: dict[int, str] = {}
    for first in range(world.rank * size, count, world.size * size):
        for sample in islice(generation.draw(request, first=first), size):
            mine[sample.index] = generation.alphabet.decode(sample.tokens)
    everything = {index: text for part in world.gather(mine) for index, text in part.items()}
    return [everything[index] for index in range(count)]
