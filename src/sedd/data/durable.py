"""Files that are there whole or not at all, and a lock that processes wait on."""

from __future__ import annotations

import contextlib
import json
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


def write_json(path: Path, data: Any) -> None:
    """Write to a sibling, make it durable, rename it over `path`."""
    aside = path.with_name(path.name + ".new")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, where the platform can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; wait for whoever holds it. It goes away with its last holder, killed or not."""
    if fcntl is None:
        warnings.warn(
            f"this platform has no file locks: do not write {path.parent} from two processes at once",
            SeddWarning,
            stacklevel=3,
        )
        yield
        return
    handle = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever waits on it then sees that it is gone
        os.close(handle)


def _acquire(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)  # its last holder removed it while we waited
