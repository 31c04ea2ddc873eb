"""The evaluations of a run: the held-out bound, and the same bound on training sequences (the probe)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from sedd.config.config import Config
from sedd.config.sections import Training
from sedd.data import Dataset
from sedd.diffusion.process import Process
from sedd.distributed.group import World
from sedd.distributed.parallel import SingleProcess
from sedd.evaluation.bound import Bound
from sedd.evaluation.probe import PROBE_SEED, probe_sequences
from sedd.plugins.contracts import Backend
from sedd.runs.step_report import StepReport
from sedd.training.collectives import DistributedEstimator

PROBE_BATCHES = 4
"""Batches of the probe, at least."""


def evaluation_due(training: Training, report: StepReport) -> bool:
    """Whether the held-out bound is evaluated after this step."""
    return not report.skipped and (report.step == training.n_iters or report.step % training.eval_every == 0)


@dataclass(frozen=True)
class Evaluator:
    """Evaluates the networks of a run on the same sequences with the same masks each time; changes neither of them.

    Called by all ranks of a group, it returns the same on all.
    """

    held_out: DistributedEstimator
    probe: DistributedEstimator | None
    """Of training sequences; None if `evaluation.train_sequences` is 0."""
    parallel: SingleProcess

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
        with self.parallel.full_ema() as network:
            return self.held_out(network)

    def evaluated(self, report: StepReport) -> StepReport:
        """The report of a step with its bounds: held-out, and on training sequences with EMA and raw weights."""
        with self.parallel.full_ema() as network:
            bound = self.held_out(network)
            probe = None if self.probe is None else self.probe(network)
        if self.probe is None:
            return replace(report, bound=bound)
        with self.parallel.full_trained() as network:
            return replace(report, bound=bound, probe=probe, probe_raw=self.probe(network))
