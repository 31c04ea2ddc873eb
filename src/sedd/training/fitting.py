"""`Trainer.fit`: a live run with a progress display, signals that end it in good order, and the user's callback."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Literal

from sedd.distributed.signals import SAVING, Interrupted, StopRequest
from sedd.errors import ConfigError
from sedd.evaluation.bound import Bound
from sedd.runs.step_report import StepReport
from sedd.training.consistency import settle
from sedd.training.evaluating import showing_evaluations
from sedd.training.live_run import live_run
from sedd.training.progress import Display
from sedd.training.stopping import exit_if_stopped, save_if_stopped

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer

OnStep = Callable[[StepReport], Literal["stop"] | None]
"""A callback of `Trainer.fit`."""


def fit(trainer: Trainer, *, until: int | None, progress: bool, on_step: OnStep | None) -> Bound:
    """See `Trainer.fit`."""
    trainer.claim_run()
    settle(trainer)
    bound: Bound | None = None
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest(SAVING if trainer.world.is_main else None))
        shown = progress and trainer.world.is_main
        display = stack.enter_context(
            Display(trainer.config.training, step=trainer.state.step, compiled=trainer.compiled, enabled=shown)
        )
        stack.enter_context(showing_evaluations(trainer, display.doing))
        run = stack.enter_context(
            live_run(trainer, say=display.say, doing=display.doing, signal=lambda: stop.number or 0)
        )
        with suppress(Interrupted):  # what a signal cuts short is pending, and repeated when the run goes on
            for report in run.steps(until):
                bound = report.bound or bound
                display.update(report)
                if on_step is not None and _asks_to_stop(on_step, report):
                    run.stop()
        save_if_stopped(trainer, stop, display.say)
    exit_if_stopped(trainer, stop)
    return bound or trainer.evaluate()


def _asks_to_stop(on_step: OnStep, report: StepReport) -> bool:
    answer: object = on_step(report)
    if answer is None or (isinstance(answer, str) and answer == "stop"):
        return answer is not None
    raise ConfigError(f"on_step returned {answer!r}, expected None, or 'stop' to end the run after this step")
