"""Tables that commands write, row by row: CSV, or Parquet where the name of the file ends in `.parquet`."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol

from sedd.errors import SeddError, install_extra
from sedd.files import naming, no_symlink, open_output, temporary_of
from sedd.plain_text import spreadsheet_cell

Cell = str | int | float | None
"""One value; None where there is none."""
Columns = Mapping[str, type[str] | type[int] | type[float]]
"""The columns of a table in order, by title, with the type of their cells."""
PARQUET = ".parquet"
ROWS = 4_096
"""Rows of a Parquet file that are held in memory."""


class TableWriter(Protocol):
    """Where rows go."""

    def row(self, cells: Sequence[Cell]) -> None:
        """Add a row with one cell for each column."""

    def flush(self) -> None:
        """Write what can be written before the end."""


@contextmanager
def table_file(path: Path | None, columns: Columns) -> Iterator[TableWriter]:
    """Open a table for writing; its directory is made.

    A CSV file is written as rows come. It has numbers with six digits, and text that no spreadsheet takes for a
    formula. A Parquet file has the complete numbers, and is there only after the last row: after an error there is
    none, and an earlier file stays as it was.

    Args:
        path: the file; Parquet if it ends in `.parquet`, else CSV. None: CSV on standard output.
        columns: titles and types.

    Raises:
        SeddError: if a Parquet file is to be written, and pyarrow is missing.
    """
    if path is None:
        yield _Csv(sys.stdout, columns)
    elif path.suffix.lower() == PARQUET:
        with _parquet(path, columns) as table:
            yield table
    else:
        with open_output(path) as file:
            yield _Csv(file, columns)


class _Csv:
    def __init__(self, file: IO[str], columns: Columns) -> None:
        self._file = file
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(columns)

    def row(self, cells: Sequence[Cell]) -> None:
        self._writer.writerow([_in_csv(cell) for cell in cells])

    def flush(self) -> None:
        self._file.flush()


def _in_csv(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return spreadsheet_cell(cell) if isinstance(cell, str) else str(cell)


class _Parquet:
    def __init__(self, arrow: Any, writer: Any, schema: Any) -> None:
        self._arrow, self._writer, self._schema = arrow, writer, schema
        self._rows: list[Sequence[Cell]] = []

    def row(self, cells: Sequence[Cell]) -> None:
        self._rows.append([None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells])
        if len(self._rows) >= ROWS:
            self.end()

    def flush(self) -> None:
        """A Parquet file cannot be read before its end."""

    def end(self) -> None:
        """Write the rows that are held."""
        if self._rows:
            columns = [list(column) for column in zip(*self._rows, strict=True)]
            self._writer.write_table(self._arrow.table(columns, schema=self._schema))
            self._rows = []


@contextmanager
def _parquet(path: Path, columns: Columns) -> Iterator[TableWriter]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as missing:
        raise SeddError(
            f"{path}: Parquet needs pyarrow ({missing}): {install_extra('parquet')}, or name a file that ends in .csv"
        ) from None
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    schema = arrow.schema([(title, types[kind]) for title, kind in columns.items()])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(path)
    temporary.unlink(missing_ok=True)  # of a process that was killed, or a link that someone put there
    try:
        with (
            naming(temporary),
            open(temporary, "wb", opener=no_symlink) as file,
            parquet.ParquetWriter(file, schema) as writer,
        ):
            table = _Parquet(arrow, writer, schema)
            yield table
            table.end()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
