"""The training loop: each step is pending until it is evaluated and recorded, so that nothing of it can be lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sedd.runs.step_report import StepReport
from sedd.training.consistency import settle

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
    while trainer.state.step < last:
        yield _evaluated(trainer, trainer._step())


def _evaluated(trainer: Trainer, report: StepReport) -> StepReport:
    report = trainer.evaluator.evaluated_if_due(report, trainer.config.training)
    if report.bound is not None:
        trainer.state = trainer.state.with_bound(report.step, report.bound.nats)
    return report
