"""Streams that cannot end a program: what cannot be encoded is replaced, what cannot be written is dropped."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Literal, TextIO, cast

from sedd.plain_text import SafeConsole

PLAIN = {"±": "+/-", "−": "-", "–": "-", "—": "-", "×": "x", "→": "->", "…": "...", "σ": "sigma", "π": "pi"}
"""What is printed in place of symbols that an encoding lacks; others become `\\u1234`."""
PLAIN_ERRORS = "sedd-plain"
"""Name of the codec error handler that makes these replacements."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    given = error.object[error.start : error.end]
    return "".join(
        PLAIN.get(symbol) or symbol.encode("ascii", "backslashreplace").decode() for symbol in given
    ), error.end


codecs.register_error(PLAIN_ERRORS, _plain)


def replace_what_cannot_be_encoded() -> None:
    """Let standard output and standard error replace what their encoding lacks; by default they raise, or escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # closed, or not writable: nothing can be printed anyway
                stream.reconfigure(errors=PLAIN_ERRORS)


def standard_stream(name: Literal["stdout", "stderr"], *, unfailing: bool) -> TextIO:
    """A `StandardStream`, in the type that consoles expect."""
    return cast(TextIO, StandardStream(name, unfailing=unfailing))


class StandardStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`, whatever it is at the time of a write.

    Characters outside its encoding are replaced, see `PLAIN`. With `unfailing`, what cannot be written at all (a pipe
    that nobody reads any more, a terminal that is gone, a closed stream) is dropped: no message is worth a run.
    """

    def __init__(self, name: Literal["stdout", "stderr"], *, unfailing: bool) -> None:
        self._name, self._unfailing = name, unfailing

    @property
    def _stream(self) -> TextIO | None:
        stream = getattr(sys, self._name)  # None where the process was started without it
        found: TextIO | None = getattr(stream, "rich_proxied_file", stream)  # below the display of a progress bar
        return found

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute of the base class
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):  # closed
            return False

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        stream = self._stream
        if stream is None:
            return len(text)
        with self._dropping():
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(text.encode(self.encoding, PLAIN_ERRORS).decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with self._dropping():
                self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if not self._unfailing:
                raise
            if isinstance(error, OSError) and self._stream is getattr(sys, f"__{self._name}__"):
                self._silence()

    def _silence(self) -> None:
        """Point the descriptor to nowhere: Python would fail once more when it flushes the stream at its exit."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def message_console() -> SafeConsole:
    """A console for progress, remarks and warnings, on standard error; what cannot be written is dropped."""
    return SafeConsole(file=standard_stream("stderr", unfailing=True), highlight=False, soft_wrap=True)
