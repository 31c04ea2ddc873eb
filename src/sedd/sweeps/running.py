"""Carries out one task of a sweep: trains a run up to a step, and measures its bound over the shared mask rates."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedd.comparison.paired import evaluate_on
from sedd.comparison.recorded import NEGLIGIBLE
from sedd.config.config import Config
from sedd.data import Dataset
from sedd.data.statistics import mean_length
from sedd.diagnosis.api import diagnose
from sedd.diffusion.loss_profile import EDGES
from sedd.diffusion.schedule import Schedule
from sedd.errors import CheckpointError, DiskError, OutOfMemoryError, SeddError, SeddWarning
from sedd.evaluation.bound import Contributions
from sedd.evaluation.statistics import mean_over_residues
from sedd.runs import checkpoint
from sedd.runs.directory import RunDirectory
from sedd.runs.metrics import BoundRecord
from sedd.sweeps.space import changed
from sedd.sweeps.tasks import Measurement, Task
from sedd.training.trainer import Trainer

Array = NDArray[np.float64]
RUNGS = 4
"""The first rung is at this part of the run; each further one at twice the step."""


def rung_steps(steps: int) -> tuple[int, ...]:
    """The optimizer steps at which trials are compared: a quarter, half and all of the run."""
    first = -(-steps // RUNGS)
    return (*(step for step in (first, 2 * first) if step < steps), steps)


def divisor(number: int, least: int) -> int:
    """The smallest divisor of a number that is at least `least`; the number itself if there is no other."""
    return next(one for one in range(min(max(least, 1), number), number + 1) if number % one == 0)


@dataclass(frozen=True)
class Setup:
    """What all tasks of a sweep have in common; it can be sent to another process."""

    base: Config
    residues: float
    """Training residues of a complete run."""
    mask_rates: tuple[float, float]
    runs: Path
    """Directory of the run directories."""
    mean_length: float
    """Mean residues of a training sequence, cropped to `model.length`."""

    def steps(self, config: Config) -> int:
        """Optimizer steps in which a configuration sees `residues` residues."""
        return max(1, round(self.residues / residues_per_step(config, self.mean_length)))

    def config(self, task: Task) -> Config:
        """The configuration of a task: its changes, its seed, as many steps as the residues allow."""
        config = changed(self.base, task.changes)
        steps = self.steps(config)
        every = rung_steps(steps)[0]
        return config.replace(
            seed=task.seed,
            training={
                "n_iters": steps, "eval_every": divisor(every, config.training.eval_every), "early_stopping": None,
                "log_every": min(config.training.log_every, every),
            },
            checkpoint={"every": every, "keep": 1},
            sampling={"at_steps": [], "every": None},
        )  # fmt: skip


def residues_per_step(config: Config, length: float) -> float:
    """Training residues of one optimizer step, about, for sequences of this mean length."""
    training = config.training
    return float(training.batch_residues or training.batch_size * training.accum * length)


def sequence_length(config: Config, dataset: Dataset) -> float:
    """Mean residues of a training sequence, cropped to `model.length`."""
    return mean_length(dataset.train, longest=config.model.length)


def mask_range(config: Config) -> tuple[float, float]:
    """The least and the largest mask rate that a configuration trains, 1 - e^(-sigma)."""
    noise = config.noise
    return -math.expm1(-noise.sigma_min), -math.expm1(-noise.sigma_max)


def ramp_ended(config: Config, step: int) -> bool:
    """Whether the difficulty is 1 from a step on, in whatever mode it acts on the noise."""
    return Schedule(config).difficulty(step) >= 1.0


def is_full(mask_rates: tuple[float, float]) -> bool:
    """Whether a range of mask rates is all of them, up to a negligible part."""
    return mask_rates[0] <= NEGLIGIBLE and mask_rates[1] >= 1.0 - NEGLIGIBLE


def carry_out(setup: Setup, task: Task) -> Measurement:
    """Train the run of a task up to its rung, on from where it is, and measure it.

    A run that ends with an error of its own, such as a divergence, is a measurement too. What has nothing to do with
    the setting is raised: a full disk, no memory, a directory that is in use.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)  # the run file was warned about once
        try:
            config = setup.config(task)
            trainer = _trainer(config, setup.runs / task.run)
            step = rung_steps(config.training.n_iters)[task.rung]
            if trainer.state.step < step:
                trainer.fit(until=step, progress=False)
            return _measured(setup, trainer)
        except (CheckpointError, DiskError, OutOfMemoryError):
            raise
        except SeddError as error:
            return _failed(setup.runs / task.run, str(error))


