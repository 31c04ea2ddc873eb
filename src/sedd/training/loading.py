"""What a step works on, prepared in the background while the device is busy with the step before.

All of it is a function of (configuration, optimizer step, position in the data), so that it can be prepared early, and
again where a skipped step or a rollback made the guess wrong.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from sedd.config.config import Config
from sedd.data import Batch, Batches, Cursor, Dataset, GlobalBatch, load
from sedd.data.micro_batches import MicroBatch, micro_batches
from sedd.diffusion.graphs import Graph
from sedd.diffusion.loss import CorruptedBatch, corrupt_batch
from sedd.diffusion.noising import corruption_uniforms, dropout_keys, noise_state, path_positions
from sedd.distributed.group import ALONE, World
from sedd.errors import DataError
from sedd.plugins.contracts import checked_difficulty
from sedd.randomness import seed_for

MOST_LETTERS = 1024
"""In larger alphabets the symbols of a step are not counted."""


@dataclass(frozen=True, eq=False)
class MicroStep:
    """One pass through the network."""

    given: CorruptedBatch
    """On the host."""
    keys: torch.Tensor
    """(batch,) of the dropout of each sequence."""
    seed: int
    """For networks that draw their dropout from torch's generator."""
    piece: MicroBatch
    """Which part of the step it is."""


@dataclass(frozen=True, eq=False)
class StepInputs:
    """What one optimizer step does."""

    difficulty: float
    residues: int
    """In all sequences of the step: what its loss is normalised by."""
    micros: tuple[MicroStep, ...]
    """Those of this process."""
    mask_rates: np.ndarray
    """(sequences,) of the step, in its order."""
    letters: tuple[int, ...]
    """How often each symbol occurs in `micros`; empty for very large alphabets."""
    after: Cursor
    """Where the next step reads."""


class Loader:
    """Prepares steps, one ahead.

    Args:
        config: of the run.
        data: what it trains on.
        batches: the order in which it does.
        graph: the forward process.
        pin: put batches into memory that a GPU can read by itself.
        world: the processes that share a step.
    """

    def __init__(
        self, config: Config, data: Dataset, batches: Batches, graph: Graph, *, pin: bool, world: World = ALONE
    ) -> None:
        self.config, self.data, self.batches, self.graph, self.pin = config, data, batches, graph, pin
        self.world = world
        self._thread = _one_thread()
        self._ahead: tuple[int, Cursor, Future[StepInputs]] | None = None

    def __call__(self, step: int, cursor: Cursor) -> StepInputs:
        """The work of optimizer step `step` at position `cursor`; begins with that of the next one."""
        if self._ahead is None or self._ahead[:2] != (step, cursor):
            self._begin(step, cursor)
        assert self._ahead is not None  # noqa: S101  # tells the type checker
        work = self._ahead[2].result()
        self._begin(step + 1, work.after)
        return work

    def _begin(self, step: int, cursor: Cursor) -> None:
        self._ahead = step, cursor, self._thread.submit(self._prepare, step, cursor)

    def _prepare(self, step: int, cursor: Cursor) -> StepInputs:
        config = self.config
        difficulty = checked_difficulty(config.curriculum, step)
        plan, after = self.batches.at(cursor)
        u = torch.from_numpy(path_positions(config.seed, plan.samples))
        noise = noise_state(config.noise, u, difficulty=difficulty, mode=config.curriculum.mode)
        letters = torch.zeros(self.graph.n if self.graph.n <= MOST_LETTERS else 0, dtype=torch.long)
        micros = []
        for piece in micro_batches(plan, config.training.accum, rank=self.world.rank, size=self.world.size):
            part = piece.batch
            batch = self._read(part)
            if len(letters) and not piece.is_padding:
                letters += torch.bincount(batch.tokens[batch.mask], minlength=len(letters))
            draws = corruption_uniforms(config.seed, part.samples, part.lengths, batch.tokens.shape[1])
            given = corrupt_batch(batch, noise[piece.positions], draws, graph=self.graph)
            keys = dropout_keys(config.seed, part.samples)
            micros.append(
                MicroStep(
                    given.pin_memory() if self.pin else given,
                    keys.pin_memory() if self.pin else keys,
                    seed_for(config.seed, "dropout", int(part.samples.min())),
                    piece,
                )
            )
        rates = noise.mask_rate.double().numpy()
        return StepInputs(difficulty, plan.residues, tuple(micros), rates, tuple(letters.tolist()), after)

    def _read(self, part: GlobalBatch) -> Batch:
        batch = load(self.data.train, part, seed=self.config.seed, max_length=self.config.model.length)
        if int(batch.tokens.max()) >= self.graph.n or int(batch.tokens.min()) < 0:
            raise DataError(
                f"a training sequence has ids outside 0 to {self.graph.n - 1}, those of alphabet "
                f"{self.data.alphabet.name!r} (among items {part.indices.min()} to {part.indices.max()})"
            )
        return batch


def _one_thread() -> ThreadPoolExecutor:
    """A thread whose tensors are computed by it alone.

    With a team of OpenMP threads of its own it would compete for the cores with that of the step, whose threads wait
    for each other hundreds of times: a step took a quarter longer on two cores.
    """
    here = torch.get_num_threads()
    executor = ThreadPoolExecutor(1, thread_name_prefix="sedd-loader")
    executor.submit(torch.get_num_threads).result()  # else it would still take up the default, at its first tensor
    executor.submit(torch.set_num_threads, 1).result()
    torch.set_num_threads(here)  # it also set the default for threads to come
    return executor
