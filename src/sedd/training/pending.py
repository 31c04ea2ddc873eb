"""The training loop: each step is pending until it is evaluated and recorded, so that nothing of it can be lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from sedd.distributed.signals import interruptible
from sedd.runs.step_report import StepReport
from sedd.training.consistency import settle
from sedd.training.deferral import signals_deferred
from sedd.training.step import advanced

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


def unrecorded_steps(trainer: Trainer, until: int | None) -> Iterator[StepReport]:
    """The reports of the steps up to `until`, for a loop that writes no records."""
    for report in pending_steps(trainer, until):
        trainer.state = trainer.state.recorded()
        yield report


def one_step(trainer: Trainer) -> StepReport:
    """One optimizer step, or a skipped one: neither evaluated nor recorded."""
    began = time.perf_counter()
    # A signal cuts it short, but not in a group: the other ranks would wait in a collective.
    with interruptible() if trainer.world.size == 1 else nullcontext():
        inputs = trainer.loader(trainer.state.step, trainer.state.cursor)
        gradient = trainer.train_step.gradient(inputs, trainer.state)
    with signals_deferred():
        report = trainer.train_step.update(gradient, inputs, trainer.state, began=began)
        max_skipped = trainer.config.training.max_skipped
        trainer.state = advanced(trainer.state, report, inputs.next_cursor, max_skipped=max_skipped)
        trainer.train_step.torn = False
    return report


def _evaluated(trainer: Trainer, report: StepReport) -> StepReport:
    report = trainer.evaluator.evaluated_if_due(report, trainer.config.training)
    if report.bound is not None:
        trainer.state = trainer.state.with_bound(report.step, report.bound.nats)
    return report
