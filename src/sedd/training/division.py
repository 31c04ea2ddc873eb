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
from sedd.data.micro_batches import MicroBatch
from sedd.diffusion.parametrization import Network
from sedd.distributed.group import ALONE, World
from sedd.evaluation.bound import Estimator, Part
from sedd.sampling.generation import Generation, Request


def all_reduce_parts(
    world: World, done: list[MicroBatch], parts: np.ndarray, letters: tuple[int, ...], *, total: int
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
        if not piece.is_padding:
            table[:, piece.positions] = parts[:, here]
    summed = world.all_reduce_sum(np.concatenate([table.ravel(), np.array(letters, np.float64)]))
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
        part, total = super()._part(network, chosen, ranks), self.world.all_reduce_sum
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
    everything = {index: text for part in world.all_gather_object(mine) for index, text in part.items()}
    return [everything[index] for index in range(count)]
