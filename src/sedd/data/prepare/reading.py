"""One file of sequences as records, whatever its format, which is recognised by the content, or refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sedd.data.alphabet import Alphabet
from sedd.data.prepare import flat_files, formats
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.readers import read_fasta
from sedd.data.prepare.records import Record
from sedd.data.prepare.tables import columns_of, read_table
from sedd.data.prepare.text import read_ids, read_text_lines, read_words
from sedd.errors import DataError

_READERS: dict[str, Callable[[ByteStream], Iterator[Record]]] = {
    "fasta": read_fasta,
    "pir": flat_files.read_pir,
    "stockholm": flat_files.read_stockholm,
    "genbank": flat_files.read_genbank,
    "swissprot": flat_files.read_swissprot,
    formats.LINES: flat_files.read_lines,
    formats.SYMBOLS: flat_files.read_symbols,
    formats.WORDS: read_words,
    formats.TEXT: read_fasta,  # it says what is wrong, with the line
}


@dataclass(frozen=True)
class SequenceFile:
    """A file of sequences, after its format was recognized."""

    path: Path
    format: str
    """A key of `formats.RECORDS` or `formats.TABLES`, or `formats.LINES`, `SYMBOLS`, `WORDS` or `TEXT`."""
    alignment: bool
    """Whether a FASTA file is an alignment."""
    column: str | None
    """Of a table: the column of sequences."""
    words: bool = False
    """Whether white space separates the symbols of a sequence."""

    @staticmethod
    def of(
        path: Path, *, column: str | None = None, lines: bool = False, alphabet: Alphabet | None = None
    ) -> SequenceFile:
        """Recognize the format of a file.

        Args:
            path: the file, plain or compressed.
            column: title or number of the column of sequences, where the file is a table.
            lines: whether a file of bare residues is one sequence per line.
            alphabet: the symbols of its sequences; by default letters, gaps and stops.

        Raises:
            DataError: if the format is not read, or `column` or `lines` is missing for it; with what to do.
        """
        head = ByteStream(path).head(formats.HEAD)
        found = formats.recognized(head)
        words = alphabet is not None and bool(alphabet.separator)
        if words:
            found = _of_words(found, column)
        elif alphabet is not None and alphabet.any_characters:
            found = _of_symbols(found, column, lines)
        if column is not None and found == formats.LINES:
            found = "csv"  # a table of one column
        if found in formats.REFUSED:
            title, remedy = formats.REFUSED[found]
            raise DataError(f"this is {title}; {remedy}", file=path)
        if found in formats.TABLES and column is None:
            raise _column_needed(path, found)
        if found == formats.LINES and not lines:
            raise _lines_needed(path, head)
        return SequenceFile(path, found, found == "fasta" and formats.is_alignment(head), column, words)

    @property
    def in_chunks(self) -> bool:
        """Whether it is read by `readers.read_chunks`: FASTA, or an error."""
        return self.format in ("fasta", formats.TEXT)

    def read(self) -> Iterator[Record]:
        """The records of the file. Raises DataError with file and line, if it is damaged."""
        return self.records(ByteStream(self.path))

    def records(self, stream: ByteStream) -> Iterator[Record]:
        """The records of the file, as `stream` reads it. Raises DataError with file and line, if it is damaged."""
        if self.format in formats.TABLES:
            return read_table(stream, self.format, self.column, " " if self.words else "")
        return _READERS[self.format](stream)


def token_records(stream: ByteStream, column: str | None, *, text: bool = False) -> Iterator[Record]:
    """The sequences of a file of token ids, as text with a space between ids; with `text` the texts of a tokenizer.

    Without `column`, a sequence is a line, of ids also what follows a FASTA header. Raises DataError with file and
    line, if the file cannot be read, or a table whose column has to be named.
    """
    found = formats.recognized(ByteStream(stream.path).head(formats.HEAD))
    if column is not None:
        kind = found if found in formats.TABLES else "csv"  # of one column
        table = read_table(stream, kind, column, None if text else " ")
        return (record._replace(sequence=bytes(record.sequence).decode()) for record in table)  # type: ignore[arg-type]
    if found in ("parquet", "jsonl"):
        raise _column_needed(stream.path, found)
    return read_text_lines(stream) if text else read_ids(stream)


_CERTAIN = ("parquet", "tar", "lfs", "html", "xml")
"""Formats that no sequence looks like, whatever its symbols."""


def _of_words(found: str, column: str | None) -> str:
    """The format of a file of symbols with separators, which may look like anything."""
    return found if found in _CERTAIN or (column is not None and found in formats.TABLES) else formats.WORDS


def _of_symbols(found: str, column: str | None, lines: bool) -> str:
    """The format of a file of sequences of any characters, which as bare lines may look like anything."""
    if found == "fasta" or found in _CERTAIN:
        return found
    if column is not None:
        return "csv" if found in (formats.LINES, formats.TEXT) else found
    return formats.SYMBOLS if lines else found


def text_warning(path: Path) -> str | None:
    """What to say of a file that is read as text, character by character, and is a file of sequences; else None."""
    found = formats.recognized(ByteStream(path).head(formats.HEAD))
    if found in formats.TABLES:
        _, likely = columns_of(path, found)
        if likely is None:
            return None
        what, remedy = formats.TABLES[found], f"data.alphabet=protein data.column={likely}"
    elif found in formats.RECORDS:
        what, remedy = formats.RECORDS[found], "data.alphabet=protein"
    else:
        return None
    return (
        f"{path} is {what}, and data.alphabet=text trains on every character of it, ids and separators included. For "
        f"its sequences alone set {remedy}"
    )


def _column_needed(path: Path, found: str) -> DataError:
    titles, likely = columns_of(path, found)
    shown = ", ".join(map(repr, titles[:20])) + (", ..." if len(titles) > 20 else "")
    return DataError(
        f"this is {formats.TABLES[found]} with the columns {shown}; name the one that holds the sequences: "
        f"data.column={likely or 'COLUMN'} (`sedd evaluate` and `sedd quality`: --column {likely or 'COLUMN'})",
        file=path,
    )


def _lines_needed(path: Path, head: bytes) -> DataError:
    first = head.split(None, 1)[0].decode("utf-8-sig", "replace")
    if first.lower() in formats.SEQUENCE_COLUMNS:
        return DataError(f"a column of sequences under the title {first!r}; set data.column={first}", file=path, line=1)
    return DataError(
        "residues without a FASTA header. If each line is a sequence, set data.format=lines; if all lines are one "
        "sequence, write a first line such as `>name`. To train on text set data.alphabet=text",
        file=path,
        line=1,
    )
