"""The text of a log file, plain or compressed, as numbered lines."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from sedd.data.prepare.bytestream import ByteStream
from sedd.errors import DataError

Line = tuple[int, str]
"""Number of a line, from 1, and its text without the line break."""
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MOST_BYTES = 1 << 30
"""Of a log."""
BINARY = "a binary file, not a log that can be read; export the log as CSV"


def read_text(file: Path) -> str:
    """The text of a file: UTF-8, UTF-16 with a byte order mark, or else Latin-1, whose digits are the same.

    Raises:
        DataError: if the file cannot be read, is damaged, or is not text.
    """
    if not file.exists():
        raise DataError("no such file", file=file)
    raw = ByteStream(file).content(most=MOST_BYTES)
    if raw.startswith(_UTF16):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError as error:
            raise DataError(f"cannot be read as UTF-16 text ({error})", file=file) from None
    raw = raw.rstrip(b"\0")  # a crash of the machine may leave NUL bytes at the end
    if b"\0" in raw:
        raise DataError(BINARY, file=file)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        if any(byte < 9 for byte in raw[:4096]):
            raise DataError(BINARY, file=file) from None
        return raw.decode("latin-1")


def numbered(text: str) -> list[Line]:
    """Lines with their numbers, without colours of a terminal. A progress bar's carriage return ends a line, too, but
    is not counted as one."""
    found: list[Line] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n") if "\n" in text else text.split("\r"), 1):
        for part in _LINE_BREAK.split(line):
            found.append((number, _COLOURS.sub("", part) if "\x1b" in part else part))
    return found
