"""The training loop: each step is pending until it is evaluated and recorded, so that nothing of it can be lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sedd.runs.step_report import StepReport
from sedd.training.consistency import settle
from sedd.training.step import check_skipped

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


def pending_steps(trainer: Trainer, until: int | None) -> Iterator[StepReport]:
    """The reports of the steps up to `until`, by default the last one; evaluated where that is due.

    Each step is pending until the caller says that it is recorded (`TrainState.recorded`). A step whose evaluation or
    whose records were interrupted comes first.
    """
    settle(trainer)
    planned = trainer.config.training.n_iters
    last = planned if until is None else min(until, planned)
    if trainer.state.pending is not None:
        yield _evaluated(trainer, trainer.state.pending)
    trainer.flights.until = last
    while trainer.state.step < last:
        report = _evaluated(trainer, trainer._step())
        yield report
        check_skipped(trainer.state, report, max_skipped=trainer.config.training.max_skipped)


def unrecorded_steps(trainer: Trainer, until: int | None) -> Iterator[StepReport]:
    """The reports of the steps up to `until`, for a loop that writes no records."""
    for report in pending_steps(trainer, until):
        trainer.state = trainer.state.recorded()
        yield report


def _evaluated(trainer: Trainer, report: StepReport) -> StepReport:
    report = trainer.evaluator.evaluated_if_due(report, trainer.config.training)
    if report.bound is not None:
        trainer.state = trainer.state.with_bound(report.step, report.bound.nats)
    return report
