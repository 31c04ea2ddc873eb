"""Atomic writes, a lock between processes, and the cache directory."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sedd.errors import SeddWarning

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class LockHeld(Exception):  # noqa: N818  # a state of the lock, not an error; callers turn it into one
    """Another process holds the lock, and `wait` is false."""


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and flush its content to the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that after a crash the file has its old or its new content, and never a part of it."""
    temporary = path.with_name(path.name + ".new")
    write_synced(temporary, data)
    temporary.replace(path)
    sync_directory(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Write `data` as JSON, atomically."""
    write_atomically(path, json_bytes(data))


def json_bytes(data: Any) -> bytes:
    """Human-readable JSON, in UTF-8."""
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()


def finite_or_none(value: float) -> float | None:
    """The number for JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def sync_directory(path: Path) -> None:
    """Flush the names in a directory to the disk, so that a rename survives a crash."""
    if os.name == "nt":  # Windows cannot open directories
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_directory() -> Path:
    """`sedd` in the user's cache directory, for what can be made again; a temporary one without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sedd"
    except RuntimeError:  # neither HOME nor an entry for this user
        return Path(tempfile.gettempdir()) / f"sedd-{os.getuid()}"


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`. The lock ends with its process, killed or not, and the last holder removes the file.

    Raises:
        LockHeld: if another process holds it and `wait` is false.
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
        path.unlink(missing_ok=True)  # while it is held, so that waiting processes notice that it was removed
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
