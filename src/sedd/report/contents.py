"""Everything that a report says of a run, read from its directory. What is missing is left out, and why is kept."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import open_data
from sedd.diagnosis.alarms import Alarm, Verdict
from sedd.diagnosis.api import diagnose
from sedd.diagnosis.diagnosis import Diagnosis
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.predictors import Predictor
from sedd.errors import CheckpointError, ConfigError, SeddError
from sedd.report.samples import SampleFile, read_samples
from sedd.runs.history import BoundLine, History, read_metrics


@dataclass(frozen=True, eq=False)
class Contents:
    """One run, for its report."""

    name: str
    """Name of its directory."""
    history: History = field(repr=False)
    verdict: Verdict
    diagnosis: Diagnosis | None = field(repr=False)
    """None where there are no metrics or no configuration that can be used."""
    curriculum_known: bool
    """Whether the diagnosis knows the curriculum; a plugin that is not installed here is taken for a constant one."""
    config_text: str | None = field(repr=False)
    """`config.yaml` as it is."""
    data: Mapping[str, Any] = field(repr=False)
    """The `data` line of the metrics; empty where there is none."""
    evaluated: Mapping[str, Any] = field(repr=False)
    """The last `bound` line of the metrics; empty where there is none."""
    exact: float | None
    """Exact -log p of the held-out sequences, nats per residue, where it is known and the bound saw them all."""
    parameters: int | None
    """Parameters of the network, where there is a checkpoint."""
    samples: tuple[SampleFile, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    missing: tuple[str, ...]
    """What could not be read or used, in sentences for people."""

    @property
    def config(self) -> Config | None:
        """None where it is missing or cannot be used."""
        return None if self.diagnosis is None else self.diagnosis.config

    @property
    def forecast(self) -> Forecast | None:
        """What the configuration shows at each step; None where the curriculum is unknown."""
        return self.diagnosis.forecast if self.diagnosis is not None and self.curriculum_known else None

    @property
    def predictors(self) -> Mapping[str, Predictor]:
        """Loss by mask rate of `untrained` and `unigram`; empty where they are unknown."""
        return {} if self.diagnosis is None else self.diagnosis.forecast.predictors

    @property
    def frequencies(self) -> NDArray[np.float64] | None:
        """(n,) how often each letter occurs, where it is known."""
        return None if self.diagnosis is None else self.diagnosis.forecast.statistics.frequencies

    @property
    def absorbs(self) -> bool:
        """Whether residues are masked, so that the bound and the loss have one and the same integrand."""
        return self.config is not None and self.config.graph.type == "absorb"

    @property
    def step(self) -> int:
        """The last recorded optimizer step."""
        history = self.history
        lines, bounds = ([each.step for each in part] for part in (history.lines, history.bounds))
        return max([*lines, *bounds, *(step for step, _ in history.skipped)], default=0)

    @property
    def finite_bounds(self) -> list[BoundLine]:
        """The evaluations that gave a number."""
        return [bound for bound in self.history.bounds if math.isfinite(bound.nats)]

    @property
    def rollbacks(self) -> list[Mapping[str, Any]]:
        """When the run went back to an earlier checkpoint."""
        return [event for event in self.history.events if event["kind"] == "rollback"]


def gather(run: Path) -> Contents:
    """Read a run directory.

    Raises:
        CheckpointError: if it is no directory of a run, or its metrics are damaged.
    """
    metrics = run / "metrics.jsonl"
    if not (run / "config.yaml").is_file() and not metrics.is_file():
        what = "has neither config.yaml nor metrics.jsonl" if run.is_dir() else "is no directory"
        raise CheckpointError(f"{run} {what}; give the directory of a run, such as runs/mine")
    missing: list[str] = []
    records = read_metrics(metrics) if metrics.is_file() else []
    diagnosis, known = _diagnosis(run, records, missing)
    history = diagnosis.history if diagnosis is not None else History.read(run) if records else History()
    none: dict[str, Any] = {}
    evaluated = next((record for record in reversed(records) if record["kind"] == "bound"), none)
    return Contents(
        name=run.resolve().name,
        history=history,
        verdict=diagnosis.verdict if diagnosis is not None else _recorded_verdict(history),
        diagnosis=diagnosis,
        curriculum_known=known,
        config_text=_text(run / "config.yaml"),
        data=next((record for record in records if record["kind"] == "data"), none),
        evaluated=evaluated,
        exact=_exact(None if diagnosis is None else diagnosis.config, evaluated),
        parameters=_parameters(run / "checkpoints"),
        samples=read_samples(run / "samples"),
        environment=_environment(run / "environment.json"),
        missing=tuple(missing),
    )


def _diagnosis(run: Path, records: Sequence[object], missing: list[str]) -> tuple[Diagnosis | None, bool]:
    """What `sedd.diagnose` finds, and whether it knows the curriculum."""
    if not records:
        missing.append("Nothing was logged yet: a run has its first numbers after training.log_every steps.")
        return None, False
    if not (run / "config.yaml").is_file():
        missing.append("There is no config.yaml: no forecast, no rules, only what the run itself has recorded.")
        return None, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what was said when the run began is said on the page
        try:
            return diagnose(run), True
        except CheckpointError:
            raise
        except SeddError as error:
            usable = not isinstance(error, ConfigError)
            missing.append(f"{'' if usable else 'The configuration cannot be used here: '}{error}")
        try:
            return diagnose(run, config=_without_curriculum(run / "config.yaml")), False
        except (SeddError, yaml.YAMLError, TypeError):
            return None, False


def _without_curriculum(file: Path) -> Config:
    """The configuration with a constant curriculum: losses at fixed mask rate do not depend on it."""
    return load_config(
        yaml.safe_load(file.read_text(encoding="utf-8")) | {"curriculum": {"difficulty_ramp": "constant"}}
    )


def _recorded_verdict(history: History) -> Verdict:
    """Without a configuration nothing can be judged; what the run said while it trained can be repeated."""
    alarms = tuple(Alarm.from_json(event) for event in history.events if event["kind"] == "alarm")
    for alarm in alarms:
        if alarm.severity != "info" and alarm.cause in ("learning", "instability", "data"):
            said = f"Something went wrong while it trained. Step {alarm.step:,}: {alarm.message}."
            return Verdict(alarm.cause, said, alarms)
    return Verdict("little signal", "Nothing can be judged yet; what is missing is said below.", alarms)


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None


def _exact(config: Config | None, evaluated: Mapping[str, Any]) -> float | None:
    """Only the built-in source knows it; anything else would have to be read again."""
    if config is None or config.data.train != "synthetic" or evaluated.get("bound_cropped", 1):
        return None
    dataset = open_data(config.data, seed=config.seed)
    return dataset.exact_nll if evaluated.get("bound_sequences") == len(dataset.valid) else None


def _parameters(checkpoints: Path) -> int | None:
    """From the newest checkpoint, without reading its numbers."""
    for file in sorted(checkpoints.glob("step-*/model.safetensors"), reverse=True):
        try:
            with safe_open(file, framework="numpy") as tensors:
                return int(sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()))  # noqa: SIM118
        except (OSError, SafetensorError):
            continue
    return None


def _environment(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
