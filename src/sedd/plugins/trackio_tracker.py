"""The tracker of Trackio."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sedd.plugins.contracts import Tracker
from sedd.plugins.tracked_run import TrackedRun, imported

LEVELS = {"info": "INFO", "warning": "WARN", "critical": "ERROR"}
"""Severities of alarms, in the words of Trackio."""
MOST_SAMPLES = 100
"""Sequences that are shown."""


@dataclass
class TrackioSession:
    """A run of Trackio."""

    trackio: Any
    """The package."""
    run: Any
    known: TrackedRun


class Trackio(Tracker):
    """Trackio, on this machine or in a Hugging Face Space, with alarms and samples; needs `pip install trackio`."""

    type: Literal["trackio"] = "trackio"
    project: str = "sedd"
    """The project, which is made if need be. Locally it is in the directory that the environment variable TRACKIO_DIR
    names, by default in the cache of Hugging Face."""
    space_id: str | None = None
    """A Hugging Face Space such as `user/name`; by default the run stays on this machine."""
    name: str | None = None
    """Name of the run; by default that of the run directory and a part of its own."""

    def open(self, run: Path, config: Mapping[str, Any]) -> TrackioSession:
        with _quiet():
            trackio = imported("trackio", "trackio")
            known = TrackedRun(run, f"trackio {self.space_id or ''}/{self.project}")
            if known.id is None:  # Trackio knows a run by its name
                known.remember(self.name or f"{run.resolve().name}-{uuid.uuid4().hex[:6]}")
            opened = trackio.init(
                project=self.project, name=known.id, space_id=self.space_id, config=dict(config), resume="allow",
                embed=False, auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
        return TrackioSession(trackio, opened, known)

    def log(self, session: TrackioSession, step: int, metrics: Mapping[str, float]) -> None:
        _send(session, step, metrics)

    def log_alarm(self, session: TrackioSession, step: int, alarm: Mapping[str, Any]) -> None:
        level = getattr(session.trackio.AlertLevel, LEVELS[alarm["severity"]])
        if not session.known.first(step, f"alarm {alarm['rule']}"):
            return
        with _quiet():
            session.run.alert(title=alarm["rule"], text=alarm["message"], level=level, step=step)

    def log_samples(self, session: TrackioSession, step: int, samples: Sequence[str], file: Path) -> None:
        text = "\n".join(f"    {sample}" for sample in samples[:MOST_SAMPLES])
        _send(session, step, {"samples": session.trackio.Markdown(text)})

    def close(self, session: TrackioSession) -> None:
        with _quiet():
            session.run.finish()
            with suppress(Exception):  # so that it is not finished once more, with words, when Python ends
                session.trackio.finish()


def _send(session: TrackioSession, step: int, values: Mapping[str, Any]) -> None:
    if unsent := session.known.unsent(step, values):
        session.run.log({name: value for name, value in values.items() if name in unsent}, step=step)
        session.known.sent(step, unsent)


@contextmanager
def _quiet() -> Iterator[None]:
    """A context in which nothing reaches standard output, which belongs to the command."""
    with redirect_stdout(io.StringIO()):
        yield
