"""Trackers: what fails is named and tried again, and the CSV file has each step once."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import sedd
from sedd.plugins.trackers import Csv
from sedd.training import tracking
from sedd.training.tracking import TrackerSessions

RECORDS = [{"kind": "train", "step": step, "loss": 2.0, "words": "left out"} for step in range(1, 9)]


class Moody(sedd.Tracker):
    """A tracker that fails at some of its calls, and notes what it got."""

    type: Literal["moody"] = "moody"
    failures: dict[str, tuple[int, ...]]
    """Numbers of the calls of each method that fail."""
    error: Literal["RuntimeError", "SystemExit"] = "RuntimeError"

    def open(self, run: Path, config: Any) -> Any:
        return self._call("open", run)

    def log(self, session: Any, step: int, metrics: Any) -> None:
        self._call("log", session)
        with (session / "log").open("a") as file:
            file.write(f"{step} ")

    def close(self, session: Any) -> None:
        self._call("close", session)

    def _call(self, name: str, run: Path) -> Path:
        with (run / f"{name} calls").open("a+") as file:
            file.write(".")
            file.seek(0)
            if len(file.read()) in self.failures.get(name, ()):
                raise {"RuntimeError": RuntimeError, "SystemExit": SystemExit}[self.error]("the service is down")
        return run


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.0)


def tracked(tracker: sedd.Tracker, run: Path) -> list[int]:
    """The steps that a tracker got."""
    with TrackerSessions([tracker], run, {}) as sessions:
        for record in RECORDS:
            sessions.log(record)
    return [int(step) for step in (run / "log").read_text().split()]


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit"])
@pytest.mark.parametrize(
    ("failures", "missed"),
    [({"open": (1,)}, 0), ({"open": (1, 2, 3)}, 2), ({"log": (1, 4, 5)}, 3), ({"close": (1,)}, 0)],
)
def test_a_failure_is_named_once_and_the_tracker_goes_on(tmp_path, failures, missed, error):
    with pytest.warns(sedd.SeddWarning, match="'moody'"):
        steps = tracked(Moody(failures=failures, error=error), tmp_path)
    assert len(steps) == len(RECORDS) - missed
    assert steps[-1] == 8
    assert (tmp_path / "close calls").read_text() == "."


def test_one_tracker_that_fails_does_not_touch_another(tmp_path):
    with (
        pytest.warns(sedd.SeddWarning, match="'moody'"),
        TrackerSessions([Moody(failures={"open": tuple(range(99))}), Csv()], tmp_path, {}) as sessions,
    ):
        sessions.log(RECORDS[0])
    assert rows(tmp_path / "metrics.csv") == [("1", "loss", "2.0")]


def test_a_tracker_given_twice_is_used_once(tmp_path):
    with pytest.warns(sedd.SeddWarning, match="'csv'"), TrackerSessions([Csv(), Csv()], tmp_path, {}) as sessions:
        sessions.log(RECORDS[0])
    assert rows(tmp_path / "metrics.csv") == [("1", "loss", "2.0")]


def rows(file: Path) -> list[tuple[str, ...]]:
    with file.open(newline="") as opened:
        header, *found = (tuple(row) for row in csv.reader(opened))
    assert header == ("step", "name", "value")
    return found


def written(run: Path, *records: tuple[int, str]) -> Iterator[tuple[str, ...]]:
    tracker = Csv()
    session = tracker.open(run, {})
    for step, name in records:
        tracker.log(session, step, {name: 1.0})
    tracker.close(session)
    return ((row[0], row[1]) for row in rows(run / "metrics.csv"))


def test_the_csv_has_each_step_once_after_a_resume_and_after_a_rollback(tmp_path):
    list(written(tmp_path, (2, "loss"), (4, "loss"), (4, "bound"), (6, "loss"), (8, "loss")))
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("10,lo")  # torn by a kill
    resumed = list(written(tmp_path, (6, "loss"), (8, "loss"), (8, "bound"), (4, "bound"), (6, "loss")))
    assert resumed == [("2", "loss"), ("4", "loss"), ("4", "bound"), ("6", "loss")]
    assert not list(tmp_path.glob("*.new"))


def test_the_csv_of_a_run_that_was_killed_and_resumed_is_that_of_one_that_was_not(tiny, tmp_path):
    config = tiny("trackers=[csv]", "checkpoint.every=4")
    for name, until in (("whole", None), ("resumed", 7)):
        sedd.Trainer(config, run=tmp_path / name).fit(progress=False, until=until)
    newest = max((tmp_path / "resumed" / "checkpoints").iterdir())
    newest.rename(newest.with_name(".gone"))  # as if it had been killed before it could save
    sedd.Trainer(config, run=tmp_path / "resumed", resume=True).fit(progress=False)
    whole, resumed = ([row[:2] for row in rows(tmp_path / name / "metrics.csv")] for name in ("whole", "resumed"))
    assert resumed == whole


BAD_NAMES = (
    "../metrics.csv", "/etc/metrics.csv", "config.yaml", "metrics.jsonl", "environment.json", ".lock", "", ".csv",
    "checkpoints", "checkpoints/a.csv", "a\\b.csv", "a\nb.csv", "\x1b[31m.csv", "C:metrics.csv", "x" * 300 + ".csv",
)  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_the_csv_can_be_neither_outside_of_the_run_nor_another_file_of_it(name):
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.Config(trackers=[{"type": "csv", "name": name}])
    assert caught.value.keys == ("trackers.0.name",)