def _trainer(config: Config, path: Path) -> Trainer:
    """A trainer that goes on from where the run is.

    A run without one intact checkpoint, as a full disk may leave it, is set aside and begun again: the same settings
    and seed give the same run.
    """
    try:
        return Trainer(config, run=path, resume=True)
    except CheckpointError:
        checkpoints = path / "checkpoints"
        if checkpoint.listing(checkpoints) or not any(checkpoints.glob("damaged-step-*")):
            raise
    number = next(n for n in count(1) if not path.with_name(f"{path.name}-damaged-{n}").exists())
    path.rename(path.with_name(f"{path.name}-damaged-{number}"))
    return Trainer(config, run=path, resume=True)


def _measured(setup: Setup, trainer: Trainer) -> Measurement:
    history = trainer.run.history()
    bound = next(one for one in reversed(history.bounds) if one.step == trainer.state.step)
    nats, stderr, values, lengths = _bound(setup, trainer, bound)
    verdict = diagnose(trainer.run.path).verdict
    return Measurement(
        nats, stderr, bound.step, bound.residues,
        full_range=ramp_ended(trainer.config, bound.step),
        kind=verdict.kind, verdict=verdict.answer, went_wrong=verdict.went_wrong, by_sequence=values, lengths=lengths,
    )  # fmt: skip


def _bound(setup: Setup, trainer: Trainer, bound: BoundRecord) -> tuple[float, float, Array, Array]:
    """The bound over the shared mask rates, its standard error, and both by sequence; from the metrics file where that
    has it, else by another evaluation of the same sequences with the same noise."""
    if not math.isfinite(bound.nats):
        return math.inf, math.inf, np.zeros(0), np.zeros(0)
    if is_full(setup.mask_rates):
        evaluated = trainer.run.history().evaluated
        lengths = np.zeros(0) if evaluated is None else evaluated.held_out.residues
        known = len(lengths) == len(bound.by_sequence)
        return bound.nats, bound.stderr, bound.by_sequence if known else np.zeros(0), lengths if known else np.zeros(0)
    options = trainer.config.evaluation
    _, found = evaluate_on(
        trainer.model, trainer.data.valid, trainer.config.model.length, options.sequences, options.masks
    )
    values = part_by_sequence(found, *setup.mask_rates)
    return *mean_over_residues(values, found.residues), values, found.residues


def part_by_sequence(found: Contributions, low: float, high: float) -> Array:
    """(sequences,): the part of the bound of each sequence between two mask rates, linear within a bin."""
    up_to = np.concatenate([np.zeros((len(found.by_bin), 1)), found.by_bin.cumsum(1)], axis=1)
    parts = [np.interp([low, high], EDGES, row) for row in up_to]
    return np.array([end - begin for begin, end in parts])


def _failed(run: Path, reason: str) -> Measurement:
    """A run that ended with an error; the verdict on it if it has logged anything, else the error."""
    kind, sentence, step, residues = "learning", reason, 0, 0
    try:
        history = RunDirectory(run).history()
        step, residues = (history.lines[-1].step, history.lines[-1].residues) if history.lines else (0, 0)
        verdict = diagnose(run).verdict
        if verdict.went_wrong:
            kind, sentence = verdict.kind, verdict.answer
    except SeddError:
        pass  # it ended before it logged anything
    return Measurement(math.inf, math.inf, step, residues, False, kind, sentence, went_wrong=True)
