"""Weights & Biases, MLflow and Trackio receive a run offline, and their own readers give back the numbers."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import sedd
from sedd.plugins.mlflow_tracker import Mlflow
from sedd.plugins.tracked_run import FILE, TrackedRun, flat
from sedd.plugins.trackio_tracker import Trackio
from sedd.plugins.wandb_tracker import Wandb
from sedd.testing import checks_for
from sedd.training.tracking import TrackerSessions

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the packages are not ours

Points = dict[str, list[tuple[int, float]]]
"""Steps and values by name."""
TRACKERS = {"wandb": Wandb(mode="offline"), "mlflow": Mlflow(), "trackio": Trackio()}


@pytest.fixture(params=list(TRACKERS))
def service(request: pytest.FixtureRequest, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a service that is installed. It has no network, and nothing of the user's."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    home = tmp_path_factory.mktemp("home")
    for key in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "HF_HOME"):
        monkeypatch.setenv(key, str(home))
    for key in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(key, raising=False)
    if name == "trackio":
        # Trackio chooses its directory once, when it is imported; every test has a project of its own in there.
        os.environ.setdefault("TRACKIO_DIR", str(home / "trackio"))
    _forbid_the_network(monkeypatch)
    return name


def _forbid_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"the network was touched: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


def tracker_of(service: str, project: str) -> sedd.Tracker:
    given: dict[str, Callable[[], sedd.Tracker]] = {
        "wandb": lambda: Wandb(mode="offline", project=project),
        "mlflow": lambda: Mlflow(experiment=project),
        "trackio": lambda: Trackio(project=project),
    }
    return given[service]()


# What the services have, by their own readers ------------------------------------------------------------------------


def of_wandb(run: Path, project: str) -> Points:
    """The records of the offline files, which `wandb sync` sends."""
    points: Points = {}
    for file in sorted(run.glob("wandb/offline-run-*/run-*.wandb")):
        for record in _wandb_records(file):
            for item in (record.history.item,) if record.WhichOneof("record_type") == "history" else ():
                values = {"/".join(entry.nested_key) or entry.key: json.loads(entry.value_json) for entry in item}
                for name, value in values.items():
                    if not name.startswith("_") and isinstance(value, int | float):
                        points.setdefault(name, []).append((values["_step"], value))
    return points


def _wandb_records(file: Path) -> list[Any]:
    """The records of a file, once its process has written the last one, which may be after the run is finished."""
    for _ in range(600):
        records = list(_records_so_far(file))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{file} was not completed")


def _records_so_far(file: Path) -> Iterator[Any]:
    """The format is that of a LevelDB log: blocks of 32 KiB with parts of records, after seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a complete record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def _mlflow_run(run: Path) -> tuple[Any, Any]:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow.db'}")
    found = client.search_runs([item.experiment_id for item in client.search_experiments()])
    (only,) = found
    return client, only


def of_mlflow(run: Path, project: str) -> Points:
    client, found = _mlflow_run(run)
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }


def of_trackio(run: Path, project: str) -> Points:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (found,) = trackio.Api().runs(project)
    points: Points = {}
    for line in SQLiteStorage.get_logs(project, found.name):
        for name, value in line.items():
            if name not in ("step", "timestamp") and isinstance(value, int | float):
                points.setdefault(name, []).append((line["step"], value))
    return points


READERS = {"wandb": of_wandb, "mlflow": of_mlflow, "trackio": of_trackio}


