"""Step losses, bounds and samples of all ranks together: each rank computes a part, collectives combine the parts.

Sums are exact and do not depend on the number of ranks: each element is nonzero on one rank at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from sedd.config.config import Config
from sedd.data.batch import Batch
from sedd.data.micro_batches import MicroBatch
from sedd.diffusion.parametrization import Network
from sedd.distributed.group import SINGLE_PROCESS, World
from sedd.distributed.signals import Interrupted, interruptible
from sedd.errors import ConfigError, DistributedError
from sedd.evaluation.bound import Contributions
from sedd.evaluation.estimator import Estimator
from sedd.runs.differences import blocking_differences
from sedd.sampling.generation import Generation, Request
from sedd.sampling.predictors.base import Report
from sedd.sampling.sampler import no_progress

Result = TypeVar("Result")


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
        if not micro_batch.is_padding:
            table[:, micro_batch.positions] = parts[:, columns]
    summed = world.all_reduce_sum(np.concatenate([table.ravel(), np.array(token_counts, np.float64)]))
    table, counts = summed[: table.size].reshape(table.shape), summed[table.size :]
    return table, tuple(int(count) for count in counts)


@dataclass(frozen=True)
class DistributedEstimator(Estimator):
    """An `Estimator` whose batches are distributed over the ranks; every rank gets the bound of a single process."""

    world: World = SINGLE_PROCESS

    def _batches(
        self, chosen: np.ndarray | None = None, ranks: np.ndarray | None = None, *, packed: bool = False
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        return islice(super()._batches(chosen, ranks, packed=packed), self.world.rank, None, self.world.size)

    def _contributions(self, network: Network, chosen: np.ndarray, ranks: np.ndarray) -> Contributions:
        own = super()._contributions
        part = interruptible_together(self.world, lambda: own(network, chosen, ranks))  # zeros where others evaluated
        names = ("residues", "values", "by_bin", "drawn", "trained")
        return replace(part, **{name: self.world.all_reduce_sum(getattr(part, name)) for name in names})


def interruptible_together(world: World, compute: Callable[[], Result]) -> Result:
    """The result of `compute`, which a signal may cut short: on all ranks, if it does so on one. Called by all ranks.

    Args:
        world: the ranks.
        compute: has no collective.

    Raises:
        Interrupted: on all ranks, when each has finished or was interrupted.
    """
    results = []
    try:
        with interruptible():
            results.append(compute())
    except Interrupted:
        results.clear()
    if not results or world.size > 1:
        [interrupted] = world.all_reduce_max(not results)
        if interrupted:
            raise Interrupted
    return results[0]


def generate_texts(
    generation: Generation, request: Request, world: World, *, report: Report = no_progress
) -> list[str]:
    """All samples of a request as text; batches are distributed over the ranks, and every rank gets all samples.

    `report` is called with the number of samples before the one that this rank draws, a fraction while it draws.
    """
    size, count = request.options.batch_size, len(request.templates)

    def own_texts() -> dict[int, str]:
        firsts = range(world.rank * size, count, world.size * size)
        drawn = (islice(generation.draw(request, first=first, report=report), size) for first in firsts)
        return {sample.index: generation.alphabet.decode(sample.tokens) for samples in drawn for sample in samples}

    texts = interruptible_together(world, own_texts)
    gathered = {index: text for part in world.all_gather_object(texts) for index, text in part.items()}
    return [gathered[index] for index in range(count)]


def check_ranks_agree(world: World, config: Config, fingerprint: object, *, sequences: int) -> None:
    """Check that all ranks train the same run, and that each has work.

    Args:
        world: the ranks.
        config: of this rank.
        fingerprint: of this rank's data.
        sequences: in an optimizer step.

    Raises:
        ConfigError: if there are more ranks than sequences in a step.
        DistributedError: if a rank has another configuration or other data than the first one.
    """
    if sequences < world.size:
        raise ConfigError(
            f"{world.size} processes, and {sequences} sequences in an optimizer step: some would have nothing to do. "
            f"Raise training.batch_size or training.accum, or start at most {sequences} processes",
            keys=["training.batch_size", "training.accum"],
        )
    everybody = world.all_gather_object((config.to_dict(), fingerprint))
    first_config, first_data = everybody[0]
    for rank, (other, data) in enumerate(everybody):
        changed = [difference.key for difference in blocking_differences(first_config, other)]
        if changed or data != first_data:
            what = f"configuration ({', '.join(changed)})" if changed else "data"
            raise DistributedError(
                f"process {rank} of {world.size} has another {what} than process 0; give all the same"
            )
