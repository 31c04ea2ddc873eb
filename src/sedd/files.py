"""Files that are there whole or not at all, and a lock between processes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sedd.errors import SeddWarning

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class LockHeld(Exception):  # noqa: N818  # a state of the lock, turned into an error with advice by whoever asked
    """Another process holds the lock, and the caller did not want to wait."""


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and make its content durable."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a sibling, make it durable, rename it over `path`."""
    aside = path.with_name(path.name + ".new")
    write_synced(aside, data)
    aside.replace(path)
    sync_directory(path.parent)


def write_json(path: Path, data: Any) -> None:
    """`write_atomically` of JSON."""
    write_atomically(path, to_json(data))


def to_json(data: Any) -> bytes:
    """JSON as people can read it."""
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()


def finite_or_none(value: float) -> float | None:
    """The number for JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, where the platform can."""
    if os.name == "nt":  # Windows cannot open directories
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_directory() -> Path:
    """Where what can be made again is kept: `sedd` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sedd"


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`. It goes away with its last holder, killed or not.

    Raises:
        LockHeld: if another process holds it and `wait` is off.
    """
    if fcntl is None:
        warnings.warn(
            f"this platform has no file locks: do not write {path.parent} from two processes at once",
            SeddWarning,
            stacklevel=3,
        )
        yield
        return
    handle = _acquire(path, wait=wait)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever waits on it then sees that it is gone
        os.close(handle)


def _acquire(path: Path, *, wait: bool) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            raise LockHeld from None
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)  # its last holder removed it while we waited
