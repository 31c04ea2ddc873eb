"""The trackers of a run while it trains. A tracker that fails is closed with a warning, and training goes on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sedd.errors import SeddWarning
from sedd.plugins.contracts import Tracker


class TrackerSessions:
    """Opens all trackers, passes the numbers of every record to each, and closes each once."""

    def __init__(self, trackers: Sequence[Tracker], run: Path, config: Mapping[str, Any]) -> None:
        self._trackers, self._run, self._config = trackers, run, config
        self._open: list[tuple[Tracker, Any]] = []

    def __enter__(self) -> Self:
        try:
            for tracker in self._trackers:
                self._open.append((tracker, tracker.open(self._run, self._config)))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass the numbers of a record to every tracker."""
        numbers = {key: value for key, value in record.items() if isinstance(value, int | float) and key != "step"}
        for tracker, session in list(self._open):
            try:
                tracker.log(session, record["step"], numbers)
            except Exception as error:  # a tracker may fail in any way; days of training must not end with it
                self._open.remove((tracker, session))
                _warn(tracker, "log", error)
                _close(tracker, session)

    def _close(self) -> None:
        for tracker, session in self._open:
            _close(tracker, session)
        self._open = []


def _close(tracker: Tracker, session: Any) -> None:
    try:
        tracker.close(session)
    except Exception as error:  # a failing tracker must not end training
        _warn(tracker, "close", error)


def _warn(tracker: Tracker, action: str, error: Exception) -> None:
    warnings.warn(
        f"tracker {tracker.part_name()!r} failed to {action} and was closed ({type(error).__name__}: {error})",
        SeddWarning,
        stacklevel=4,
    )
