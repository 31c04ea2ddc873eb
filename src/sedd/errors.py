"""The exceptions of sedd. Every message has what was given, what was expected and what to do.

The errors about a value, `ConfigError`, `DataError` and `SamplingError`, are also `ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sedd.plain_text import printable

LOST = 75
"""EX_TEMPFAIL of sysexits.h: trying again may help."""


def install_extra(extra: str) -> str:
    """How to install the packages that a feature needs, such as `report`."""
    return f"pip install -e '.[{extra}]' in the clone of sedd"


class SeddError(Exception):
    """Base class of every error that sedd raises on purpose; the command line prints it and exits with 2.

    Control characters in the message, which may quote a file, are written as escapes.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(printable(item) if isinstance(item, str) else item for item in arguments))


class ConfigError(SeddError, ValueError):
    """A configuration, an option or an argument that cannot be used."""

    keys: tuple[str, ...] = ()
    """The dotted keys that are wrong, such as `optim.lr`, in the order of the message; empty if no key is."""

    def __init__(self, message: str, *, keys: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class FileError(SeddError):
    """An error about a file; the message begins with `file:line record:`, as far as they are given."""

    def __init__(
        self, message: str, *, file: Path | None = None, line: int | None = None, record: str | None = None
    ) -> None:
        place = ":".join(str(part) for part in (file, line) if part is not None)
        place = " ".join(part for part in (place, record) if part)
        super().__init__(f"{place}: {message}" if place else message)
        self.file, self.line, self.record = file, line, record


class PluginError(SeddError):
    """A plugin that cannot be loaded or breaks its contract; names the distribution or the class."""


class DataError(FileError, ValueError):
    """Input data that cannot be read or used, with `file`, `line` and `record` where they are known."""


class DeviceError(SeddError):
    """A device that is not available, or cannot do what the configuration needs."""


class OutOfMemoryError(DeviceError, MemoryError):
    """Memory of a device, or of the machine, that does not suffice; the message says how to need less."""


class CheckpointError(FileError):
    """A run directory or checkpoint that is missing, damaged, or belongs to another configuration; `file` is it."""


class DiskError(CheckpointError, OSError):
    """A file of a run that cannot be written or read, such as on a full disk; `errno` is that of the system."""


class TrainingError(SeddError):
    """Training that cannot continue, for example because every gradient is non-finite."""


class DistributedError(SeddError):
    """Processes of one run that differ in their configuration or data."""


class RankLostError(DistributedError):
    """A process of the run has ended or does not answer; the command line exits with `LOST`."""


class SamplingError(SeddError, ValueError):
    """A request for samples that the model cannot fulfil.

    Attributes:
        about: the option, template or file that is wrong, where it is one.
    """

    def __init__(self, message: str, *, about: str | None = None) -> None:
        super().__init__(message)
        self.about = about


class SeddWarning(UserWarning):
    """Something that is allowed and probably not intended. Control characters are written as escapes."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(printable(item) if isinstance(item, str) else item for item in arguments))
