"""Logs of other programs: whatever a user has as a log becomes a `Curve`. One format per file, `read_log` chooses."""

from sedd.diagnosis.logs.reading import open_log, read_log

__all__ = ["open_log", "read_log"]
