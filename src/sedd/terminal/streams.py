"""Streams that cannot end a program: what cannot be encoded is replaced, what cannot be written is dropped."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from typing import TextIO, cast

from rich.console import Console

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


class MessageStream(io.TextIOBase):
    """The standard error stream of the moment; what cannot be written is dropped without an error.

    Progress and remarks go here: a closed terminal, a broken pipe or a full disk must not end a run of days.
    """

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of standard error."""
        return getattr(_standard_error(), "encoding", None) or "utf-8"

    def writable(self) -> bool:
        """Whether text can be written: always."""
        return True

    def isatty(self) -> bool:
        """Whether standard error is a terminal."""
        stream = _standard_error()
        try:
            return stream is not None and stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """The file descriptor of standard error. Raises OSError where there is none."""
        stream = _standard_error()
        if stream is None:
            raise io.UnsupportedOperation("fileno")
        return stream.fileno()

    def write(self, text: str, /) -> int:
        """Write, or drop, a text; returns its length."""
        stream = _standard_error()
        with contextlib.suppress(OSError, ValueError):  # UnicodeEncodeError is a ValueError, and so is a closed file
            if stream is not None:
                stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush standard error where that is possible."""
        stream = _standard_error()
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()


def _standard_error() -> TextIO | None:
    """`sys.stderr`; while rich shows a live display, the stream that it has put its proxy before."""
    stream: TextIO | None = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
    return stream


def message_console() -> Console:
    """A console for progress, remarks and warnings, on `MessageStream`."""
    return Console(file=cast(TextIO, MessageStream()), highlight=False, soft_wrap=True)
