"""The trainer: a configuration in, a stream of step reports out; `fit` adds files and a progress display."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import Dataset
from sedd.data.user import UserData
from sedd.devices import choose
from sedd.diagnosis.verdict import Verdict
from sedd.diffusion.process import Process
from sedd.distributed.group import join
from sedd.distributed.parallel import parallelize, sync_module_states
from sedd.errors import TrainingError
from sedd.evaluation.bound import Bound
from sedd.plugins.contracts import Curriculum
from sedd.pretrained import Pretrained
from sedd.runs.changes import allowed_keys
from sedd.runs.directory import RunDirectory
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport
from sedd.sampling.lengths import LengthDistribution
from sedd.training.checkpointing import (
    Saved,
    begin_run,
    load_checkpoint,
    newest_checkpoint,
    restore_newest,
    write_checkpoint,
)
from sedd.training.collectives import check_ranks_agree, generate_texts
from sedd.training.compiling import compile_network
from sedd.training.consistency import Beginning, settle
from sedd.training.ema import EmaNetwork
from sedd.training.evaluating import Evaluator
from sedd.training.fitting import OnStep, fit
from sedd.training.in_flight import Flights, one_step
from sedd.training.initialising import initialise
from sedd.training.layout import choose_layout, row_shape
from sedd.training.live_run import LiveRun, own_loop
from sedd.training.loading import Loader
from sedd.training.numerics import Numerics, keep_precision
from sedd.training.optimizer_state import OptimizerSnapshot
from sedd.training.own_parts import LrFactor, OptimizerGiven, OwnParts
from sedd.training.pending import unrecorded_steps
from sedd.training.recorded_passes import choose_recorder
from sedd.training.setup import make_batches, make_network, may_skip_parameters, open_dataset
from sedd.training.step import TrainStep, skips_on_device


class Trainer:
    """Trains a SEDD model.

    Args:
        config: a `Config`, the name of a preset, or the path of a run file.
        model: your own network in place of that of `config.model`, called as `model(tokens, sigma, mask)`; it returns
            (batch, length, outputs) logits (`model.head: normalised`) or log-scores (`model.head: score`).
        data: your own data in place of `config.data`: a `Dataset`, or a sequence of strings or integer arrays.
        curriculum: a curriculum object in place of `config.curriculum`, registered as a plugin or not.
        optimizer: your own optimizer in place of AdamW: a `torch.optim.Optimizer` of the parameters of `model`, or a
            function that makes one of the list of trained parameters. Each parameter group keeps its own peak learning
            rate; schedule and warm-up scale it.
        lr_schedule: your own learning-rate schedule in place of `config.lr_schedule` and the warm-up: a function of the
            optimizer step (0 is the first) alone that returns a factor on the peak learning rate.
        run: directory of the run; by default one named after the time, in `runs/`. Nothing is written before `fit`.
        resume: continue the run in `run` if there is one.
        allow: with `resume`, keys of the configuration that may differ from those of the run: `["optim.lr"]`. What
            differs is recorded at its step.

    Raises:
        ConfigError, DataError, DeviceError: if the configuration, the data or the device cannot be used.
        CheckpointError: if `run` holds a run of another configuration, or one that `resume` did not ask for.

    Examples:
        >>> import sedd
        >>> trainer = sedd.Trainer(sedd.load_config("quickstart", "training.n_iters=2", "model.n_blocks=1"))
        >>> [report.step for report in trainer.steps()]
        [1, 2]
    """

    def __init__(
        self,
        config: Config | str | Path,
        *,
        model: nn.Module | None = None,
        data: Dataset | UserData | None = None,
        curriculum: Curriculum | None = None,
        optimizer: OptimizerGiven | None = None,
        lr_schedule: LrFactor | None = None,
        run: str | Path | None = None,
        resume: bool = False,
        allow: Sequence[str] = (),
    ) -> None:
        config = config if isinstance(config, Config) else load_config(config)
        self.config = config = config if curriculum is None else config.replace(curriculum=curriculum)
        self.resume = resume
        self.backend = choose(config.device)
        self.world = join(self.backend)
        allow = allowed_keys(allow)
        self.run = self.world.broadcast_object(
            lambda: RunDirectory.fresh() if run is None else RunDirectory(Path(run), allow=allow)
        )
        own = OwnParts(optimizer, lr_schedule)
        config = own.expected(config, self.run)
        self.run.check(config, resume=resume)
        found = newest_checkpoint(self.run, self.world) if resume else None
        began = self.world.broadcast_object(lambda: Numerics.of_state(found[1].state) if found else None)
        self.backend = keep_precision(self.backend, began, wanted=config.device.precision)
        self.backend.prepare()
        self.device = self.backend.device(self.world.local_rank)
        self.data = open_dataset(config, data, show=self.world.is_main)
        self.lengths = LengthDistribution.of(self.data.train, longest=config.model.length)
        self.process = Process.of(config, self.data.alphabet.n)
        self.network = make_network(config, self.process, model, self.backend, self.device)
        # A run that goes on has its weights and its lineage in the checkpoint: the parent may be gone.
        self.lineage = (
            () if began else initialise(self.network, config, self.data.alphabet, own_network=model is not None)
        )
        sync_module_states(self.world, self.network)
        beginning = Beginning.of(self.network, reproducible=model is None and not config.training.init_from)
        self.ema = EmaNetwork(self.network, config.ema)
        self.parallel = parallelize(
            self.world, config, self.network, self.ema.network, find_unused_parameters=may_skip_parameters(self.network)
        )
        self.evaluator = Evaluator.of(
            config, self.data, self.process,
            backend=self.backend, device=self.device, world=self.world, parallel=self.parallel,
        )  # fmt: skip
        made, self.config = own.make(self.network, config, sharded=self.parallel.sharded)
        if self.config is not config:  # it describes the user's optimizer
            self.run.check(config := self.config, resume=resume)
            beginning = replace(beginning, optimizer=OptimizerSnapshot.of(made, self.network))
        self.beginning: Beginning | None = beginning
        self.changes = self.run.changes(config)
        self.layout = self.world.broadcast_object(lambda: choose_layout(self.backend, self.network, began))
        """How the sequences of a step lie in memory, see `device.layout`."""
        self.batches = make_batches(config, self.data.train, self.layout)
        residues = self.batches.batch_sequences * self.lengths.mean / self.world.size
        compiles = compile_network(
            config, self.network, residues=residues, backend=self.backend, device=self.device, world=self.world,
            began=began.compiled if began else None,
        )  # fmt: skip
        shape = row_shape(
            self.layout, self.network, self.batches, self.lengths, parts=config.training.accum * self.world.size
        )
        self.train_step = TrainStep(
            config, self.process, self.network, self.ema, self.parallel, made, self.backend, self.device, self.world,
            compiled=compiles, own=own, skips_on_device=skips_on_device(made, self.device),
            recorder=choose_recorder(config, self.backend, self.network, shape, self.device, self.world),
        )  # fmt: skip
        self.flights = Flights()
        self.loader = Loader(
            config, self.data, self.batches, self.process.graph,
            pin_memory=self.device.type == "cuda", world=self.world,
            row_shape=shape,
        )  # fmt: skip
        self.state = TrainState()
        self.saved: Saved | None = None  # the checkpoint that was written or loaded last
        self.verdict: Verdict | None = None
        """The verdict of the monitor, after `fit`."""
        self.live: LiveRun | None = None
        """What records the run, within `fit`."""
        check_ranks_agree(self.world, config, self.data.fingerprint, sequences=self.batches.batch_sequences)
        self._owns_run = self.world.broadcast_object(lambda: found is not None)
        if self._owns_run:
            load_checkpoint(self, found)

    # Training ------------------------------------------------------------------------------------------------------

    def fit(self, *, until: int | None = None, progress: bool = True, on_step: OnStep | None = None) -> Bound:
        """Train with metrics, checkpoints, trackers and a progress display; returns the last held-out bound.

        Whatever ends it (Ctrl-C, SIGTERM, an error of any kind) saves the last consistent state first and says where.
        A signal does so within a second or two. Another `fit` goes on from there, and repeats what was cut short.
        `training.early_stopping` may end it before the last step.

        Args:
            until: the optimizer step to stop at, with a checkpoint; another `fit` goes on from it. By default the last
                step, `training.n_iters`.
            progress: show progress.
            on_step: called with the report of each step after it is recorded, skipped ones included, on all ranks of a
                group. If it returns "stop" on any rank, the run ends with this step as if it were the last one; another
                `fit` goes on from it. An error in it saves the run and is raised.

        Raises:
            ConfigError: if `on_step` returns anything but None and "stop".
            TrainingError: if too many steps in a row are not finite, or the run diverges and `monitoring.on_divergence`
                is `stop`.
            OutOfMemoryError: if the memory of the device or the machine does not suffice; a `MemoryError` too.
            DiskError: if a file of the run cannot be written, such as on a full disk; an `OSError` too.
            CheckpointError: if the run directory is another run's, or another process is training in it.
        """
        return fit(self, until=until, progress=progress, on_step=on_step)

    def steps(self, *, until: int | None = None) -> Iterator[StepReport]:
        """The training loop: one report per optimizer step, skipped ones included.

        Writes no file, except within `recording`.

        Args:
            until: the optimizer step to stop at; by default the last step, `training.n_iters`.

        Raises:
            TrainingError: if `training.max_skipped` steps in a row are not finite.
        """
        return unrecorded_steps(self, until) if self.live is None else self.live.steps(until)

    def _step(self) -> StepReport:
        return one_step(self)

    def recording(self) -> AbstractContextManager[None]:
        """A context in which `steps` does what `fit` does: it records each step before it yields the report, writes
        checkpoints, and acts on alarms and early stopping. Whatever ends the context saves the run.

        Raises:
            CheckpointError, DiskError, OutOfMemoryError, TrainingError: as `fit` does.

        Examples:
            >>> with trainer.recording():  # doctest: +SKIP
            ...     for report in trainer.steps():
            ...         trainer.log({"loss_squared": report.loss**2})
        """
        return own_loop(self, logging.getLogger("sedd").info)

    def log(self, numbers: Mapping[str, float]) -> None:
        """Record numbers of your own at the current step, in the metrics file and in the trackers; within `fit` (in
        `on_step`) and `recording`. In a group of processes the numbers of the first one count.

        Raises:
            ConfigError: if they are not numbers by name.
            TrainingError: if nothing is recorded now.
        """
        if self.live is None:
            raise TrainingError("log: nothing is recorded now; call it in on_step of fit, or within recording()")
        self.live.log(numbers)

    def evaluate(self) -> Bound:
        """The held-out bound of the EMA weights: always the same sequences and noise, and no curriculum.

        Like `steps`, `sample` and `save`, it is called by all ranks of a group, and returns the same on all.
        """
        settle(self)
        return self.evaluator.bound()

    # The model -----------------------------------------------------------------------------------------------------

    @property
    def model(self) -> Pretrained:
        """The EMA weights of the current step as a model of its own, which later training does not change."""
        settle(self)
        with self.parallel.full_ema() as network:
            return self._pretrained(copy.deepcopy(network))

    def sample(self, count: int, *, length: int | None = None, seed: int = 0) -> list[str]:
        """Generate sequences with the EMA weights; all ranks of a group share the work.

        Args:
            count: number of sequences.
            length: residues in each; by default drawn from the lengths of the training data.
            seed: equal seeds give equal samples.

        Raises:
            SamplingError: if the noise is too weak to generate complete sequences, or the length is impossible.
        """
        settle(self)
        with self.parallel.full_ema() as network:
            generation = self._pretrained(network).generation
            return generate_texts(generation, generation.sample(count, length=length, seed=seed), self.world)

    def claim_run(self) -> RunDirectory:
        """Make the run's directory if it is named after the time, as `fit` and `save` do; its name may change by it."""
        if not self.run.named:
            self.run = self.world.broadcast_object(self.run.claim)
        return self.run

    def save(self) -> Path:
        """Write a checkpoint of the current step and prune old ones; returns its directory.

        Makes the run directory if need be, and raises CheckpointError if that is another run's.
        """
        self.claim_run()
        if not self._owns_run:
            begin_run(self)
            self._owns_run = True
        settle(self)
        return write_checkpoint(self)

    def restore(self) -> bool:
        """Load the newest intact checkpoint of the run; returns False if there is none.

        Raises:
            CheckpointError: if the run belongs to another configuration, was trained on other data, or is training now.
        """
        restored = restore_newest(self)
        self._owns_run |= restored
        return restored

    # What it consists of -------------------------------------------------------------------------------------------

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer; to use one of your own, pass it to the `Trainer`."""
        return self.train_step.optimizer

    @property
    def compiled(self) -> bool:
        """Whether the network is compiled, see `training.compile`."""
        return self.train_step.compiled

    def _pretrained(self, network: nn.Module) -> Pretrained:
        return Pretrained(
            self.config, network, self.process, self.data.alphabet, self.lengths, self.backend, self.device,
            self.state.step, self.data.fingerprint, self.data.token_counts,
        )  # fmt: skip
