"""Recording a run: its records go to the metrics file, the trackers and the monitor, whose alarms are records too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sedd.config.config import Config
from sedd.data import Dataset
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.alarms import Alarm
from sedd.diagnosis.monitor import Monitor
from sedd.diagnosis.predictors import both_predictors, predictable
from sedd.diagnosis.verdict import Verdict
from sedd.diffusion.graphs import make_graph
from sedd.errors import CheckpointError
from sedd.runs.directory import RunDirectory
from sedd.runs.history import History, RecordError
from sedd.runs.metrics import BoundRecord, ChangedRecord, DataRecord, EvaluatedRecord, SkippedRecord, TrainRecord
from sedd.runs.step_report import StepReport
from sedd.training.checkpointing import begin_options
from sedd.training.tracking import TrackerSessions

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


class NullRecorder:
    """The recorder of all processes but the first: it discards every record."""

    history: History | None = None

    def write(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Discard the record; there are no alarms."""
        return []

    def samples(self, step: int, samples: Sequence[str], file: Path) -> None:
        """Discard the samples."""

    def verdict(self) -> Verdict | None:
        """None: nothing was monitored."""
        return None


class Recorder:
    """Writes and monitors the records of a run.

    Args:
        run: the run directory; the monitor reads the records that it has already.
        config: of the run.
        data: what the run trains on.
        trackers: receive the numbers of every record.
        say: prints a line of text.
        step: optimizer steps done.
    """

    def __init__(
        self, run: RunDirectory, config: Config, data: Dataset, trackers: TrackerSessions, say: Callable[[str], None],
        *, step: int = 0,
    ) -> None:  # fmt: skip
        statistics = DataStatistics.of(data, longest=config.model.length)
        graph = make_graph(config.graph.type, data.alphabet.n)
        known = predictable(graph, config.model)
        predictors = both_predictors(graph, config.model, statistics.frequencies) if known else {}
        self.monitor = Monitor(config, predictors)
        self._run, self._trackers, self._say = run, trackers, say
        written = run.read_metrics()
        for number, record in enumerate(written, 1):
            try:
                self.monitor.observe(record)
            except RecordError as error:
                damage = f"not a metrics line of this version of sedd ({error}); repair it, or start a new run"
                raise CheckpointError(damage, file=run.metrics_file, line=number) from None
        evaluated = EvaluatedRecord.of(config, data, step)
        if not written:
            self.write(DataRecord.of(config, data, evaluated).to_dict())
        before = self.monitor.history.evaluated
        if before is None or not evaluated.same_sequences(before):
            self.write(evaluated.to_dict())

    def write(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Write, track and monitor a record; returns the alarms that it raised, which are written and printed too."""
        self._run.append(record)
        self._trackers.log(record)
        alarms = self.monitor.observe(record)
        for alarm in alarms:
            self._run.append(alarm.to_dict())
            self._trackers.log(alarm.to_dict())
            self._say(f"{alarm.severity}: {alarm}")
        return alarms

    def samples(self, step: int, samples: Sequence[str], file: Path) -> None:
        """Track samples, which are in `file`."""
        self._trackers.log_samples(step, samples, file)

    @property
    def history(self) -> History:
        """The records so far."""
        return self.monitor.history

    def verdict(self) -> Verdict:
        """The verdict of the monitor so far."""
        return self.monitor.verdict()


@contextmanager
def recording(trainer: Trainer, say: Callable[[str], None], *, resume: bool) -> Iterator[Recorder | NullRecorder]:
    """Record a run from its current step on: the first rank locks the run directory, begins the run, or with `resume`
    goes on with it, and drops later records."""
    if not trainer.world.is_main:
        yield NullRecorder()
        return
    config, run = trainer.config, trainer.run
    with run.lock():
        run.begin(config, resume=resume, step=trainer.state.step, **begin_options(trainer))
        trainer._owns_run = True  # already now: another `fit` goes on, whatever fails from here on
        run.clean()
        run.rewind(*trainer.state.recorded_until)
        if trainer.changes:
            values = {item.key: list(item.values) for item in trainer.changes}
            run.append(ChangedRecord(trainer.state.step, values).to_dict())
            trainer.changes = ()
        with TrackerSessions(config.trackers, run.path, config.to_dict()) as trackers:
            yield Recorder(run, config, trainer.data, trackers, say, step=trainer.state.step)


def pending_records(trainer: Trainer, report: StepReport) -> list[dict[str, Any]]:
    """The records of a step for the metrics file; changes nothing."""
    state = trainer.state
    records = [SkippedRecord(report.step, report.skipped_total).to_dict()] if report.skipped else []
    if ends_window(trainer, report):
        record = TrainRecord.of(report, state, trainer.data.token_counts, trainer.backend.memory())
        records.append(record.to_dict())
    if report.bound is not None:
        records.append(BoundRecord.of(report, state, ema_initial_share=trainer.ema.initial_share).to_dict())
    return records


def ends_window(trainer: Trainer, report: StepReport) -> bool:
    """Whether a train record is due after a step, which sums up the steps since the one before."""
    training = trainer.config.training
    due = report.step % training.log_every == 0 or report.step == training.n_iters
    return due and trainer.state.window.steps > 0
