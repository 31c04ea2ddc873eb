"""Streams that cannot end a program."""

from __future__ import annotations

import errno
import io
import sys

import pytest

from sedd.terminal.activity import activity
from sedd.terminal.streams import message_console, replace_what_cannot_be_encoded


class Failing(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream",
    [
        None,
        closed(),
        Failing(BrokenPipeError(errno.EPIPE, "broken")),
        Failing(OSError(errno.ENOSPC, "full")),
        Failing(OSError(errno.EIO, "the terminal is gone")),
        Failing(UnicodeEncodeError("ascii", "±", 0, 1, "no")),
    ],
    ids=["none", "closed", "broken-pipe", "full", "no-terminal", "encoding"],
)
def test_a_message_that_cannot_be_written_is_dropped(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    console = message_console()
    console.print("step 1  bound 2.88 ± 0.01")
    assert console.is_terminal is False


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", "2 +/- 1 a-b \\u0416"), ("latin-1", "2 ± 1 a-b \\u0416"), ("utf-8", "2 ± 1 a–b Ж")],
)
def test_a_symbol_that_an_encoding_lacks_is_replaced(
    encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        written = io.BytesIO()
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding=encoding))
        replace_what_cannot_be_encoded()
        print("2 ± 1 a–b Ж", file=getattr(sys, name), flush=True, end="")
        assert written.getvalue().decode(encoding) == expected


def test_a_file_name_that_is_no_utf_8_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    replace_what_cannot_be_encoded()
    print(b"na\xefve".decode("utf-8", "surrogateescape"), flush=True)
    assert written.getvalue() == b"na\\udcefve\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_live_display_reaches_the_terminal_behind_its_own_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich replaces `sys.stderr` by a proxy that prints to the console, which must not print to the proxy again."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    console = message_console()
    assert console.is_terminal
    with activity("evaluating", 10, console=console) as show:
        show(5)
        print("a remark", file=sys.stderr)
        console.print("another one")
    assert sys.stderr is terminal
    assert all(text in terminal.getvalue() for text in ("evaluating", "a remark", "another one"))
