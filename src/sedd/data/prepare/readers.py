"""Records of a FASTA file, or chunks of a text, as a stream: constant memory, and every record knows its line.

The parser is our own because the ready-made ones give no line numbers, stop at a header with an accent (which UniProt
descriptions do contain), and read a byte order mark or a NUL as part of the data.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sedd.data.prepare.bytestream import ByteStream, DamagedError
from sedd.errors import DataError

ENOUGH = 1 << 16
"""Bytes to judge line ends by."""
CHUNK = 1 << 20
"""Bytes that are parsed together, about: small enough for a processor's cache, large enough to send elsewhere."""
LONGEST_RECORD = 64 << 20
"""Bytes; the longest known proteins have fewer than 50,000 residues. Bounds memory on files that are not FASTA."""
_WHITESPACE = b" \t\n\r\v\f"
_BOM = codecs.BOM_UTF8


class Position(NamedTuple):
    """Where a record starts: enough to continue reading there."""

    offset: int = 0
    """FASTA: the byte of its `>` in the decompressed file; text: the number of chunks before it."""
    line: int = 1

    def after(self, data: bytes, newline: bytes) -> Position:
        """FASTA: where the record behind `data` and a separator starts."""
        return Position(self.offset + len(data) + 2, self.line + data.count(newline) + 1)


START = Position()


class Record(NamedTuple):
    """One sequence as it stands in the file, layout undone, letters untouched."""

    name: str
    sequence: bytes | str
    line: int
    offset: int
    repairs: tuple[str, ...] = ()
    """Kinds of layout trouble that reading undid; `sedd.data.prepare.tally` describes them."""

    @property
    def start(self) -> Position:
        """Where to start reading to get this record again."""
        return Position(self.offset, self.line)


class Chunk(NamedTuple):
    """Some whole records of a FASTA file, from behind the `>` of the first to before the separator of the next."""

    data: bytes
    start: Position
    newline: bytes
    repairs: tuple[str, ...]
    """What had to be undone before the first record."""
    done: int
    """Raw bytes of the file read so far."""

    def parts(self) -> list[bytes]:
        """What stands between separators."""
        return self.data.split(self.newline + b">")


class _First(NamedTuple):
    """How a file begins: what follows its first `>`, where that is, its line end, and what had to be undone."""

    head: bytes
    begin: Position
    newline: bytes
    repairs: tuple[str, ...]


def read_fasta(stream: ByteStream, start: Position = START) -> Iterator[Record]:
    """Records from `start` on.

    Raises:
        DataError: with file and line, for anything that is not FASTA or is damaged.
    """
    for chunk in read_chunks(stream, start):
        position, repairs = chunk.start, chunk.repairs
        for part in chunk.parts():
            yield from read_part(stream.path, part, position, chunk.newline, repairs)
            position, repairs = position.after(part, chunk.newline), ()


def read_chunks(stream: ByteStream, start: Position = START) -> Iterator[Chunk]:
    """The file from `start` on, in chunks of whole records; where it is damaged, what is whole before that comes first.

    Raises:
        DataError: as `read_fasta`, for what can be seen without taking records apart.
    """
    blocks = _guarded(stream, start)
    try:
        head, position, newline, repairs = _find_first(stream, blocks, start)
        for data in _whole_records(head, blocks, newline + b">"):
            yield Chunk(data, position, newline, repairs, stream.done)
            position, repairs = position.after(data, newline), ()
    finally:
        blocks.close()


def read_part(
    path: Path, part: bytes, start: Position, newline: bytes, repairs: tuple[str, ...] = ()
) -> Iterator[Record]:
    """The records of what stands between two separators: one, or more where a header is glued to a sequence."""
    record = _tidy(part, part.count(b"\n"), start) if newline == b"\n" and not repairs else None
    if record is not None:
        yield record
    else:
        yield from _untidy(path, part, start, newline, repairs)
    if len(part) > LONGEST_RECORD:
        line = start.after(part, newline).line
        raise DataError(f"{path}:{line}: a record of {len(part):,} bytes; is this a file of proteins?")