def recorded(run: Path, *names: str) -> Points:
    """The numbers of the metrics file."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {name: [(line["step"], line[name]) for line in lines if name in line] for name in names}


NAMES = ("loss", "lr", "bound_nats", "own")


def fit(config: sedd.Config, run: Path, *, until: int | None = None) -> None:
    trainer = sedd.Trainer(config, run=run, resume=run.exists())
    trainer.fit(progress=False, until=until, on_step=lambda report: trainer.log({"own": report.step * 0.5}))


def test_a_service_has_the_numbers_of_a_run_once_each_also_after_a_kill(tiny, tmp_path, service):
    project = f"p{abs(hash(str(tmp_path)))}"
    run = tmp_path / "run"
    config = tiny("training.log_every=2", "checkpoint.every=3", "sampling.at_steps=[5]", "sampling.count=2")
    config = config.replace(trackers=[tracker_of(service, project)])
    fit(config, run, until=4)
    newest = max((run / "checkpoints").iterdir())
    newest.rename(newest.with_name(".gone"))  # as if it had been killed before it could save: step 4 is repeated
    fit(config, run)
    found = READERS[service](run, project)
    for name, points in recorded(run, *NAMES).items():
        assert [step for step, _ in sorted(found[name])] == [step for step, _ in points], name
        assert dict(found[name]) == pytest.approx(dict(points)), name
    assert (run / FILE).exists()


def test_alarms_samples_and_files_arrive(tmp_path, service):
    project = f"p{abs(hash(str(tmp_path)))}"
    run = tmp_path / "run"
    run.mkdir()
    file = run / "report.html"
    file.write_text("<p>report</p>")
    alarm = {"kind": "alarm", "step": 3, "rule": "divergence", "cause": "learning", "severity": "critical",
             "message": "it rises", "numbers": {}, "remedies": []}  # fmt: skip
    with TrackerSessions([tracker_of(service, project)], run, {"seed": 0}) as sessions:
        sessions.log({"kind": "train", "step": 3, "loss": 2.0})
        sessions.log(alarm)
        sessions.log_samples(3, ["MKV", "ACD"], file)
        sessions.log_file(file)
    if service == "mlflow":
        client, found = _mlflow_run(run)
        names = {item.path for item in client.list_artifacts(found.info.run_id)}
        assert {"alarms", "samples", "report.html"} <= names
        assert found.data.params["seed"] == "0"
        assert found.info.status == "FINISHED"
    elif service == "wandb":
        (folder,) = run.glob("wandb/offline-run-*")
        kinds = {record.WhichOneof("record_type") for record in _wandb_records(next(folder.glob("*.wandb")))}
        assert {"alert", "history", "files", "config"} & kinds >= {"alert", "history", "files"}
        assert (folder / "files" / "report.html").read_text() == "<p>report</p>"
    else:
        import trackio

        (found,) = trackio.Api().runs(project)
        assert [item["title"] for item in found.alerts()] == ["divergence"]
        assert found.config["seed"] == 0


@pytest.mark.parametrize("check", ["writes_stay_in_the_run_directory"])
def test_contract(service, check):
    (found,) = [each for each in checks_for(type(TRACKERS[service]), instances=st.just(TRACKERS[service]))
                if each.name == check]  # fmt: skip
    found()


@pytest.mark.parametrize("name", list(TRACKERS))
def test_without_its_package_the_message_names_the_extra(tiny, tmp_path, monkeypatch, name):
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    config = tiny().replace(trackers=[TRACKERS[name]])
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    assert caught.value.keys == ("trackers",)
    assert f"[{name}]" in str(caught.value)


def test_a_service_that_is_down_at_the_start_does_not_end_the_run(tiny, tmp_path, service, monkeypatch):
    def down(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("the service is down")

    target = {"wandb": "wandb.init", "mlflow": "mlflow.MlflowClient", "trackio": "trackio.init"}[service]
    __import__(service)
    monkeypatch.setattr(target, down)
    config = tiny().replace(trackers=[tracker_of(service, "down")])
    with pytest.warns(sedd.SeddWarning, match=service):
        sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)


# The file in the run directory ---------------------------------------------------------------------------------------


def test_what_was_sent_is_remembered_by_step_and_name(tmp_path):
    known = TrackedRun(tmp_path, "a")
    known.remember("1")
    known.sent(5, ["loss"])
    for again in (known, TrackedRun(tmp_path, "a")):
        assert again.id == "1"
        assert again.unsent(4, ["loss"]) == set()
        assert again.unsent(5, ["loss", "bound"]) == {"bound"}
        assert again.unsent(6, ["loss"]) == {"loss"}
    other = TrackedRun(tmp_path, "b")
    assert other.id is None
    other.remember("2")
    assert TrackedRun(tmp_path, "a").id == "1"


@pytest.mark.parametrize("content", ["", "[]", '{"a": 5}', "{" * 5000])
def test_a_damaged_file_begins_a_new_run_at_the_service(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert TrackedRun(tmp_path, "a").id is None


def test_a_configuration_is_flat_for_services_without_sections():
    assert flat({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}
