"""Bounds of single sequences as CSV, written row by row."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from sedd.errors import DataError
from sedd.evaluation.likelihood import SequenceBound

COLUMNS = ("id", "residues", "nats", "stderr", "bits", "perplexity")


class Table:
    """Rows of `COLUMNS`; nats, bits and perplexity per residue, the standard error in nats over masks."""

    def __init__(self, path: Path, names: Iterator[str] | None) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._names = names
        self._next = 0

    def __call__(self, bounds: Sequence[SequenceBound]) -> None:
        """Append rows; the sequences must come in the order of the data."""
        for each in bounds:
            numbers = (each.nats, each.stderr, each.bits, each.perplexity)
            shown = ("" if math.isnan(number) else f"{number:.6g}" for number in numbers)
            self._writer.writerow((self._name(each.index), each.residues, *shown))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _name(self, index: int) -> str:
        if self._names is None:
            return str(index + 1)
        skipped, self._next = index - self._next, index + 1
        name = next(islice(self._names, skipped, None), None)
        if name is None:
            raise DataError(
                f"the file has no sequence {index + 1:,} any more: it changed while it was read; start again"
            )
        return name


@contextmanager
def table(path: Path, names: Iterator[str] | None) -> Iterator[Table]:
    """A table in `path`, whose directory is made.

    Args:
        path: file to write.
        names: of all sequences of the data, in their order; without them, a sequence is called by its number, from 1.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = Table(path, names)
    try:
        yield written
    finally:
        written.close()