def _guarded(stream: ByteStream, start: Position) -> Generator[bytes]:
    """Blocks of the file; damage and NUL bytes become errors that name the line."""
    line = start.line
    blocks = stream.blocks(start.offset)
    while True:
        try:
            block = next(blocks, b"")
        except DamagedError as damage:
            raise DataError(f"{stream.path}:{line}: {damage}") from damage
        if not block:
            return
        _refuse_utf16(stream, block, line)
        if (at := block.find(b"\0")) >= 0:
            line += block.count(b"\n", 0, at)
            raise DataError(
                f"{stream.path}:{line}: a NUL byte; the file is damaged, binary or UTF-16, and not readable as text"
            )
        yield block
        line += block.count(b"\n")


def _refuse_utf16(stream: ByteStream, block: bytes, line: int) -> None:
    if line == 1 and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(
            f"{stream.path}:1: the file is UTF-16; convert it: `iconv -f UTF-16 -t UTF-8 {stream.path.name} > NEW`"
        )


def _find_first(stream: ByteStream, blocks: Iterator[bytes], start: Position) -> _First:
    """Read until the first `>`."""
    data, more = b"", True
    while more:
        block = next(blocks, b"")
        data, more = data + block, bool(block)
        if len(data) < ENOUGH and more:
            continue
        if found := _scan(stream, data, start):
            return found
    what = "holds only blank lines and comments" if data else "is empty"
    line = max(1, start.line + data.count(b"\n") - 1)
    raise DataError(f"{stream.path}:{line}: the file {what}; expected FASTA records")


def _scan(stream: ByteStream, data: bytes, start: Position) -> _First | None:
    """Skip blank and comment lines; None where `data` has nothing else."""
    repairs = []
    at, line, newline = 0, start.line, _line_end(data)
    if start.offset == 0 and data.startswith(_BOM):
        at = len(_BOM)
        repairs.append("byte_order_mark")
    while at < len(data):
        end = data.find(newline, at)
        end = len(data) if end < 0 else end
        text = data[at:end].strip()
        if text.startswith(b">"):
            at = data.index(b">", at)
            return _First(data[at + 1 :], Position(start.offset + at, line), newline, tuple(repairs))
        if text.startswith(b";"):
            repairs.append("comments")
        elif text:
            raise DataError(
                f"{stream.path}:{line}: expected a FASTA header that starts with '>', got {_shown(text)}. "
                "For plain text set data.alphabet=text"
            )
        at, line = end + 1, line + 1
    return None


def _line_end(data: bytes) -> bytes:
    """CR in old Mac files, which have no LF at all; else LF, and a CR before it is white space."""
    return b"\r" if b"\r" in data and b"\n" not in data else b"\n"


def _whole_records(pending: bytes, blocks: Iterator[bytes], separator: bytes) -> Iterator[bytes]:
    """The data in stretches of about `CHUNK` bytes, cut at separators, which are left out."""
    while True:
        at = 0
        while (cut := pending.find(separator, at + CHUNK)) >= 0:
            yield pending[at:cut]
            at = cut + len(separator)
        pending = pending[at:]
        if len(pending) > LONGEST_RECORD and len(pending) - pending.rfind(separator) > LONGEST_RECORD:
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


def _tidy(part: bytes, lines: int, start: Position) -> Record | None:
    """The record of `part` (header without `>`, then lines) if nothing but line feeds has to be undone."""
    header, feed, body = part.partition(b"\n")
    sequence = body.translate(None, _WHITESPACE)
    if (
        len(sequence) + lines - len(feed) != len(body)
        or b"\n\n" in body
        or b"\r" in header
        or b">" in sequence
        or b";" in sequence
    ):
        return None
    name = header.split(None, 1)[0] if header[:1] > b" " else b""
    if not name or b"\x01" in name or not name.isascii():
        return None
    return Record(name.decode("ascii"), sequence, start.line, start.offset)


