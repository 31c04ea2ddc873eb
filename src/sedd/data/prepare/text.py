"""A text file as a stream: its blocks of bytes, its characters, and its chunks of equal length."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from pathlib import Path

from sedd.data.alphabet import MAX_SYMBOLS
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.records import BOM, LONGEST_RECORD, Record
from sedd.data.prepare.tally import count
from sedd.errors import DataError

MOST_NUL_BYTES = 1 << 16
"""At the end of a block, as the end of a file; more of them are damage."""
_END_OF_ENTRY = re.compile(rb"(?<=\n)\0+(?=>)")


def text_blocks(stream: ByteStream) -> Generator[bytes]:
    """Blocks of a file without NUL bytes.

    NUL bytes at the end of the file, and between a line end and a `>`, are removed and counted: they end the entries of
    an MMseqs2 database, and ColabFold leaves them in its alignments. Raises DataError with file and line, if the file
    is UTF-16, has a NUL byte elsewhere, or its compressed data are damaged.
    """
    held, after_line_end, empty = b"", True, True
    for block in stream.blocks():
        data, line = held + block, stream.line - held.count(b"\n")
        if line == 1 and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(
                f"the file is UTF-16; convert it: `iconv -f UTF-16 -t UTF-8 {stream.path.name} > NEW`",
                file=stream.path,
                line=1,
            )
        held = b""
        if b"\0" in data:
            data, held = _before_last_nul_bytes(data)
            data = _without_ends_of_entries(stream, data, line, after_line_end)
        if data:
            yield data
            after_line_end, empty = data.endswith(b"\n"), False
    if held and empty:
        raise DataError("only NUL bytes; the file is damaged, copy or download it again", file=stream.path, line=1)
    if held:
        _count_nul_bytes(stream, held.count(b"\0"), stream.line)
        yield held.replace(b"\0", b"")


def _before_last_nul_bytes(data: bytes) -> tuple[bytes, bytes]:
    """The data, and the NUL bytes and line ends after them: whether those end the file shows the next block."""
    end = len(data.rstrip(b"\0\r\n"))
    first = data.find(b"\0", end)
    at = len(data) if first < 0 or len(data) - first > MOST_NUL_BYTES else first
    return data[:at], data[at:]


def _without_ends_of_entries(stream: ByteStream, data: bytes, line: int, after_line_end: bool) -> bytes:
    """`data`, which begins in `line`, without the NUL bytes before a `>` that begins a line."""
    start = b"\n" if after_line_end else b" "
    text = _END_OF_ENTRY.sub(b"", start + data)[1:]
    if (at := text.find(b"\0")) >= 0:
        raise DataError(
            "a NUL byte; the file is damaged, binary or UTF-16, and not readable as text",
            file=stream.path,
            line=line + text.count(b"\n", 0, at),
        )
    if len(text) < len(data):
        _count_nul_bytes(stream, len(data) - len(text), line + data.count(b"\n", 0, data.index(b"\0")))
    return text


def _count_nul_bytes(stream: ByteStream, number: int, line: int) -> None:
    count(stream.repaired, "nul_bytes", f"{stream.path.name}:{line}", number=number)


def text_lines(stream: ByteStream) -> Iterator[tuple[int, str]]:
    """The lines of a text with their numbers, from 1, without line ends. Repairs of the layout are counted in
    `stream.repaired`. Raises DataError as `read_characters`, and for a line longer than `LONGEST_RECORD`."""
    pending, number = "", 1
    for text, repairs in read_characters(stream):
        for kind in repairs:
            count(stream.repaired, kind, f"{stream.path.name}:{number}")
        *lines, pending = (pending + text).split("\n")
        for line in lines:
            yield number, line
            number += 1
        if len(pending) > LONGEST_RECORD:
            raise DataError(f"a line of {len(pending):,} characters; expected sequences", file=stream.path, line=number)
    if pending:
        yield number, pending


def read_text(stream: ByteStream, *, chunk_length: int) -> Iterator[Record]:
    """A text in consecutive chunks of `chunk_length` characters, the last one shorter; line ends become `\\n`."""
    pending, number, line = "", 0, 1
    repairs: tuple[str, ...] = ()
    for text, own in read_characters(stream):
        repairs += own
        pending += text
        complete = len(pending) // chunk_length * chunk_length
        for at in range(0, complete, chunk_length):
            chunk = pending[at : at + chunk_length]
            yield Record(f"chunk_{number}", chunk, line, repairs)
            repairs = ()
            number, line = number + 1, line + chunk.count("\n")
        pending = pending[complete:]
    if pending:
        yield Record(f"chunk_{number}", pending, line, repairs)


def read_ids(stream: ByteStream) -> Iterator[Record]:
    """The sequences of a file of token ids: one on each line, or on the lines after each header `>name`.

    A sequence is text with a space between ids, so that equal sequences are equal texts. Raises DataError as
    `text_lines`.
    """
    name, start, pieces = "", 0, list[str]()
    number = 0
    for line, text in text_lines(stream):
        if text.startswith(">"):
            if name:
                yield Record(name, " ".join(" ".join(pieces).split()), start)
            number += 1
            name, start, pieces = (text[1:].split() or [f"sequence_{number}"])[0], line, []
        elif name:
            pieces.append(text)
        elif text.strip():
            number += 1
            yield Record(f"sequence_{number}", " ".join(text.split()), line)
    if name:
        yield Record(name, " ".join(" ".join(pieces).split()), start)


def read_text_lines(stream: ByteStream) -> Iterator[Record]:
    """The lines of a text that are not blank, as they are."""
    for number, line in text_lines(stream):
        if line.strip():
            yield Record(f"line_{number}", line, number)


def read_words(stream: ByteStream) -> Iterator[Record]:
    """`read_ids` for symbols of any kind: a sequence is UTF-8 with a space in place of white space."""
    for record in read_ids(stream):
        yield record._replace(sequence=str(record.sequence).encode())


def largest_id(records: Iterable[Record], path: Path) -> int:
    """The largest token id in the records of a file. Raises DataError if something is no id or there is none."""
    largest = -1
    for record in records:
        for word in str(record.sequence).split():
            if not (word.isascii() and word.isdecimal()) or len(word) > len(str(MAX_SYMBOLS)):
                raise DataError(
                    f"{word[:40]!r} is no token id; expected numbers from 0 to {MAX_SYMBOLS - 1} separated by spaces",
                    file=path,
                    line=record.line,
                )
            largest = max(largest, int(word))
    if largest < 0:
        raise DataError("no token ids; expected numbers separated by spaces", file=path)
    return largest


def read_characters(stream: ByteStream) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The characters of a text in blocks, each with the repairs that were first needed in it. Raises DataError with
    file and line, if the text is damaged, not UTF-8 or empty."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    line, first, carriage_returns = 1, True, False
    for block in chain(text_blocks(stream), [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise DataError(
                f"not UTF-8 (byte {error.object[error.start]:#04x}); convert it, for example "
                "`iconv -f LATIN1 -t UTF-8`",
                file=stream.path,
                line=line + error.object.count(b"\n", 0, error.start),
            ) from error
        repairs = ("byte_order_mark",) if first and block.startswith(BOM) else ()
        if not carriage_returns and b"\r" in block:
            carriage_returns, repairs = True, (*repairs, "carriage_returns")
        first = False
        line += text.count("\n")
        if text or repairs:
            yield text, repairs
    if not stream.done:
        raise DataError("the file is empty; expected text", file=stream.path, line=1)
