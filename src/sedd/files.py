"""Atomic writes, bounded reads, compressed output, a lock between processes, the cache directory, and streams for
messages.

Files that sedd writes are never opened through a symbolic link: a link in a run directory or a store that was copied
from elsewhere must not redirect a write.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import json
import lzma
import math
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from sedd.errors import SeddWarning

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NOT_REGULAR = "not a regular file (a device, a pipe or a socket)"


class LockHeld(Exception):  # noqa: N818  # a state of the lock, not an error; callers turn it into one
    """Another process holds the lock, and `wait` is false."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an `OSError`, which writing to an open file, such as on a full disk, raises without a name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def no_symlink(path: str, flags: int) -> int:
    """An `opener` of `open` that refuses a symbolic link as the last part of the path, and waits for no pipe.

    Raises:
        OSError: if `path` is a symbolic link (ELOOP).
    """
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and flush its content to the disk."""
    with naming(path), open(path, "wb", opener=no_symlink) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that after a crash the file has its old or its new content, and never a part of it."""
    temporary = temporary_of(path)
    temporary.unlink(missing_ok=True)  # of a process that was killed, or a link that someone put there
    try:
        write_synced(temporary, data)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def temporary_of(path: Path) -> Path:
    """Where `write_atomically` writes before it renames; a process that is killed meanwhile leaves it behind."""
    return path.with_name(path.name + ".new")


def read_bounded(path: Path, *, most: int, follow: bool = True) -> bytes:
    """The content of a regular file of at most `most` bytes; what it is and its size are looked at before it is read.

    With `follow=False`, a symbolic link is refused too.

    Raises:
        OSError: if there is no such file, it is no regular file (a device or a pipe might never end), or it is larger.
    """
    check_regular(path)  # before it is opened: to open some devices is an action
    with open(path, "rb", opener=None if follow else no_symlink) as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
        if state.st_size > most:
            raise OSError(errno.EFBIG, f"{state.st_size:,} bytes, expected at most {most:,}", str(path))
        return file.read(state.st_size)  # not more: the buffer is made at once


def bounded_lines(path: Path, *, longest: int) -> Iterator[bytes]:
    """The lines of a regular file, of at most `longest` bytes each.

    Raises:
        OSError: if it is no regular file, or a line is longer.
    """
    check_regular(path)
    with open(path, "rb") as file:
        while line := file.readline(longest + 1):
            if len(line) > longest:
                raise OSError(errno.EFBIG, f"a line of more than {longest:,} bytes", str(path))
            yield line


def check_regular(path: Path) -> None:
    """Check that `path` is a regular file, or a link to one.

    Raises:
        OSError: if it is not, or does not exist.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))


def write_json(path: Path, data: Any) -> None:
    """Write `data` as JSON, atomically."""
    write_atomically(path, json_bytes(data))


def json_bytes(data: Any) -> bytes:
    """Human-readable JSON, in UTF-8."""
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()


def finite_or_none(value: float) -> float | None:
    """The number for JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def open_output(path: Path, *, append: bool = False) -> IO[str]:
    """Open a file for text in UTF-8, in a directory that is made if necessary; line ends stay as they are written.

    The content is compressed where the name ends in `.gz`, `.bz2`, `.xz` or `.zst`. What is appended to a compressed
    file is a member of its own, which all programs read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mode: Literal["at", "wt"] = "at" if append else "wt"
    match path.suffix:
        case ".gz":
            return cast("IO[str]", gzip.open(path, mode, encoding="utf-8", newline=""))
        case ".bz2":
            return bz2.open(path, mode, encoding="utf-8", newline="")
        case ".xz":
            return lzma.open(path, mode, encoding="utf-8", newline="")
        case ".zst":
            return cast("IO[str]", zstd.open(path, mode, encoding="utf-8", newline=""))
    return path.open(mode, encoding="utf-8", newline="")


def sync_directory(path: Path) -> None:
    """Flush the names in a directory to the disk, so that a rename survives a crash."""
    if os.name == "nt":  # Windows cannot open directories
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
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
    with _acquire(path, wait=wait):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held, so that waiting processes notice that it was removed


def _acquire(path: Path, *, wait: bool) -> IO[bytes]:
    """The open lock file; closing it releases the lock, and so does an interruption."""
    while True:
        file = open(path, "ab", opener=no_symlink)  # noqa: SIM115  # the caller closes it, with the lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            raise LockHeld from None
        except BaseException:
            file.close()
            raise
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # its last holder removed it while we waited
