"""What a tracking service has of a run, kept in the run directory, so that a resumed run goes on there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from sedd.errors import ConfigError, install_extra
from sedd.files import read_bounded, write_json

FILE = "trackers.json"
"""Name of the file in the run directory."""
MOST = 1 << 20
"""Its bytes."""


class TrackedRun:
    """The id of a run at a service, and the last step that was sent there.

    A run that goes back to an earlier step, after a kill or a rollback, sends no step twice: services keep what they
    have. `metrics.jsonl` has what was trained.

    Args:
        run: the run directory.
        service: tells this service, and what is configured of it, from others.
    """

    def __init__(self, run: Path, service: str) -> None:
        self._file, self._service = run / FILE, service
        mine = self._all().get(service, {})
        self.id: str | None = mine.get("id")
        """The id of the run at the service; None before it is known there."""
        self._step: int = mine.get("step", -1)
        self._names: set[str] = set(mine.get("names", ()))

    def remember(self, identity: str) -> None:
        """Note the id; nothing was sent under it yet."""
        self.id, self._step, self._names = identity, -1, set()
        self._write()

    def unsent(self, step: int, names: Iterable[str]) -> set[str]:
        """Those of `names` that were not sent for this step or a later one."""
        if step != self._step:
            return set(names) if step > self._step else set()
        return set(names) - self._names

    def first(self, step: int, name: str) -> bool:
        """Whether `name` was not sent for this step or a later one; notes that it is sent now."""
        if not self.unsent(step, [name]):
            return False
        self.sent(step, [name])
        return True

    def sent(self, step: int, names: Iterable[str]) -> None:
        """Note what was sent for a step, the last one or a later one."""
        self._names = set(names) | (self._names if step == self._step else set())
        self._step = step
        self._write()

    def _write(self) -> None:
        mine = {"id": self.id, "step": self._step, "names": sorted(self._names)}
        write_json(self._file, self._all() | {self._service: mine})

    def _all(self) -> dict[str, Any]:
        try:
            data = json.loads(read_bounded(self._file, most=MOST))
        except (OSError, ValueError, RecursionError):
            return {}  # a new run, or a damaged file: the service gets a new run
        return data if isinstance(data, dict) and all(isinstance(item, dict) for item in data.values()) else {}


def imported(package: str, extra: str) -> ModuleType:
    """The package of a service. Raises ConfigError if it is not installed; names the extra."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"trackers: {extra!r} needs the package {package} ({error}); install it ({install_extra(extra)}), or "
            f"remove {extra} from trackers",
            keys=["trackers"],
        ) from error


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration as dotted keys, for services whose parameters have no sections."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result
