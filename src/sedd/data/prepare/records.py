"""One record of a FASTA file: its layout undone, its letters untouched, and each repair reported.

The parser is our own because the ready-made ones give no line numbers, stop at a header with an accent (which UniProt
descriptions do contain), and read a byte order mark or a NUL as part of the data.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sedd.errors import DataError

LONGEST_RECORD = 64 << 20
"""Bytes; the longest known proteins have fewer than 50,000 residues. Bounds memory on files that are not FASTA."""
BOM = codecs.BOM_UTF8
_WHITESPACE = b" \t\n\r\v\f"


class Record(NamedTuple):
    """One sequence of a file, before the residue policy is applied."""

    name: str
    sequence: bytes | str
    line: int
    """Line of the header, from 1."""
    repairs: tuple[str, ...] = ()
    """Kinds of layout errors that were repaired; `sedd.data.prepare.tally.REPAIRS` describes them."""

    def location(self, source: str) -> str:
        """`file:line id`."""
        return f"{source}:{self.line} {self.name}".rstrip()


def parse_record(path: Path, part: bytes, line: int, newline: bytes, repairs: tuple[str, ...] = ()) -> Iterator[Record]:
    """The records in the bytes between two headers: one, or more where a header follows a sequence on its line.

    Args:
        path: the file, for messages.
        part: header without its `>`, then lines of residues.
        line: of the header.
        newline: line end of the file, LF or CR.
        repairs: made before this record.

    Raises:
        DataError: with file and line, for a header with a bare CR and for a record longer than `LONGEST_RECORD`.
    """
    record = _parse_clean(part, line) if newline == b"\n" and not repairs else None
    if record is not None:
        yield record
    else:
        yield from _parse_dirty(path, part, line, newline, repairs)
    if len(part) > LONGEST_RECORD:
        last = line + part.count(newline) + 1
        advice = "is this a file of proteins? Cut a genome into parts, such as with `seqkit sliding`"
        raise DataError(f"a record of {len(part):,} bytes; {advice}", file=path, line=last)


def _parse_clean(part: bytes, line: int) -> Record | None:
    """The record, if nothing but line feeds has to be removed from it."""
    header, feed, body = part.partition(b"\n")
    sequence = body.translate(None, _WHITESPACE)
    if (
        len(sequence) + part.count(b"\n") - len(feed) != len(body)
        or b"\n\n" in body
        or b"\r" in header
        or b">" in sequence
        or b";" in sequence
    ):
        return None
    name = header.split(None, 1)[0] if header[:1] > b" " else b""
    if not name or b"\x01" in name or not name.isascii():
        return None
    return Record(name.decode("ascii"), sequence, line)


def _parse_dirty(path: Path, part: bytes, line: int, newline: bytes, repairs: tuple[str, ...]) -> Iterator[Record]:
    begin, end = 0, len(part)
    while begin <= end:
        first_line = part.find(newline, begin)
        first_line = end if first_line < 0 else first_line
        header = part[begin:first_line]
        if b"\r" in header[:-1]:
            raise DataError("a bare carriage return in a header; the file mixes line ends", file=path, line=line)
        # Concatenating files without a final newline puts the next header behind a sequence.
        glued = part.find(b">", first_line + 1)
        body = part[first_line + 1 : end if glued < 0 else glued]
        sequence, own = _repaired_sequence(body, newline)
        if header.endswith(b"\r") and "carriage_returns" not in own:
            own = ("carriage_returns", *own)
        yield Record(_name(header), sequence, line, (*repairs, *own))
        if glued < 0:
            return
        begin, line, repairs = glued + 1, line + 1 + body.count(newline), ("glued_header",)


def _repaired_sequence(body: bytes, newline: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The residues in the lines of a record, and the repairs that were needed to get them."""
    repairs = []
    if newline == b"\r" or b"\r" in body:
        repairs.append("carriage_returns")
    if body.endswith(BOM):  # files with a byte order mark were concatenated: it precedes the next header
        body = body.removesuffix(BOM)
        repairs.append("byte_order_mark")
    lines = body.split(newline)
    if any(not line.strip() for line in lines[:-1]):
        repairs.append("blank_lines")
    if any(line.lstrip().startswith(b";") for line in lines):
        repairs.append("comments")
        lines = [line for line in lines if not line.lstrip().startswith(b";")]
    sequence = b"".join(lines)
    residues = sequence.translate(None, _WHITESPACE)
    if len(sequence.replace(b"\r", b"")) != len(residues):
        repairs.append("spaces")
    return residues, tuple(repairs)


def _name(header: bytes) -> str:
    """The first word; NCBI joins the headers of identical sequences with Ctrl-A."""
    words = header.split(b"\x01", 1)[0].split(None, 1)
    return words[0].decode("utf-8", "backslashreplace") if words else ""
