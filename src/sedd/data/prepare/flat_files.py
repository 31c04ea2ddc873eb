"""Formats of sequences other than FASTA, read line by line: Stockholm, PIR, GenBank, UniProtKB text, bare lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.records import Record
from sedd.data.prepare.text import text_lines
from sedd.errors import DataError

_NO_RESIDUES = {ord(character): None for character in "0123456789 \t"}


def read_lines(stream: ByteStream) -> Iterator[Record]:
    """One sequence per line; blank lines and comments are skipped. The name of a sequence is that of its line."""
    for number, line in text_lines(stream):
        text = line.strip()
        if text and not text.startswith(("#", ";")):
            yield _record(f"line_{number}", text, number)


def read_symbols(stream: ByteStream) -> Iterator[Record]:
    """One sequence per line, of any characters but white space; blank lines are skipped."""
    for number, line in text_lines(stream):
        if words := line.split():
            yield Record(f"line_{number}", "".join(words).encode("utf-8", "surrogateescape"), number)


def read_stockholm(stream: ByteStream) -> Iterator[Record]:
    """The aligned sequences of Stockholm files, which may be interleaved; lines of annotation (`#=`) are skipped.

    Raises DataError with file and line, if an alignment has no end (`//`) or a line is not a name and residues.
    """
    rows: dict[str, tuple[int, list[str]]] = {}
    number = 0
    for number, line in text_lines(stream):
        words = line.split()
        if words == ["//"]:
            yield from _joined(rows)
            rows = {}
        elif words and not line.startswith("#"):
            if len(words) != 2:
                message = f"expected a name and aligned residues, got {line[:40]!r}"
                raise DataError(message, file=stream.path, line=number)
            rows.setdefault(words[0], (number, []))[1].append(words[1])
    if rows:
        message = "the alignment has no end (`//`); the file is truncated, copy or download it again"
        raise DataError(message, file=stream.path, line=number)


def _joined(rows: dict[str, tuple[int, list[str]]]) -> Iterator[Record]:
    for name, (number, pieces) in rows.items():
        yield _record(name, "".join(pieces), number)


def read_pir(stream: ByteStream) -> Iterator[Record]:
    """PIR (NBRF): `>P1;NAME`, a line of description, residues that end with `*`; what follows the `*` is skipped."""
    name, start, pieces, wanted = "", 0, list[str](), False
    for number, line in text_lines(stream):
        if line.startswith(">"):
            if start:
                yield _record(name, "".join(pieces), start)
            name, start, pieces, wanted = line[1:].partition(";")[2].split(" ")[0].strip(), number, [], True
        elif start and number > start + 1 and wanted:
            residues, end, _ = line.partition("*")
            pieces.append(residues)
            wanted = not end
    if start:
        yield _record(name, "".join(pieces), start)


def read_genbank(stream: ByteStream) -> Iterator[Record]:
    """Entries of GenBank and GenPept: residues after `ORIGIN`; the name is the version, or that of `LOCUS`."""
    return _entries(stream, begin="LOCUS", sequence="ORIGIN", name=_genbank_name)


def read_swissprot(stream: ByteStream) -> Iterator[Record]:
    """Entries of UniProtKB and EMBL: residues after `SQ`; the name is the first accession, or that of `ID`."""
    return _entries(stream, begin="ID", sequence="SQ", name=_swissprot_name)


def _genbank_name(line: str) -> str | None:
    words = line.split()
    return words[1] if len(words) > 1 and words[0] in ("LOCUS", "VERSION") else None


def _swissprot_name(line: str) -> str | None:
    words = line.replace(";", " ").split()
    return words[1] if len(words) > 1 and words[0] in ("ID", "AC") else None


def _entries(stream: ByteStream, *, begin: str, sequence: str, name: Callable[[str], str | None]) -> Iterator[Record]:
    """Entries that end with `//`. Raises DataError with file and line, if the last one has no end."""
    found, start, pieces, in_sequence, named = "", 0, list[str](), False, 0
    for number, line in text_lines(stream):
        if line.startswith("//"):
            if start:
                yield _record(found, "".join(pieces), start)
            found, start, pieces, in_sequence, named = "", 0, [], False, 0
        elif in_sequence:
            pieces.append(line.translate(_NO_RESIDUES))
        elif line.startswith(begin) and not start:
            start, found = number, name(line) or ""
        elif line.startswith(sequence):
            in_sequence = True
        elif named < 1 and (other := name(line)):
            found, named = other, named + 1
    if start:
        message = "the last entry has no end (`//`); the file is truncated, copy or download it again"
        raise DataError(message, file=stream.path, line=start)


def _record(name: str, residues: str, line: int) -> Record:
    """Capital letters are residues as such in all of these formats but GenBank, which writes lower case."""
    return Record(name, residues.translate(_NO_RESIDUES).encode("utf-8", "surrogateescape"), line)
