"""Bounds of single sequences as a table, row by row; records that were dropped have a row with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sedd.data.prepare.source_records import SourceRecord
from sedd.errors import DataError
from sedd.evaluation.likelihood import SequenceBound
from sedd.evaluation.table_file import Cell, Columns, table_file

COLUMNS: Columns = {
    "id": str, "residues": int, "nats": float, "stderr": float, "bits": float, "perplexity": float, "remark": str
}  # fmt: skip
Remark = Callable[[int], Sequence[str]]
"""Remarks on the sequence of an index in the data, besides those of its record."""


class _Named(NamedTuple):
    """A sequence of the data, or a record of which there is none."""

    at: int | None
    name: str
    remark: str


@contextmanager
def sequence_table(
    path: Path, records: Iterator[SourceRecord] | None, remark: Remark = lambda index: ()
) -> Iterator[Callable[[Sequence[SequenceBound]], None]]:
    """Open a CSV or Parquet file with `COLUMNS`: per residue, the standard error over masks in nats.

    The value appends rows, which must come in the order of the data. It raises a DataError if there are fewer records
    than sequences. Records that were dropped have a row at their place, with the reason in `remark` and no numbers.

    Args:
        path: file to write, Parquet if its name ends in `.parquet`; its directory is created.
        records: of the source of the data, in their order; without them, the id is the number of the sequence, from 1.
        remark: remarks on single sequences.
    """
    named = None if records is None else _named(records)
    with table_file(path, COLUMNS) as table:

        def write(bounds: Sequence[SequenceBound]) -> None:
            for bound in bounds:
                name, known = str(bound.index + 1), ""
                if named is not None:
                    name, known = _advance(named, bound.index, table.row)
                numbers = (bound.nats, bound.stderr, bound.bits, bound.perplexity)
                remarks = "; ".join(filter(None, (known, *remark(bound.index))))
                table.row((name, bound.residues, *numbers, remarks))
            table.flush()

        yield write
        for rest in named or ():
            if rest.at is None:
                table.row(_dropped(rest))


def _named(records: Iterator[SourceRecord]) -> Iterator[_Named]:
    index = 0
    for record in records:
        if not record.sequences:
            yield _Named(None, record.name, record.remark)
        for name in record.names():
            yield _Named(index, name, record.remark)
            index += 1


def _advance(named: Iterator[_Named], index: int, write: Callable[[Sequence[Cell]], object]) -> tuple[str, str]:
    """The name and remark of the sequence of an index; rows of dropped records before it are written."""
    for one in named:
        if one.at is None:
            write(_dropped(one))
        elif one.at == index:
            return one.name, one.remark
    raise DataError(f"sequence {index + 1:,} is missing: the file changed while it was read; start again")


def _dropped(record: _Named) -> tuple[Cell, ...]:
    return (record.name, None, None, None, None, None, f"dropped: {record.remark}")
