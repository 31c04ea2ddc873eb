"""The evaluations of a run: the held-out bound, and the same bound on training sequences (the probe)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from sedd.config.config import Config
from sedd.config.sections import Training
from sedd.data import Dataset
from sedd.diffusion.process import Process
from sedd.distributed.group import World
from sedd.distributed.parallel import SingleProcess
from sedd.evaluation.batch_mixing import batch_mixing
from sedd.evaluation.bound import Bound
from sedd.evaluation.probe import PROBE_SEED, probe_sequences
from sedd.evaluation.share_done import ShareDone
from sedd.plugins.contracts import Backend
from sedd.runs.step_report import StepReport
from sedd.training.collectives import DistributedEstimator
from sedd.training.progress import EVALUATING

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer

Shown = AbstractContextManager[Callable[[float], object]]
"""Something that is shown while it is done; what it yields is called with the share that is done, 0 to 1."""
PROBE_BATCHES = 4
"""Batches of the probe, at least."""


@dataclass(frozen=True)
class Evaluator:
    """Evaluates the networks of a run on the same sequences with the same masks each time; changes neither of them.

    Called by all ranks of a group, it returns the same on all.
    """

    held_out: DistributedEstimator
    probe: DistributedEstimator | None
    """Of training sequences; None if `evaluation.train_sequences` is 0."""
    parallel: SingleProcess
    show: Callable[[], Shown] | None = None
    """Opened around an evaluation."""

    @staticmethod
    def of(
        config: Config,
        data: Dataset,
        process: Process,
        *,
        backend: Backend,
        device: torch.device,
        world: World,
        parallel: SingleProcess,
    ) -> Evaluator:
        """The evaluator of a run, whose networks `parallel` holds."""
        options = config.evaluation

        held_out = DistributedEstimator(
            data.valid, process, backend, device, config.model.length,
            count=options.sequences, masks=options.masks, batch_size=options.batch_size, world=world,
        )  # fmt: skip
        count = options.train_sequences
        # Few sequences in one batch would be mostly pads, and work for one rank.
        size = min(options.batch_size, -(-count // PROBE_BATCHES))
        source = probe_sequences(data.train, count)
        probe = replace(held_out, data=source, count=count, batch_size=size, seed=PROBE_SEED) if count else None
        return Evaluator(held_out, probe, parallel)

    def bound(self) -> Bound:
        """The held-out bound with the EMA weights."""
        with self._shown(self.held_out) as (held_out,), self.parallel.full_ema() as network:
            return held_out(network)

    def evaluated(self, report: StepReport) -> StepReport:
        """The report of a step with its bounds: held-out, and on training sequences with EMA and raw weights."""
        probes = [] if self.probe is None else [self.probe, self.probe]
        with self._shown(self.held_out, *probes) as (held_out, *probes):
            with self.parallel.full_ema() as network:
                report = replace(report, bound=held_out(network))
                if not probes:
                    return report
                report = replace(report, probe=probes[0](network))
            with self.parallel.full_trained() as network:
                report = replace(report, probe_raw=probes[1](network))
                return replace(report, batch_mixing=self._batch_mixing(network))  # the last use of the copy

    def evaluated_if_due(self, report: StepReport, training: Training) -> StepReport:
        """`evaluated` every `training.eval_every` steps and after the last one; otherwise the report as it is."""
        due = report.step == training.n_iters or report.step % training.eval_every == 0
        return self.evaluated(report) if due else report

    def _batch_mixing(self, network: nn.Module) -> float | None:
        """Whether sequences of a batch see each other; None where it cannot be known. `network` is spoilt."""
        estimator = self.held_out
        with estimator.backend.autocast():
            found = batch_mixing(network, estimator.process, estimator.device, max_length=estimator.max_length)
        return found if math.isfinite(found) else None

    @contextmanager
    def _shown(self, *estimators: DistributedEstimator) -> Iterator[list[DistributedEstimator]]:
        """Estimators that report together how much of their work is done."""
        if self.show is None:
            yield list(estimators)
            return
        with self.show() as report:
            # A rank evaluates every `size`-th batch, and shows its own progress.
            done = ShareDone(report, sum(one.work for one in estimators) / self.held_out.world.size)
            yield [replace(one, on_evaluated=done) for one in estimators]


@contextmanager
def showing_evaluations(trainer: Trainer, doing: Callable[[str], Shown]) -> Iterator[None]:
    """Show the evaluations of a trainer, with `doing(EVALUATING)` around each."""
    silent = trainer.evaluator
    trainer.evaluator = replace(silent, show=partial(doing, EVALUATING))
    try:
        yield
    finally:
        trainer.evaluator = silent
