"""A run that a signal ends is saved first. What the signal has cut short is made up for when the run goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from sedd.distributed.signals import Interrupted, StopRequest, raise_for
from sedd.runs.step_report import StepReport
from sedd.training.evaluating import evaluation_due
from sedd.training.recording import NullRecorder, Recorder
from sedd.training.samples import due, generates, samples_file

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


def save_if_stopped(trainer: Trainer, stop: StopRequest, say: Callable[[str], None]) -> None:
    """Save the run, if a signal has come to any rank and it is not saved yet. Called by all ranks."""
    [number] = trainer.world.all_reduce_max(stop.number or 0)
    if not number:
        return
    stop.number = number
    if trainer.saved_state is not trainer.state:
        trainer.save()
    say(f"Stopped and saved at step {trainer.state.step:,}; continue with --resume --run {trainer.run.path}")
    stop.saved = True


def exit_if_stopped(trainer: Trainer, stop: StopRequest) -> None:
    """End the process, if a signal has come to any rank. Called by all ranks, when everything is closed.

    Raises:
        KeyboardInterrupt, SystemExit: as the signal would have ended it, on all ranks.
    """
    [number] = trainer.world.all_reduce_max(stop.number or 0)
    if number:
        raise_for(number)


def owed(trainer: Trainer, recorder: Recorder | NullRecorder) -> Iterator[StepReport]:
    """A report of the current step with the evaluation that a signal has cut short; none if nothing is owed.

    It has no residues, since no step was made. Called by all ranks.
    """
    state = trainer.state
    evaluation, samples = trainer.world.broadcast_object(
        lambda: (not recorder.has_bound(state.step), _owes_samples(trainer))
    )
    report = StepReport(
        step=state.step, loss=math.nan, difficulty=math.nan, mask_rate=math.nan, mask_rate_max=math.nan,
        grad_norm=math.nan, lr=math.nan, residues=0, residues_per_second=math.inf, skipped=False,
        skipped_total=state.skipped,
    )  # fmt: skip
    evaluation = evaluation and evaluation_due(trainer.config.training, report)
    if state.step and (evaluation or samples):
        yield evaluated(trainer, report) if evaluation else report


def evaluated(trainer: Trainer, report: StepReport) -> StepReport:
    """The report with the bounds of the current weights; without them, if a signal has cut the evaluation short."""
    with suppress(Interrupted):
        report = trainer.evaluator.evaluated(report)
        if report.bound is not None:
            trainer.state = trainer.state.with_bound(report.step, report.bound.nats)
    return report


def _owes_samples(trainer: Trainer) -> bool:
    wanted = due(trainer.config.sampling, trainer.state.step) and generates(trainer.config)
    return wanted and not samples_file(trainer).exists()
