"""The manifest of a checkpoint: the size and SHA-256 of every other file, and the SHA-256 of itself.

Files are opened without following symbolic links, and their sizes are compared before a byte is read. Whatever cannot
be read as it was written is damaged; what is short for the moment (memory, open files) is not.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedd.errors import CheckpointError
from sedd.files import json_bytes

FORMAT = 1
NAME = "manifest.json"
MAX_BYTES = 64 * 2**20
"""A larger manifest is damaged: 64 MiB list the files of 50,000 processes."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
"""Errors of the process or the machine, not of a file."""
_OPEN = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


class DamagedError(CheckpointError):
    """A checkpoint whose files differ from what was written, or cannot be read."""


@dataclass(frozen=True)
class Entry:
    """What the manifest knows about a file."""

    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""

    @staticmethod
    def of(data: bytes) -> Entry:
        """The entry of a file with this content."""
        return Entry(len(data), hashlib.sha256(data).hexdigest())

    def read(self, path: Path) -> bytes:
        """The content of the file at `path`, which agrees with this entry. Raises DamagedError if it does not."""
        data = read_regular_file(path, size=self.size)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DamagedError(f"the SHA-256 differs from the one in {NAME}; the checkpoint is damaged", file=path)
        return data


@dataclass(frozen=True)
class Manifest:
    """The files of a checkpoint, and what the checkpoint is."""

    step: int
    """Optimizer steps done."""
    files: Mapping[str, Entry]
    run: str | None = None
    """The identity of the run; None if it has none."""

    def to_bytes(self) -> bytes:
        """The content of the file."""
        files = {name: {"size": entry.size, "sha256": entry.sha256} for name, entry in self.files.items()}
        return _with_hash({"format": FORMAT, "step": self.step, "run": self.run, "files": files})

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read the manifest of the checkpoint in `folder`.

        Raises:
            DamagedError: if it is missing, unreadable, or not as it was written.
            CheckpointError: if it was written by a newer version of sedd.
        """
        path = folder / NAME
        data = read_regular_file(path, at_most=MAX_BYTES)
        try:
            content = json.loads(data)
            _verify(content, data, path)
            files = {name: Entry(int(entry["size"]), str(entry["sha256"])) for name, entry in content["files"].items()}
            manifest = Manifest(int(content["step"]), files, content.get("run"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DamagedError(f"not a manifest ({reason}); the checkpoint is damaged", file=path) from error
        for name in manifest.files:
            if name != Path(name).name:
                raise DamagedError(f"lists {name!r}, which is not the name of a file beside it", file=path)
        return manifest


def _verify(content: dict[str, Any], data: bytes, path: Path) -> None:
    """Raise DamagedError if the manifest `data`, which was parsed to `content`, is not as it was written."""
    version = content["format"]
    if data == _rewritten(content):
        if version == FORMAT:
            return
    elif content.keys() == {"format", "step", "files"} and version == FORMAT:
        return  # written before manifests had a hash of themselves
    elif not isinstance(version, int) or version <= FORMAT or data == _changed_version(content):
        raise DamagedError("differs from its own SHA-256; the checkpoint is damaged", file=path)
    raise CheckpointError(f"format {version}, this version of sedd reads {FORMAT}; upgrade sedd", file=path)


def _rewritten(content: Mapping[str, Any]) -> bytes:
    return _with_hash({key: value for key, value in content.items() if key != "sha256"})


def _changed_version(content: Mapping[str, Any]) -> bytes:
    """The manifest if only its version was changed after it had been written, as a flipped bit does."""
    written = json.loads(_rewritten(dict(content) | {"format": FORMAT}))
    return json_bytes(written | {"format": content["format"]})


def _with_hash(content: Mapping[str, Any]) -> bytes:
    return json_bytes({**content, "sha256": hashlib.sha256(json_bytes(content)).hexdigest()})


def read_regular_file(path: Path, *, size: int | None = None, at_most: int | None = None) -> bytes:
    """The content of a file of a checkpoint.

    Args:
        path: the file; a symbolic link is not followed.
        size: its expected size in bytes.
        at_most: its largest size in bytes.

    Raises:
        DamagedError: if it is missing, unreadable, of another size, or anything but a regular file.
        CheckpointError: if the process has no more file handles or memory.
    """
    try:
        handle = os.open(path, _OPEN)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise DamagedError("not a regular file; the checkpoint is damaged", file=path)
            if size is not None and status.st_size != size:
                message = f"{status.st_size} bytes instead of {size}; the checkpoint is damaged"
                raise DamagedError(message, file=path)
            if at_most is not None and status.st_size > at_most:
                raise DamagedError(f"{status.st_size} bytes; the checkpoint is damaged", file=path)
            return file.read()
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise CheckpointError(f"cannot be read now ({error.strerror}); try again", file=path) from error
        raise DamagedError(f"{error.strerror or error}; the checkpoint is damaged", file=path) from error
    except ValueError as error:  # a name that no file can have
        raise DamagedError(f"{error}; the checkpoint is damaged", file=path) from error
