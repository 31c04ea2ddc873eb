"""One tree of exceptions. Every message says what was given, what was expected and what to do."""

from __future__ import annotations

from pathlib import Path

LOST = 75
"""EX_TEMPFAIL of sysexits.h: trying again may help."""


class SeddError(Exception):
    """Root of every error that sedd raises on purpose; the CLI prints it in one message and exits with 2."""


class ConfigError(SeddError):
    """A run file, a preset or an override that cannot be used."""


class PluginError(SeddError):
    """A plugin that cannot be loaded or breaks its contract; names the distribution or the class."""


class DataError(SeddError):
    """Input data that cannot be read or used; the message begins with `file:line record:`, as far as they are given."""

    def __init__(
        self, message: str, *, file: Path | None = None, line: int | None = None, record: str | None = None
    ) -> None:
        place = ":".join(str(part) for part in (file, line) if part is not None)
        place = " ".join(part for part in (place, record) if part)
        super().__init__(f"{place}: {message}" if place else message)
        self.file, self.line, self.record = file, line, record


class DeviceError(SeddError):
    """A requested device that is not there, or cannot do what was asked of it."""


class CheckpointError(SeddError):
    """A run directory or checkpoint that is missing, damaged, or belongs to another configuration."""


class TrainingError(SeddError):
    """Training that cannot go on, for example because every gradient is non-finite."""


class DistributedError(SeddError):
    """Processes that were started together and do not train the same."""


class RankLostError(DistributedError):
    """A process of the group is no longer there; the command line ends with exit code `LOST`."""


class SamplingError(SeddError):
    """A request for samples that the model cannot honour."""


class SeddWarning(UserWarning):
    """Something legal that a user very likely wants to know."""
