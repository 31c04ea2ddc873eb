"""The contents of a report, read from a run directory. A missing part is left out, and the reason is kept."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import cast, get_args

from safetensors import SafetensorError, safe_open

from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import open_data
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.alarms import Alarm, Cause, Severity
from sedd.diagnosis.api import diagnose
from sedd.diagnosis.diagnosis import Diagnosis
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.hypotheses import HYPOTHESES
from sedd.diagnosis.predictors import Predictor
from sedd.diagnosis.verdict import Kind, Remedy, Verdict
from sedd.errors import CheckpointError, ConfigError, SeddError
from sedd.files import check_regular
from sedd.report.samples import SampleFile, read_samples
from sedd.runs.directory import RunDirectory
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord, RollbackRecord


@dataclass(frozen=True, eq=False)
class Contents:
    """One run, for its report."""

    name: str
    """Name of its directory."""
    history: History = field(repr=False)
    verdict: Verdict
    diagnosis: Diagnosis | None = field(repr=False)
    """None without metrics or without a usable configuration."""
    curriculum_known: bool
    """Whether the curriculum is installed; otherwise the diagnosis assumes a constant one."""
    config_text: str | None = field(repr=False)
    """The text of `config.yaml`."""
    exact: float | None
    """Exact -log p of the held-out sequences, nats per residue; None if unknown, or if the bound is of fewer."""
    parameters: int | None
    """Number of parameters of the network; None without a checkpoint."""
    samples: tuple[SampleFile, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    missing: tuple[str, ...]
    """What could not be read or used, one human-readable sentence each."""

    @property
    def config(self) -> Config | None:
        """The configuration; None if it is missing or unusable."""
        return None if self.diagnosis is None else self.diagnosis.config

    @property
    def forecast(self) -> Forecast | None:
        """The expected loss at each step; None if the curriculum is unknown."""
        return self.diagnosis.forecast if self.diagnosis is not None and self.curriculum_known else None

    @property
    def predictors(self) -> Mapping[str, Predictor]:
        """Loss by mask rate of `untrained` and `unigram`; empty if they are unknown."""
        return {} if self.diagnosis is None else self.diagnosis.forecast.predictors

    @property
    def statistics(self) -> DataStatistics | None:
        """Token frequencies and lengths of the training data, and their source; None if unknown."""
        return None if self.diagnosis is None else self.diagnosis.forecast.statistics

    @property
    def absorbs(self) -> bool:
        """Whether the graph is `absorb`, so that the integrand of the bound is the cross-entropy of masked residues."""
        return self.config is not None and self.config.graph.type == "absorb"

    @property
    def step(self) -> int:
        """The last recorded optimizer step."""
        history = self.history
        steps = ([record.step for record in part] for part in (history.lines, history.bounds, history.skipped))
        return max(chain.from_iterable(steps), default=0)

    @property
    def finite_bounds(self) -> list[BoundRecord]:
        """The evaluations whose bound is finite."""
        return [bound for bound in self.history.bounds if math.isfinite(bound.nats)]


def gather(run: Path) -> Contents:
    """Read a run directory.

    Raises:
        CheckpointError: if it is not a run directory, or its metrics are damaged.
    """
    directory = RunDirectory(run)
    has_config, has_metrics = directory.config_file.is_file(), directory.metrics_file.is_file()
    if not has_config and not has_metrics:
        reason = "has neither config.yaml nor metrics.jsonl" if run.is_dir() else "is not a directory"
        raise CheckpointError(f"{run} {reason}; give a run directory, such as runs/mine")
    missing: list[str] = []
    if not directory.read_metrics():
        history, diagnosis, known = History(), None, False
        missing.append("Nothing was logged yet: the first numbers come after training.log_every steps.")
    elif not has_config:
        history, diagnosis, known = directory.history(), None, False
        missing.append("There is no config.yaml: the report has no forecast and no rules, only the recorded numbers.")
    else:
        diagnosis, known = _diagnosis(directory, missing)
        history = directory.history() if diagnosis is None else diagnosis.history
    return Contents(
        name=run.resolve().name,
        history=history,
        verdict=diagnosis.verdict if diagnosis is not None else _recorded_verdict(history),
        diagnosis=diagnosis,
        curriculum_known=known,
        config_text=directory.config_text() if has_config else None,
        exact=_exact(None if diagnosis is None else diagnosis.config, history),
        parameters=_parameters(directory.checkpoints),
        samples=read_samples(directory.samples),
        # A page is sent to others: where on a machine the run was begun is not for them.
        environment={key: value for key, value in directory.environment().items() if key != "directory"},
        missing=tuple(missing),
    )


def _diagnosis(directory: RunDirectory, missing: list[str]) -> tuple[Diagnosis | None, bool]:
    """The outcome of `sedd.diagnose`, and whether the curriculum is installed; appends to `missing`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page shows this advice
        try:
            return diagnose(directory.path), True
        except CheckpointError:
            raise
        except SeddError as error:
            usable = not isinstance(error, ConfigError)
            missing.append(f"{'' if usable else 'The configuration cannot be used: '}{error}")
        try:
            # Losses at fixed mask rate do not depend on the curriculum.
            config = load_config(directory.config() | {"curriculum": {"difficulty_ramp": "constant"}})
            return diagnose(directory.path, config=config), False
        except (SeddError, TypeError):
            return None, False


def _recorded_verdict(history: History) -> Verdict:
    """The verdict on a run without a usable configuration: the gravest of the alarms that it recorded itself.

    Alarms before a rollback led to it, and are dealt with.
    """
    alarms: tuple[Alarm, ...] = ()
    for event in history.events:
        if event["kind"] == RollbackRecord.kind:
            alarms = ()
        elif event["kind"] == "alarm" and event.get("cause") in get_args(Cause):
            alarms = (*alarms, Alarm.from_dict(event))
    grave = [alarm for alarm in alarms if alarm.severity != "info"]
    if not grave:
        answer = "This run cannot be judged: what is missing is listed below, and it recorded no serious alarm itself."
        return Verdict("inconclusive", answer, alarms=alarms)
    order = get_args(Severity)
    alarm = max(reversed(grave), key=lambda alarm: order.index(alarm.severity))  # the latest of the gravest
    since = {"since", "since_latest"} <= set(alarm.numbers)
    return Verdict(
        cast(Kind, alarm.cause),
        f"While it trained, this run raised an alarm at step {alarm.step:,}: {alarm.message.rstrip('.')}.",
        reason="Whether it still holds at the end cannot be tested without a usable configuration.",
        since=(int(alarm.numbers["since"]), int(alarm.numbers["since_latest"])) if since else None,
        hypothesis=alarm.rule if alarm.rule in HYPOTHESES else "",
        remedies=tuple(Remedy(text) for text in alarm.remedies),
        alarms=alarms,
    )


def _exact(config: Config | None, history: History) -> float | None:
    """The exact value, which only the built-in synthetic data have."""
    if config is None or config.data.train != "synthetic" or not history.bounds or history.bounds[-1].cropped != 0:
        return None
    dataset = open_data(config.data, seed=config.seed)
    return dataset.exact_nll if history.bounds[-1].sequences == len(dataset.valid) else None


def _parameters(checkpoints: Path) -> int | None:
    """From the shapes in the newest readable checkpoint."""
    for file in sorted(checkpoints.glob("step-*/model.safetensors"), reverse=True):
        try:
            check_regular(file)
            with safe_open(file, framework="numpy") as tensors:
                return int(sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()))  # noqa: SIM118
        except (OSError, SafetensorError):
            continue
    return None
