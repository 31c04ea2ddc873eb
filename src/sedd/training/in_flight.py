"""Steps whose results the host has not read yet: on accelerators it starts a step before it reads the one before.

So the device never waits for the host. The state of the run is that of the last step that was read; whatever needs the
state that belongs to the weights reads the others first (`read_all`), and no step is started past one after which
something is due. On CPUs each step is read at once.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sedd.distributed.signals import interruptible
from sedd.runs.step_report import StepReport
from sedd.training.deferral import signals_deferred
from sedd.training.loading import StepInputs
from sedd.training.samples import due
from sedd.training.step import Gradient, advanced

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


@dataclass(frozen=True, eq=False)
class Flight:
    """A step that was started."""

    inputs: StepInputs
    gradient: Gradient
    began: float
    """`time.perf_counter()` before its inputs were loaded."""


@dataclass
class Flights:
    """The steps that were started and not read, in their order: at most two."""

    steps: deque[Flight] = field(default_factory=deque)
    until: int = 0
    """No step is started past this one before it is read."""
    read_at: float = 0.0
    """`time.perf_counter()` when the last step was read."""


def one_step(trainer: Trainer) -> StepReport:
    """The report of the next optimizer step, neither evaluated nor recorded."""
    steps = trainer.flights.steps
    if trainer.train_step.skips_on_device:
        while not steps or (len(steps) == 1 and not _is_awaited(trainer, trainer.state.step + 1)):
            flight = _computed(trainer)
            with signals_deferred():
                _update(trainer, flight)
        return _read(trainer)
    flight = _computed(trainer)
    with signals_deferred():
        _update(trainer, flight)
        return _read(trainer)


def read_all(trainer: Trainer) -> None:
    """Read the steps that were started, so that state and weights are of the same step. Called by all ranks.

    The report of the last one is pending then.
    """
    while trainer.flights.steps:
        if trainer.state.pending is not None and trainer.state.pending.skipped:
            # Recording that step failed: only a checkpoint before it can have both records.
            trainer.train_step.torn = True
            return
        _read(trainer)


def _computed(trainer: Trainer) -> Flight:
    """The next step with its gradient; the device may still compute it where it decides what is skipped."""
    steps, before, train_step = trainer.flights.steps, trainer.state, trainer.train_step
    if steps:
        before = replace(before, step=before.step + len(steps), cursor=steps[-1].inputs.next_cursor)
    began = time.perf_counter()
    # A signal cuts it short, but not in a group: the other ranks would wait in a collective.
    with interruptible() if trainer.world.size == 1 else nullcontext():
        inputs = trainer.loader(before.step, before.cursor)
        gradient = train_step.gradient(inputs, before)
        if not train_step.skips_on_device:
            gradient.read  # noqa: B018  # waits
    return Flight(inputs, gradient, began)


def _update(trainer: Trainer, flight: Flight) -> None:
    """Update the weights; from then on the step has been started, and is to be read."""
    trainer.train_step.update(flight.gradient)
    trainer.flights.steps.append(flight)
    trainer.train_step.torn = False


def _read(trainer: Trainer) -> StepReport:
    """Read the results of the first step that was started."""
    flights, state = trainer.flights, trainer.state
    flight = flights.steps[0]
    with signals_deferred():
        flight.gradient.read  # noqa: B018  # waits
        now = time.perf_counter()
        seconds = now - max(flight.began, flights.read_at)
        report = trainer.train_step.report(flight.gradient, flight.inputs, state, seconds=seconds)
        trainer.state = advanced(state, report, flight.inputs.next_cursor)
        flights.steps.popleft()
        flights.read_at = now
    return report


def _is_awaited(trainer: Trainer, step: int) -> bool:
    """Whether the run stops after a step, or what is due after it needs its weights or writes a record."""
    config = trainer.config
    training = config.training
    every = (training.log_every, training.eval_every, config.checkpoint.every)
    if step >= trainer.flights.until or due(config.sampling, step):
        return True
    return any(step % each == 0 for each in every)
