"""A run directory that is trained in: every step is recorded, and saved where that is due; alarms are acted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from sedd.diagnosis.alarms import Alarm
from sedd.errors import TrainingError
from sedd.runs.metrics_record import MetricsRecord, checked_numbers
from sedd.runs.step_report import StepReport
from sedd.runs.stopped_record import StoppedRecord
from sedd.sampling.predictors.base import Report
from sedd.training.checkpointing import Saved, saves_at
from sedd.training.consistency import settle
from sedd.training.early_stopping import early_stop
from sedd.training.failsafe import explained_failure, saved_on_failure
from sedd.training.in_flight import read_all
from sedd.training.metrics import MetricsAtEvaluations
from sedd.training.pending import pending_steps
from sedd.training.recording import NullRecorder, Recorder, ends_window, pending_records, recording
from sedd.training.recovery import recover
from sedd.training.samples import SamplesAtSteps, silently

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer

Say = Callable[[str], None]
Doing = Callable[[str], AbstractContextManager[Report]]


class LiveRun:
    """The recorded steps of a run.

    Args:
        trainer: trains the run.
        recorder: of the run; that of every rank but the first discards all records.
        say: prints a line of text.
        doing: opened, with what is done, around what takes long.
        signal: the number of a signal that has asked this rank to stop, or 0.
    """

    def __init__(
        self, trainer: Trainer, recorder: Recorder | NullRecorder, *, say: Say, doing: Doing, signal: Callable[[], int]
    ) -> None:
        self._trainer, self._recorder, self._say, self._signal = trainer, recorder, say, signal
        self._samples = SamplesAtSteps(trainer, say, doing, recorder.samples)
        self._metrics = MetricsAtEvaluations(trainer, doing)
        self._asked = False

    def stop(self) -> None:
        """End the run with the step that is being recorded, as if it were the last one. On any rank."""
        self._asked = True

    def log(self, numbers: Mapping[str, Any]) -> None:
        """Record numbers by name at the current step. Raises ConfigError if they are no numbers."""
        record = MetricsRecord(self._trainer.state.step, checked_numbers(numbers, "log"))
        self._recorder.write(record.to_dict())

    def steps(self, until: int | None = None) -> Iterator[StepReport]:
        """The reports of the steps up to `until`, by default the last one; each is recorded when it arrives.

        Once the caller asks for the next step, a checkpoint is written if it is due, and alarms are acted on.
        """
        trainer, world = self._trainer, self._trainer.world
        self._asked = False
        if world.broadcast_object(self._early_stop) is not None:  # of a run that goes on
            self._end(self._early_stop())
            return
        for report in pending_steps(trainer, until):
            alarms = self._record(report)
            yield report
            ended = self._early_stop() if report.bound is not None else None
            # All ranks act on what the first rank has recorded, and on a signal to or a wish of any rank.
            signal, alarmed, asked, early = world.all_reduce_max(
                self._signal(), len(alarms), int(self._asked), int(ended is not None)
            )
            if saves_at(trainer, report, until):
                trainer.save()
            for alarm in world.all_gather_object(alarms)[0] if alarmed else ():
                if rollback := recover(trainer, alarm):
                    self._recorder.write(rollback.to_dict())
                    ended, early = None, 0  # the evaluations that ended it are undone
                    break
            if asked or early:
                read_all(trainer)
                if trainer.state.pending is not None:  # a step that an accelerator had started already
                    self._record(report := trainer.state.pending)
                    yield report
                self._end(ended or StoppedRecord(trainer.state.step, "on_step"))
            if signal or asked or early:
                return

    def _record(self, report: StepReport) -> list[Alarm]:
        trainer = self._trainer
        own = (*self._samples(report), *self._metrics(report))
        records: tuple[Mapping[str, Any], ...] = (*pending_records(trainer, report), *own)
        alarms = [alarm for record in records for alarm in self._recorder.write(record)]
        trainer.state = trainer.state.recorded(ends_window=ends_window(trainer, report))
        return alarms

    def _early_stop(self) -> StoppedRecord | None:
        """Why `training.early_stopping` ends the run now; None if it does not, and on all ranks but the first."""
        history = self._recorder.history
        return None if history is None else early_stop(self._trainer.config, history)

    def _end(self, stopped: StoppedRecord | None) -> None:
        """Record and save a run that ends before its last step."""
        trainer, history = self._trainer, self._recorder.history
        if stopped is not None and stopped.step < trainer.config.training.n_iters:
            if history is None or history.ended != stopped:
                self._recorder.write(stopped.to_dict())
            self._say(stopped.sentence)
        if Saved.current(trainer) is None and (trainer.state.step or trainer.state.skipped):
            trainer.save()


@contextmanager
def live_run(
    trainer: Trainer, *, say: Say, doing: Doing = silently, signal: Callable[[], int] = lambda: 0
) -> Iterator[LiveRun]:
    """Train in the run directory: it is locked, begun or continued, and whatever ends this saves the run first.

    Afterwards `trainer.verdict` is that of the monitor. Called by all ranks. For the arguments see `LiveRun`.

    Raises:
        CheckpointError: if the run directory is another run's, or another process is training in it.
        TrainingError: if the trainer is recording already.
    """
    if trainer.live is not None:
        raise TrainingError("this trainer is recording already: leave its recording() before fit or another one")
    trainer.claim_run()
    settle(trainer)
    with ExitStack() as stack:
        with explained_failure(trainer):
            recorder = stack.enter_context(recording(trainer, say, resume=trainer.resume or trainer._owns_run))
        trainer._owns_run = True  # so that a second `fit` goes on where the first one stopped
        stack.enter_context(saved_on_failure(trainer, say))
        trainer.live = LiveRun(trainer, recorder, say=say, doing=doing, signal=signal)
        stack.callback(setattr, trainer, "live", None)
        if trainer.config.monitoring.on_divergence == "rollback" and trainer.state.step == 0:
            trainer.save()  # so that there is always a checkpoint to go back to
        yield trainer.live
        trainer.verdict = trainer.world.broadcast_object(recorder.verdict)


@contextmanager
def own_loop(trainer: Trainer, say: Say) -> Iterator[None]:
    """See `Trainer.recording`."""
    with live_run(trainer, say=say):
        yield
        if Saved.current(trainer) is None and trainer.state.step:
            trainer.save()
