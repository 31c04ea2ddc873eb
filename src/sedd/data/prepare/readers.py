"""A FASTA file as a stream of records, or of chunks of complete records for other processes, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sedd.data.prepare import records
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.records import BOM, Record, parse_record
from sedd.data.prepare.text import text_blocks
from sedd.errors import DataError

ENOUGH = 1 << 16
"""Bytes from which the line end of a file is recognized."""
CHUNK = 1 << 20
"""Bytes in a chunk, about: few enough for a processor's cache, enough to be worth sending to another process."""


class Chunk(NamedTuple):
    """Complete records of a FASTA file, from after the `>` of the first to before the separator of the next."""

    data: bytes
    line: int
    """Line of the first header."""
    newline: bytes
    repairs: tuple[str, ...]
    """Repairs that were made before the first record."""
    done: int
    """Raw bytes of the file read so far."""

    def parts(self) -> list[bytes]:
        """The bytes between separators (a line end and `>`)."""
        return self.data.split(self.newline + b">")


_Start = tuple[bytes, int, bytes, tuple[str, ...]]
"""The beginning of a file: the bytes after its first `>`, the line of that, the line end, and repairs."""


def read_fasta(stream: ByteStream) -> Iterator[Record]:
    """The records of a FASTA file. Raises DataError with file and line, if the file is not FASTA or is damaged."""
    for chunk in read_chunks(stream):
        line, repairs = chunk.line, chunk.repairs
        for part in chunk.parts():
            yield from parse_record(stream.path, part, line, chunk.newline, repairs)
            line, repairs = line + part.count(chunk.newline) + 1, ()


def read_chunks(stream: ByteStream) -> Iterator[Chunk]:
    """A FASTA file in chunks of complete records. If it is damaged, the records before the damage come first. Raises
    DataError with file and line, for what can be seen without parsing records."""
    blocks = text_blocks(stream)
    try:
        data, line, newline, repairs = _find_first_header(stream, blocks)
        for chunk in _complete_records(data, blocks, newline + b">"):
            yield Chunk(chunk, line, newline, repairs, stream.done)
            line, repairs = line + chunk.count(newline) + 1, ()
    finally:
        blocks.close()


def _find_first_header(stream: ByteStream, blocks: Iterator[bytes]) -> _Start:
    """Skip blank lines and comments. What was skipped is not kept: a preamble may be of any length."""
    data, line, repairs, newline = b"", 1, list[str](), b""
    empty = more = True
    while more:
        block = next(blocks, b"")
        data, empty, more = data + block, empty and not block, bool(block)
        if len(data) < ENOUGH and more:
            continue
        if not newline:
            # CR in old Mac files, which have no LF at all; else LF, and a CR before it is white space.
            newline = b"\r" if b"\r" in data and b"\n" not in data else b"\n"
            if data.startswith(BOM):
                data = data.removeprefix(BOM)
                repairs.append("byte_order_mark")
        data, skipped = _skip_to_header(stream, data, line, newline, complete=not more)
        repairs += ["comments"] * skipped.comments
        line += skipped.lines
        if data.startswith(b">"):
            return data[1:], line, newline, tuple(repairs)
        if len(data) > records.LONGEST_RECORD:
            raise DataError(f"a line of {len(data):,} bytes; expected FASTA records", file=stream.path, line=line)
    content = "is empty" if empty else "holds only blank lines and comments"
    raise DataError(f"the file {content}; expected FASTA records", file=stream.path, line=max(1, line - 1))


class _Skipped(NamedTuple):
    lines: int
    comments: int


def _skip_to_header(
    stream: ByteStream, data: bytes, line: int, newline: bytes, *, complete: bool
) -> tuple[bytes, _Skipped]:
    """What follows the blank lines and comments that `data` begins with: a header, or a line that is not complete."""
    at, lines, comments = 0, 0, 0
    while at < len(data):
        end = data.find(newline, at)
        if end < 0 and not complete:
            break
        end = len(data) if end < 0 else end
        text = data[at:end].strip()
        if text.startswith(b">"):
            return data[data.index(b">", at) :], _Skipped(lines, comments)
        if text.startswith((b";", b"#")):
            comments += 1
        elif text:
            raise DataError(
                f"expected a FASTA header that starts with '>', got {_shown(text)}. For plain text set "
                "data.alphabet=text",
                file=stream.path,
                line=line + lines,
            )
        at, lines = end + 1, lines + 1
    return data[at:], _Skipped(lines, comments)


def _complete_records(pending: bytes, blocks: Iterator[bytes], separator: bytes) -> Iterator[bytes]:
    """The data in chunks of about `CHUNK` bytes, cut at separators, which are left out."""
    while True:
        at = 0
        while (cut := pending.find(separator, at + CHUNK)) >= 0:
            yield pending[at:cut]
            at = cut + len(separator)
        pending = pending[at:]
        longest = records.LONGEST_RECORD
        if len(pending) > longest and len(pending) - pending.rfind(separator) > longest:
            break
        try:
            block = next(blocks, b"")
        except DataError:
            if (cut := pending.rfind(separator)) >= 0:
                yield pending[:cut]
            raise
        if not block:
            break
        pending += block
    yield pending


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "backslashreplace")) + ("..." if len(text) > 40 else "")
