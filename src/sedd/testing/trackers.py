"""The checks of trackers, each in a new run directory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sedd.plugins.contracts import Tracker
from sedd.testing.reports import Draw, call_method, fail

_CONFIG = {"seed": 0, "optim": {"lr": 3e-4}, "trackers": []}
_METRICS = {"train/loss": 2.5, "valid/bound": 2.9, "difficulty": 1.0, "grad_norm": float("inf"), "lr": 0}

_ALARM = {
    "rule": "divergence", "cause": "learning", "severity": "warning", "message": "the loss rises",
    "numbers": {"effect": 0.5}, "remedies": ["optim.lr=1e-4"],
}  # fmt: skip


@contextmanager
def _empty_run() -> Iterator[Path]:
    """A new run directory, with an empty working directory beside it."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run, working = Path(folder, "run"), Path(folder, "working")
        run.mkdir()
        working.mkdir()
        os.chdir(working)
        try:
            yield run
        finally:
            os.chdir(before)


def _track(part: Tracker, run: Path, steps: int, metrics: Mapping[str, float] = _METRICS, *, first: int = 0) -> None:
    session = call_method(part, "", "a session", "open", run, dict(_CONFIG))
    try:
        for step in range(first, first + steps):
            call_method(part, f"step {step}", "nothing", "log", session, step, metrics)
            call_method(part, f"step {step}", "nothing", "log_alarm", session, step, dict(_ALARM))
            samples = run / "samples.fasta"
            samples.write_text(">sample\nACD\n")
            call_method(part, f"step {step}", "nothing", "log_samples", session, step, ["ACD"], samples)
            call_method(part, f"step {step}", "nothing", "log_file", session, samples)
    finally:
        call_method(part, "", "nothing", "close", session)


def a_run_is_opened_logged_and_closed(part: Tracker, draw: Draw) -> None:
    """Several metrics at several steps, infinities and integers included, an alarm, samples and a file are logged."""
    with _empty_run() as run:
        _track(part, run, steps=3)


def a_run_that_fails_at_once_is_closed(part: Tracker, draw: Draw) -> None:
    """Closing directly after opening works, since training may fail before its first step."""
    with _empty_run() as run:
        _track(part, run, steps=0)


def a_resumed_run_is_opened_again(part: Tracker, draw: Draw) -> None:
    """The run directory of an earlier session is accepted and continued: no file in it gets smaller."""
    with _empty_run() as run:
        _track(part, run, steps=2)
        before = {path: path.stat().st_size for path in run.rglob("*") if path.is_file()}
        _track(part, run, steps=1, first=2)
        for path, size in before.items():
            if not path.exists() or path.stat().st_size < size:
                fail(part, "", f"opened again, it shortened {path.relative_to(run)}", "earlier steps to be kept")


def writes_stay_in_the_run_directory(part: Tracker, draw: Draw) -> None:
    """The working directory is not changed, and no file is written to it."""
    with _empty_run() as run:
        working = Path.cwd()
        _track(part, run, steps=1)
        if Path.cwd() != working:
            fail(part, "", f"it changed the working directory to {Path.cwd()}", "the one it was started in")
        if names := sorted(path.name for path in working.iterdir()):
            fail(part, "", f"it left {', '.join(names)} in the working directory", "files in the run directory only")


def metrics_are_only_read(part: Tracker, draw: Draw) -> None:
    """The metrics are not changed, since other trackers receive them too."""
    metrics = dict(_METRICS)
    with _empty_run() as run:
        _track(part, run, steps=1, metrics=metrics)
    if metrics != _METRICS:
        fail(part, "step 0", f"log() changed the metrics to {metrics!r}", "metrics that are only read")


CHECKS = (
    a_run_is_opened_logged_and_closed, a_run_that_fails_at_once_is_closed, a_resumed_run_is_opened_again,
    writes_stay_in_the_run_directory, metrics_are_only_read,
)  # fmt: skip
