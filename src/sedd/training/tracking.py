"""The trackers of a run while it trains. Whatever happens to one, training goes on, and the tracker is tried again.

Nothing is lost meanwhile: the metrics file has every number.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sedd.config.config import Config
from sedd.distributed.signals import Interrupted, interruptible
from sedd.errors import SeddError, SeddWarning
from sedd.plugins.contracts import Tracker

GRACE_SECONDS = 1.0
"""How long a tracker may take for a record, or to close, after a signal has asked the run to stop."""
RETRY_SECONDS = 30.0
"""Time between two attempts, from the second failure in a row on: each may wait for a service that does not answer."""
FAILURES = (Exception, SystemExit)
"""What a tracker raises must not end days of training, whatever it is."""
_EVERY = ("kind", "step")
"""Keys of every record."""
logger = logging.getLogger(__name__)


class TrackerSession:
    """One tracker: opened, again if need be, given what is recorded, and closed."""

    def __init__(self, tracker: Tracker, run: Path, config: Mapping[str, Any]) -> None:
        self.tracker, self._run, self._config = tracker, run, config
        self._session: Any = None
        self._is_open = False
        self._failures = 0
        """In a row."""
        self._retry_at = 0.0
        self._late = False
        """Whether it has not answered in time after a signal has asked the run to stop."""

    def open(self) -> None:
        """Open the tracker; a failure is a warning.

        Raises:
            SeddError: if the configuration of the tracker cannot be used, for example without another package.
        """
        try:
            with interruptible(GRACE_SECONDS):
                self._session = self.tracker.open(self._run, self._config)
            self._is_open = True
        except SeddError:
            raise
        except Interrupted:
            self._late = True  # and the run stops
        except FAILURES as error:
            self._failed("open", error)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Pass the numbers of a record, unless the tracker has just failed."""
        self._send("log", step, dict(numbers))

    def log_alarm(self, step: int, alarm: Mapping[str, Any]) -> None:
        """Pass an alarm, unless the tracker has just failed."""
        self._send("log_alarm", step, dict(alarm))

    def log_samples(self, step: int, samples: Sequence[str], file: Path) -> None:
        """Pass samples, unless the tracker has just failed."""
        self._send("log_samples", step, list(samples), file)

    def log_file(self, file: Path) -> None:
        """Pass a file, unless the tracker has just failed."""
        self._send("log_file", file)

    def _send(self, method: str, *arguments: Any) -> None:
        if self._late or time.monotonic() < self._retry_at:
            return
        try:
            if not self._is_open:
                self.open()
            if not self._is_open:
                return
            with interruptible(GRACE_SECONDS):
                getattr(self.tracker, method)(self._session, *arguments)
        except Interrupted:
            self._late = True
            return
        except FAILURES as error:
            self._failed(method, error)
            return
        if self._failures:
            logger.info("tracker %r works again", self.tracker.part_name())
        self._failures = 0

    def close(self) -> None:
        """Close the tracker, if it is open; a failure is a warning."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            with interruptible(GRACE_SECONDS):
                self.tracker.close(self._session)
        except Interrupted:
            logger.info("tracker %r did not close in time", self.tracker.part_name())
        except FAILURES as error:
            self._warn("close", error)

    def _failed(self, action: str, error: BaseException) -> None:
        self._failures += 1
        if self._failures == 1:
            self._warn(action, error)
        else:
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _warn(self, action: str, error: BaseException) -> None:
        after = "" if action == "close" else "; it is tried again, and metrics.jsonl has every number meanwhile"
        warnings.warn(
            f"tracker {self.tracker.part_name()!r} failed in {action} ({type(error).__name__}: {error}){after}",
            SeddWarning,
            stacklevel=4,
        )


class TrackerSessions:
    """Opens all trackers, passes the numbers of every record to each, and closes each once."""

    def __init__(self, trackers: Sequence[Tracker], run: Path, config: Mapping[str, Any]) -> None:
        self._sessions = [TrackerSession(tracker, run, config) for tracker in _distinct(trackers)]

    def __enter__(self) -> Self:
        try:
            for session in self._sessions:
                session.open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass a record to every tracker: an alarm, or the numbers of any other kind."""
        if record.get("kind") == "alarm":
            for session in self._sessions:
                session.log_alarm(record["step"], {key: value for key, value in record.items() if key not in _EVERY})
            return
        numbers = {key: value for key, value in record.items() if isinstance(value, int | float) and key != "step"}
        for session in self._sessions:
            session.log(record["step"], numbers)

    def log_samples(self, step: int, samples: Sequence[str], file: Path) -> None:
        """Pass samples to every tracker."""
        for session in self._sessions:
            session.log_samples(step, samples, file)

    def log_file(self, file: Path) -> None:
        """Pass a file to every tracker."""
        for session in self._sessions:
            session.log_file(file)

    def _close(self) -> None:
        for session in self._sessions:
            session.close()


def send_file(run: Path, file: Path, config: Config) -> list[str]:
    """Pass a file to the trackers of a run that take files; returns their names.

    Args:
        run: the run directory.
        file: such as its report.
        config: of the run.
    """
    takers = [tracker for tracker in config.trackers if type(tracker).log_file is not Tracker.log_file]
    with TrackerSessions(takers, run, config.to_dict()) as sessions:
        sessions.log_file(file)
    return [tracker.part_name() for tracker in takers]


def _distinct(trackers: Sequence[Tracker]) -> list[Tracker]:
    """The trackers without repetitions, which would write everything twice."""
    distinct: list[Tracker] = []
    for tracker in trackers:
        if tracker in distinct:
            name = tracker.part_name()
            warnings.warn(f"trackers: {name!r} is given twice with the same options; it is used once", SeddWarning, 4)
        else:
            distinct.append(tracker)
    return distinct
