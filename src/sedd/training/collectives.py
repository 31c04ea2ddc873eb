"""Step losses, bounds and samples of all ranks together: each rank computes a part, collectives combine the parts.

Sums are exact and do not depend on the number of ranks: each element is nonzero on one rank at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from sedd.data.batch import Batch
from sedd.data.micro_batches import MicroBatch
from sedd.diffusion.parametrization import Network
from sedd.distributed.group import SINGLE_PROCESS, World
from sedd.evaluation.bound import Contributions
from sedd.evaluation.estimator import Estimator
from sedd.sampling.generation import Generation, Request


def all_reduce_parts(
    world: World, micro_batches: list[MicroBatch], parts: np.ndarray, token_counts: tuple[int, ...], *, total: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Combine the loss parts and token counts of all ranks.

    Args:
        world: the processes.
        micro_batches: those that this rank computed.
        parts: `Loss.parts` of their sequences, (3, sequences of this rank).
        token_counts: how often each token occurs in them.
        total: number of sequences in the step.

    Returns:
        `Loss.parts` of all sequences, (3, total), in the order of the step, and the token counts of the step.
    """
    if world.size == 1:
        return parts, token_counts
    table = np.zeros((3, total))
    first = 0
    for micro_batch in micro_batches:
        columns = slice(first, first + len(micro_batch.batch))
        first = columns.stop
        if micro_batch.weight:
            table[:, micro_batch.where] = parts[:, columns]
    summed = world.all_reduce_sum(np.concatenate([table.ravel(), np.array(token_counts, np.float64)]))
    table, counts = summed[: table.size].reshape(table.shape), summed[table.size :]
    return table, tuple(int(count) for count in counts)


@dataclass(frozen=True)
class DistributedEstimator(Estimator):
    """An `Estimator` whose batches are distributed over the ranks; every rank gets the bound of a single process."""

    world: World = SINGLE_PROCESS

    def _batches(
        self, chosen: np.ndarray | None = None, ranks: np.ndarray | None = None
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        return islice(super()._batches(chosen, ranks), self.world.rank, None, self.world.size)

    def _contributions(self, network: Network, chosen: np.ndarray, ranks: np.ndarray) -> Contributions:
        part = super()._contributions(network, chosen, ranks)  # zeros for sequences that other ranks evaluated
        names = ("residues", "values", "by_bin", "drawn", "trained")
        return replace(part, **{name: self.world.all_reduce_sum(getattr(part, name)) for name in names})


def generate_texts(generation: Generation, request: Request, world: World) -> list[str]:
    """All samples of a request as text; batches are distributed over the ranks, and every rank gets all samples."""
    size, count = request.options.batch_size, len(request.templates)
    texts: dict[int, str] = {}
    for first in range(world.rank * size, count, world.size * size):
        for sample in islice(generation.draw(request, first=first), size):
            texts[sample.index] = generation.alphabet.decode(sample.tokens)
    gathered = {index: text for part in world.all_gather_object(texts) for index, text in part.items()}
    return [gathered[index] for index in range(count)]
