"""Where the lines of a run go: the metrics file, the trackers, and the monitor, whose alarms are lines themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sedd.config.config import Config
from sedd.data import Dataset
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.alarms import Alarm, Verdict
from sedd.diagnosis.monitor import Monitor
from sedd.diagnosis.predictors import both_predictors, predictable
from sedd.diffusion.graphs import make_graph
from sedd.runs.directory import RunDirectory
from sedd.runs.metrics import DataRecord
from sedd.training.tracking import TrackerSessions


class NullRecorder:
    """What processes have that do not record: it takes the lines and leaves them."""

    def write(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Nothing is written, and nobody is alarmed."""
        return []

    def verdict(self) -> Verdict | None:
        """What nobody says."""
        return None


class Recorder:
    """Writes lines and watches them.

    Args:
        run: whose metrics file it is; lines that are there already are read first, as if they had just been written.
        config: of the run.
        data: what it trains on.
        trackers: get the numbers of every line.
        say: shows a line of text to a person.
    """

    def __init__(
        self, run: RunDirectory, config: Config, data: Dataset, trackers: TrackerSessions, say: Callable[[str], None]
    ) -> None:
        letters = DataStatistics.of(data, longest=config.model.length)
        graph = make_graph(config.graph.type, data.alphabet.n)
        known = predictable(graph, config.model)
        self.monitor = Monitor(config, both_predictors(graph, config.model, letters.frequencies) if known else {})
        self._run, self._trackers, self._say = run, trackers, say
        written = run.read_metrics()
        for record in written:
            self.monitor.observe(record)
        if not written:
            self.write(DataRecord(tuple(data.token_counts.tolist()), letters.length, len(data.train)).to_dict())

    def write(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Add one line everywhere; returns the alarms that it raised, which are written and shown too."""
        self._run.append(record)
        self._trackers.log(record)
        alarms = self.monitor.observe(record)
        for alarm in alarms:
            self._run.append(alarm.to_json())
            self._say(f"{alarm.severity}: {alarm}")
        return alarms

    def verdict(self) -> Verdict:
        """What the monitor says of the run."""
        return self.monitor.verdict()
