"""The files that a source names: one file, several, a folder, a pattern such as `shards/*.fasta.gz`, or a pipe."""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

from sedd.data.store import describe_file
from sedd.errors import DataError

STANDARD_INPUT = "-"
WAIT_FOR_WRITER = 30.0
"""Seconds until a named pipe that no program has opened for writing is given up."""
_PATTERN = set("*?[")


@dataclass(frozen=True)
class Source:
    """Files that are read one after the other, as if they were one."""

    path: Path
    """What was named: the file, the folder or the pattern; for messages."""
    files: tuple[Path, ...]
    """At least one."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)

    def state(self) -> dict[str, Any]:
        """Name, size and times of change: those of a single file, or a list of them."""
        states = [file_state(file) for file in self.files]
        if self.files == (self.path,):
            return states[0]
        return {"name": self.path.name, "size": self.size, "files": states}

    def described(self, *, cancelled: Event | None = None) -> dict[str, Any]:
        """`state`, with the sha256 of each file. Raises InterruptedError soon after `cancelled` was set."""
        described = [file_state(file) | describe_file(file, cancelled=cancelled) for file in self.files]
        if self.files == (self.path,):
            return described[0]
        digest = hashlib.sha256("".join(one["sha256"] for one in described).encode()).hexdigest()
        return {"name": self.path.name, "size": self.size, "sha256": digest, "files": described}

    def is_as_recorded(self, recorded: dict[str, Any]) -> bool:
        """Whether the content is that of `recorded`, which `described` returned. Files are only read if their size is
        the recorded one and a time of change is not: the time of the last change of the inode (ctime) cannot be set, so
        that a file that was replaced by one of equal size and time is noticed."""
        known = recorded.get("files", [recorded])
        return len(known) == len(self.files) and all(map(_is_as_recorded, self.files, known))


def file_state(file: Path) -> dict[str, Any]:
    """Name, size and times of a file: cheap, and different after it was changed in any way.

    Raises:
        DataError: if there is no such file.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=file) from error
    return {"name": file.name, "size": found.st_size, "mtime_ns": found.st_mtime_ns, "ctime_ns": found.st_ctime_ns}


def _is_as_recorded(file: Path, recorded: dict[str, Any]) -> bool:
    state = file_state(file)
    if state["size"] != recorded["size"]:
        return False
    times = ("mtime_ns", "ctime_ns")
    unchanged = all(state[time] == recorded.get(time) for time in times)
    return unchanged or bool(describe_file(file)["sha256"] == recorded["sha256"])


def find(given: str | Path | Sequence[str | Path]) -> Source:
    """The files that a name, or a list of names, stands for; those of a folder or a pattern in alphabetical order.

    Hidden files are left out of folders. Raises DataError if there is no such file, with similar names.
    """
    names = [given] if isinstance(given, str | Path) else list(given)
    if not names:
        raise DataError("an empty list of files; name at least one")
    files = [file for name in names for file in _expanded(Path(name).expanduser())]
    path = Path(names[0]).expanduser() if len(names) == 1 else Path(f"{names[0]} and {len(names) - 1} more")
    return Source(path, tuple(files))


def _expanded(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        if not files:
            raise DataError(
                "a directory without a token store, and without a file; expected FASTA or text files, or a directory "
                "that `sedd data prepare` wrote",
                file=path,
            )
        return files
    if not path.exists() and _PATTERN & set(str(path)):
        files = sorted(file for file in map(Path, glob.glob(str(path), recursive=True)) if file.is_file())
        if not files:
            raise DataError("no file matches this pattern", file=path)
        return files
    if not path.exists() and str(path) != STANDARD_INPUT:
        raise DataError(
            f"no such file{_nearest(path)} A run file names its data as data.train=YOUR.fasta.gz", file=path
        )
    return [path]


def _nearest(path: Path) -> str:
    """Advice for a missing file: similar names that exist."""
    parent = path.parent
    if not parent.is_dir():
        return f"; the directory {parent} does not exist either."
    names = sorted(entry.name for entry in parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(str(parent / name) for name in near)}?" if near else f" in {parent.resolve()}."


def is_pipe(path: Path) -> bool:
    """Whether a name stands for a pipe, which can be read only once: `-`, `/dev/stdin`, `<(zcat x.gz)`."""
    if str(path) == STANDARD_INPUT:
        return True
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


@contextmanager
def regular_file(path: Path) -> Iterator[Path]:
    """The file itself; or for a pipe, a temporary file with its content. Raises DataError for a directory, a device, a
    pipe that nothing writes to, or if there is no such file."""
    if not is_pipe(path):
        if not path.exists():
            raise DataError(f"no such file{_nearest(path)}", file=path)
        if not path.is_file():
            what = "a directory" if path.is_dir() else "neither a file nor a directory"
            raise DataError(f"{what}; expected a file", file=path)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="sedd-") as folder:
        copy = Path(folder) / ("standard-input" if str(path) in (STANDARD_INPUT, "/dev/stdin") else "pipe")
        with copy.open("wb") as file:
            if str(path) == STANDARD_INPUT:
                shutil.copyfileobj(sys.stdin.buffer, file)
            else:
                _copy_pipe(path, file)
        yield copy


def _copy_pipe(path: Path, file: BinaryIO) -> None:
    """Append the content of a named pipe to a file. Raises DataError if nothing has opened the pipe for writing
    after `WAIT_FOR_WRITER`."""
    # Opened as usual, a pipe without a writer blocks for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as pipe:
        until = time.monotonic() + WAIT_FOR_WRITER
        while not (first := _first_bytes(descriptor)):
            if first is None:  # a writer that has written nothing yet
                break
            if time.monotonic() > until:
                waited = f"nothing has written to this pipe for {WAIT_FOR_WRITER:g} seconds"
                raise DataError(f"{waited}; start the program that writes to it, then this one", file=path)
            time.sleep(0.05)
        os.set_blocking(descriptor, True)
        file.write(first or b"")
        shutil.copyfileobj(pipe, file)


def _first_bytes(descriptor: int) -> bytes | None:
    """What a pipe holds: empty without a writer, None if a writer has written nothing yet."""
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return None
