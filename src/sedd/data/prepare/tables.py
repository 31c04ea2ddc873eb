"""Sequences in a column of a table: CSV, TSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.formats import (
    HEAD,
    SEQUENCE_COLUMNS,
    after_comments,
    sequence_column,
    table_delimiter,
    table_rows,
)
from sedd.data.prepare.records import BOM, Record
from sedd.data.prepare.text import text_lines
from sedd.errors import DataError, install_extra

ID_COLUMNS = ("id", "name", "entry", "accession", "sequence_id", "protein_id", "seqid", "header", "uniprot_id")
"""Usual names of a column of ids, in lower case."""
ROWS = 4_096
"""Rows of a Parquet table that are read at once."""


def read_table(stream: ByteStream, kind: str, column: str | None, between: str | None = "") -> Iterator[Record]:
    """The sequences in one column of a table, whose `kind` is a key of `formats.TABLES`. White space in a sequence, and
    what separates the items of a list, becomes `between`; for None a sequence stays as it is.

    The name of a sequence is what the first of `ID_COLUMNS` has, else `row_` and its line. Raises DataError with
    file and line, if there is no such column (with those that there are), or the table cannot be read.
    """
    read = {"parquet": _parquet, "jsonl": _json_lines}.get(kind, _delimited)
    return read(stream, column, between)


def columns_of(path: Path, kind: str) -> tuple[list[str], str | None]:
    """The titles of the columns of a table, and which of them holds sequences, if that is seen."""
    if kind == "parquet":
        titles = _parquet_file(path).schema_arrow.names
        return titles, next((title for title in titles if title.lower() in SEQUENCE_COLUMNS), None)
    text = ByteStream(path).head(HEAD).decode("utf-8-sig", "replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][:20]
    if kind == "jsonl":
        first = json.loads(lines[0])
        rows = [list(first), [str(value) for value in first.values()]]
    else:
        rows = table_rows("\n".join(lines), table_delimiter("\n".join(lines).encode()) or "\n")
    return [title.strip() for title in rows[0]], sequence_column(rows)


class _Columns(NamedTuple):
    """Where the cells of a row are that matter."""

    sequence: int
    name: int | None
    titled: bool
    """Whether the first row has titles, and no sequence."""

    @staticmethod
    def of(path: Path, titles: list[str], column: str | None, line: int | None) -> _Columns:
        """Find `column`, a title or a number from 1, among `titles`; a table without titles has its cells there.

        Raises DataError with the titles, if there is no such column.
        """
        if column in titles:
            at, titled = titles.index(column), True
        elif column is not None and column.isdecimal() and 1 <= int(column) <= len(titles):
            at = int(column) - 1
            titled = titles[at].lower() in SEQUENCE_COLUMNS or not (titles[at].isupper() and titles[at].isalpha())
        else:
            wrong = "no column was named" if column is None else f"no column {column!r}"
            shown = ", ".join(map(repr, titles[:20]))
            raise DataError(f"{wrong}; the columns are {shown}. Set data.column to one of them", file=path, line=line)
        if not titled:
            return _Columns(at, 0 if at > 0 else None, titled)
        lower = [title.lower() for title in titles]
        return _Columns(
            at, next((lower.index(n) for n in ID_COLUMNS if n in lower and lower.index(n) != at), None), True
        )

    def record(self, cells: Sequence[Any], line: int, between: str | None) -> Record:
        """The sequence of a row, empty where the row is too short; `between` replaces white space in it."""
        sequence, name = ("" if at is None or at >= len(cells) else _text(cells[at]) for at in self[:2])
        sequence = sequence if between is None else between.join(sequence.split())
        return Record((name.split() or [f"row_{line}"])[0], sequence.encode("utf-8", "replace"), line)


def _text(cell: Any) -> str:
    """A cell as text: the items of a list, such as those of token ids, with a space between them."""
    if isinstance(cell, list):
        return " ".join(map(str, cell))
    return "" if cell is None else str(cell)


def _delimited(stream: ByteStream, column: str | None, between: str | None) -> Iterator[Record]:
    delimiter = table_delimiter(after_comments(ByteStream(stream.path).head(HEAD).removeprefix(BOM))) or "\t"
    rows = csv.reader((line + "\n" for _, line in text_lines(stream)), delimiter=delimiter)
    columns: _Columns | None = None
    try:
        for row in rows:
            if not row or (columns is None and row[0].startswith("#")):
                continue
            if columns is None:
                columns = _Columns.of(stream.path, [cell.strip() for cell in row], column, rows.line_num)
                if columns.titled:
                    continue
            yield columns.record(row, rows.line_num, between)
    except csv.Error as error:
        raise DataError(f"not a row of a table: {error}", file=stream.path, line=rows.line_num) from error


def _json_lines(stream: ByteStream, column: str | None, between: str | None) -> Iterator[Record]:
    for number, line in text_lines(stream):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON: {error}", file=stream.path, line=number) from None
        if not isinstance(row, dict):
            raise DataError(f"expected a JSON object, got {line[:40]!r}", file=stream.path, line=number)
        columns = _Columns.of(stream.path, list(row), column, number)
        yield columns.record(list(row.values()), number, between)


def _parquet(stream: ByteStream, column: str | None, between: str | None) -> Iterator[Record]:
    file = _parquet_file(stream.path)
    titles = list(file.schema_arrow.names)
    columns = _Columns.of(stream.path, titles, column, None)
    wanted = [titles[at] for at in (columns.sequence, columns.name) if at is not None]
    row = _Columns(0, None if columns.name is None else 1, True)
    number = 0
    for cells in _batches(file, stream.path, wanted):
        for values in zip(*(cells[title] for title in wanted), strict=True):
            number += 1
            yield row.record(values, number, between)
        stream.done = stream.total * number // max(1, file.metadata.num_rows)


def _batches(file: Any, path: Path, columns: list[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
    """Some rows at a time, by column: a Parquet file may be larger than memory."""
    batches = file.iter_batches(batch_size=ROWS, columns=columns)
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:  # damaged pages are found only when they are read
            raise DataError(
                f"a Parquet table that is damaged ({error}); copy or download it again", file=path
            ) from error
        if batch is None:
            return
        yield batch.to_pydict()


def _parquet_file(path: Path) -> Any:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"a Parquet table, and pyarrow, which reads it, is missing: {install_extra('parquet')}, or convert the "
            "table to CSV or FASTA",
            file=path,
        ) from None
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # pyarrow has its own hierarchy, and damaged files end in any of it
        raise DataError(f"cannot be read as Parquet ({error}); copy or download it again", file=path) from error
