"""The inputs of each optimizer step, prepared by a background thread while the device computes the step before.

They are a function of configuration, optimizer step and data cursor only. So they can be prepared early, and are
prepared again when a skipped step or a rollback makes the prefetched ones wrong.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch

from sedd.config.config import Config
from sedd.data import Batch, Batches, Cursor, Dataset, GlobalBatch, load
from sedd.data.micro_batches import MicroBatch, micro_batches
from sedd.diffusion.graphs import Graph
from sedd.diffusion.loss import CorruptedBatch, corrupt_batch
from sedd.diffusion.noising import corruption_uniforms, dropout_keys, noise_state, path_positions
from sedd.diffusion.packing import RowShape, pack, per_slot
from sedd.diffusion.schedule import Schedule
from sedd.distributed.group import SINGLE_PROCESS, World
from sedd.errors import DataError, PluginError
from sedd.randomness import seed_for
from sedd.training.background import single_threaded_executor

MAX_COUNTED_TOKENS = 1024
"""Tokens are counted in alphabets of at most this size."""


@dataclass(frozen=True, eq=False)
class MicroStep:
    """The inputs of one forward and backward pass."""

    corrupted: CorruptedBatch
    """In host memory."""
    dropout_keys: torch.Tensor
    """Keys of each sequence's dropout."""
    seed: int
    """For networks that draw their dropout from torch's generator."""
    micro_batch: MicroBatch
    """Which sequences of the step it holds."""


@dataclass(frozen=True, eq=False)
class StepInputs:
    """The inputs of one optimizer step."""

    difficulty: float
    residues: int
    """In all sequences of the step, over all ranks; the loss is normalised by it."""
    micro_steps: tuple[MicroStep, ...]
    """Those of this rank."""
    mask_rates: np.ndarray
    """(sequences,) of the step over all ranks, in its order."""
    token_counts: tuple[int, ...]
    """How often each token occurs in `micro_steps`; empty for very large alphabets."""
    next_cursor: Cursor
    """Data cursor of the next step."""


class Loader:
    """Prepares the inputs of steps, one step ahead.

    Args:
        config: of the run.
        data: the data set to train on.
        batches: the order of its sequences.
        graph: the forward process.
        pin_memory: whether to copy batches to page-locked memory, from which CUDA copies asynchronously.
        row_shape: pack each micro-batch into a row of this shape; None for padded rows.
        world: the processes that share a step.
    """

    def __init__(
        self,
        config: Config,
        data: Dataset,
        batches: Batches,
        graph: Graph,
        *,
        pin_memory: bool,
        row_shape: RowShape | None = None,
        world: World = SINGLE_PROCESS,
    ) -> None:
        self.config, self.data, self.batches, self.graph = config, data, batches, graph
        self.pin_memory, self.row_shape, self.world = pin_memory, row_shape, world
        self._thread = single_threaded_executor()
        self._prefetched: tuple[int, Cursor, Future[StepInputs]] | None = None

    def __call__(self, step: int, cursor: Cursor) -> StepInputs:
        """The inputs of optimizer step `step` at data position `cursor`; starts to prefetch those of the next step."""
        if self._prefetched is None or self._prefetched[:2] != (step, cursor):
            self._prefetch(step, cursor)
        assert self._prefetched is not None  # noqa: S101  # tells the type checker
        try:
            inputs = self._prefetched[2].result()
        except BaseException:
            self._prefetched = None  # the cause may be gone when the step is tried again
            raise
        self._prefetch(step + 1, inputs.next_cursor)
        return inputs

    def _prefetch(self, step: int, cursor: Cursor) -> None:
        self._prefetched = step, cursor, self._thread.submit(self._prepare, step, cursor)

    def _prepare(self, step: int, cursor: Cursor) -> StepInputs:
        config = self.config
        plan, next_cursor = self.batches.at(cursor)
        u = torch.from_numpy(path_positions(config.seed, plan.samples))
        try:
            difficulty = Schedule(config).difficulty(step)
            noise = noise_state(config.noise, u, difficulty=difficulty, mode=config.curriculum.mode)
        except PluginError as error:
            raise PluginError(f"in step {step + 1:,}, {error}") from error
        counts = torch.zeros(self.graph.n if self.graph.n <= MAX_COUNTED_TOKENS else 0, dtype=torch.long)
        micro_steps = []
        for micro_batch in micro_batches(plan, config.training.accum, rank=self.world.rank, size=self.world.size):
            part = micro_batch.batch
            batch = self._read(part)
            if len(counts) and not micro_batch.is_padding:
                counts += torch.bincount(batch.tokens[batch.mask], minlength=len(counts))
            uniforms = corruption_uniforms(config.seed, part.samples, part.lengths, batch.tokens.shape[1])
            corrupted = corrupt_batch(batch, noise[micro_batch.positions], uniforms, graph=self.graph)
            keys = dropout_keys(config.seed, part.samples)
            if self.row_shape is not None:
                corrupted = pack(corrupted, self.row_shape)
                keys = per_slot(keys, len(corrupted.residues))
            if self.pin_memory:
                corrupted, keys = corrupted.copied(torch.Tensor.pin_memory), keys.pin_memory()
            seed = seed_for(config.seed, "dropout", int(part.samples.min()))
            micro_steps.append(MicroStep(corrupted, keys, seed, micro_batch))
        rates = noise.mask_rate.double().numpy()
        return StepInputs(difficulty, plan.residues, tuple(micro_steps), rates, tuple(counts.tolist()), next_cursor)

    def _read(self, part: GlobalBatch) -> Batch:
        batch = load(self.data.train, part, seed=self.config.seed, max_length=self.config.model.length)
        if int(batch.tokens.max()) >= self.graph.n or int(batch.tokens.min()) < 0:
            raise DataError(
                f"a training sequence has ids outside 0 to {self.graph.n - 1}, those of alphabet "
                f"{self.data.alphabet.name!r} (among items {part.indices.min()} to {part.indices.max()})"
            )
        return batch