def _untidy(path: Path, part: bytes, start: Position, newline: bytes, repairs: tuple[str, ...]) -> Iterator[Record]:
    """The records of `part`, whatever is in it; more than one where a header is glued to a sequence."""
    header, _, body = part.partition(newline)
    if b"\r" in header[:-1]:
        raise DataError(f"{path}:{start.line}: a bare carriage return in a header; the file mixes line ends")
    body, glued, rest = body.partition(b">")
    sequence, found = _joined(body, newline)
    if header.endswith(b"\r") and "carriage_returns" not in found:
        found = ("carriage_returns", *found)
    yield Record(_name(header), sequence, start.line, start.offset, (*repairs, *found))
    if glued:
        # Concatenating files without a final newline glues the next header to a sequence.
        before = len(header) + len(newline) + len(body) + 1
        after = Position(start.offset + before, start.line + 1 + body.count(newline))
        yield from _untidy(path, rest, after, newline, ("glued_header",))


def _joined(body: bytes, newline: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Residues of a body, and what had to be undone to get them."""
    found = []
    if newline == b"\r" or b"\r" in body:
        found.append("carriage_returns")
    if body.endswith(_BOM):  # files with a mark, concatenated: it stands before the next header
        body = body.removesuffix(_BOM)
        found.append("byte_order_mark")
    lines = body.split(newline)
    if any(not line.strip() for line in lines[:-1]):
        found.append("blank_lines")
    if any(line.lstrip().startswith(b";") for line in lines):
        found.append("comments")
        lines = [line for line in lines if not line.lstrip().startswith(b";")]
    sequence = b"".join(lines)
    residues = sequence.translate(None, _WHITESPACE)
    if len(sequence.replace(b"\r", b"")) != len(residues):
        found.append("spaces")
    return residues, tuple(found)


def _name(header: bytes) -> str:
    """The first word; NCBI joins the headers of identical sequences with Ctrl-A."""
    words = header.split(b"\x01", 1)[0].split(None, 1)
    return words[0].decode("utf-8", "backslashreplace") if words else ""


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "backslashreplace")) + ("..." if len(text) > 40 else "")


def read_text(stream: ByteStream, *, chunk_length: int, start: Position = START) -> Iterator[Record]:
    """A text in consecutive chunks of `chunk_length` characters, the last one shorter; line ends become `\\n`."""
    pending, number, line = "", 0, 1
    repairs: tuple[str, ...] = ()
    for text, found in read_characters(stream):
        repairs += found
        pending += text
        whole = len(pending) // chunk_length * chunk_length
        for at in range(0, whole, chunk_length):
            chunk = pending[at : at + chunk_length]
            if number >= start.offset:
                yield Record(f"chunk_{number}", chunk, line, number, repairs)
            repairs = ()
            number, line = number + 1, line + chunk.count("\n")
        pending = pending[whole:]
    if pending and number >= start.offset:
        yield Record(f"chunk_{number}", pending, line, number, repairs)


def read_characters(stream: ByteStream) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The characters of a text in blocks, each with the repairs first needed in it.

    Raises:
        DataError: with file and line, where the text is damaged or not UTF-8.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    line, seen, first = 1, False, True
    for block in chain(_guarded(stream, START), [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            raise DataError(
                f"{stream.path}:{line}: not UTF-8 (byte {error.object[error.start]:#04x}); "
                "convert it, for example `iconv -f LATIN1 -t UTF-8`"
            ) from error
        found = ("byte_order_mark",) if first and block.startswith(_BOM) else ()
        if not seen and b"\r" in block:
            seen, found = True, (*found, "carriage_returns")
        first = False
        line += text.count("\n")
        if text or found:
            yield text, found
    if not stream.done:
        raise DataError(f"{stream.path}:1: the file is empty; expected text")
