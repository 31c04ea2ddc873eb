"""The tracker of MLflow."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sedd.plugins.contracts import Tracker
from sedd.plugins.tracked_run import TrackedRun, flat, imported

LONGEST = 500
"""Characters of a parameter's value."""
BATCH = 100
"""Parameters in a request."""


@dataclass
class MlflowSession:
    """A run at an MLflow store."""

    client: Any
    entities: Any
    """The module `mlflow.entities`."""
    known: TrackedRun


class Mlflow(Tracker):
    """MLflow, at a server or in a database, with alarms, samples and files; needs `pip install mlflow-skinny`."""

    type: Literal["mlflow"] = "mlflow"
    experiment: str = "sedd"
    """The experiment, which is made if need be."""
    tracking_uri: str | None = None
    """Address of a server, or a database such as `sqlite:///mlflow.db`. By default what the environment variable
    MLFLOW_TRACKING_URI says, otherwise `mlflow.db` in the run directory, which contacts nobody."""
    name: str | None = None
    """Name of the run; by default that of the run directory."""

    def open(self, run: Path, config: Mapping[str, Any]) -> MlflowSession:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read when MLflow is imported
        mlflow = imported("mlflow", "mlflow")
        entities = imported("mlflow.entities", "mlflow")
        given = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if given is None and not (run / "mlflow.db").exists():
            imported("sqlalchemy", "mlflow")
        uri = given or f"sqlite:///{run.resolve() / 'mlflow.db'}"
        client = mlflow.MlflowClient(tracking_uri=uri)
        known = TrackedRun(run, f"mlflow {given or 'in the run directory'} {self.experiment}")
        session = MlflowSession(client, entities, known)
        if known.id is not None and _goes_on(session, mlflow):
            return session
        experiment = _experiment(client, self.experiment, None if given else (run.resolve() / "mlartifacts").as_uri())
        name = self.name or run.resolve().name
        known.remember(client.create_run(experiment, run_name=name, tags={"mlflow.source.name": "sedd"}).info.run_id)
        parameters = [
            entities.Param(_name(key), str(value)[:LONGEST]) for key, value in flat(config).items() if value is not None
        ]
        for first in range(0, len(parameters), BATCH):
            client.log_batch(known.id, params=parameters[first : first + BATCH])
        return session

    def log(self, session: MlflowSession, step: int, metrics: Mapping[str, float]) -> None:
        unsent = session.known.unsent(step, metrics)
        now = time.time_ns() // 1_000_000
        found = [
            session.entities.Metric(_name(name), float(value), now, step)
            for name, value in metrics.items()
            if name in unsent and not math.isnan(value)
        ]
        if unsent:
            session.client.log_batch(session.known.id, metrics=found)
            session.known.sent(step, unsent)

    def log_alarm(self, session: MlflowSession, step: int, alarm: Mapping[str, Any]) -> None:
        session.client.log_dict(session.known.id, dict(alarm), f"alarms/step-{step:08d}-{_name(alarm['rule'])}.json")

    def log_samples(self, session: MlflowSession, step: int, samples: Sequence[str], file: Path) -> None:
        session.client.log_artifact(session.known.id, str(file), "samples")

    def log_file(self, session: MlflowSession, file: Path) -> None:
        session.client.log_artifact(session.known.id, str(file))

    def close(self, session: MlflowSession) -> None:
        session.client.set_terminated(session.known.id)


def _goes_on(session: MlflowSession, mlflow: Any) -> bool:
    """Whether the store still has the run, which goes on then."""
    try:
        session.client.get_run(session.known.id)
        session.client.update_run(session.known.id, status="RUNNING")
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise  # the store does not answer
        return False
    return True


def _experiment(client: Any, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name, artifact_location=artifacts) if found is None else found.experiment_id)


def _name(name: str) -> str:
    """A name that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name)
