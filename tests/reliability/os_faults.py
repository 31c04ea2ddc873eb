"""Functions of the operating system that fail at a chosen call."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FUNCTIONS = ("fsync", "rename", "replace", "mkdir", "open", "open for writing", "write")
"""What can fail; `write` writes half of its data first, as a disk does that becomes full."""


@dataclass
class Fault:
    """The calls of one function on paths below a folder, of which one or all from one on fail.

    Args:
        function: one of `FUNCTIONS`.
        folder: only calls on what is below it are counted and fail.
        code: the `errno`.
        call: the number of the first call that fails, 1 for the first; 0: none, calls are counted.
        lasting: whether all later calls fail too.
    """

    function: str
    folder: Path
    code: int = 0
    call: int = 0
    lasting: bool = False
    calls: int = field(default=0, init=False)
    happened: bool = field(default=False, init=False)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the fault in place of the function."""
        if self.function in ("open for writing", "write"):
            monkeypatch.setattr(io, "open", self._opening(io.open))
        else:
            monkeypatch.setattr(os, self.function, self._failing(getattr(os, self.function)))

    def check(self, path: Any) -> None:
        """Count a call. Raises OSError if it is one that fails."""
        if not self._is_below(path):
            return
        self.calls += 1
        if self.call and (self.calls == self.call or (self.lasting and self.calls > self.call)):
            self.happened = True
            raise OSError(self.code, os.strerror(self.code), str(path))

    def _is_below(self, path: Any) -> bool:
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                return False
        return str(os.fspath(path)).startswith(str(self.folder))

    def _failing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            self.check(path)
            return function(path, *arguments, **options)

        return call

    def _opening(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            writes = bool(set(mode) & set("wax+"))
            if writes and self.function == "open for writing":
                self.check(path)
            file = function(path, mode, *arguments, **options)
            is_checked = writes and self.function == "write" and not isinstance(path, int)
            return FailingFile(file, lambda: self.check(path)) if is_checked else file

        return call


class FailingFile:
    """An open file whose `write` may fail after half of the data."""

    def __init__(self, file: Any, check: Callable[[], None]) -> None:
        self._file, self._check = file, check

    def write(self, data: Any) -> Any:
        try:
            self._check()
        except OSError:
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
