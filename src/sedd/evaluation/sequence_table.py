"""Bounds of single sequences as a CSV file, written row by row, and the names of the sequences in it."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from sedd.config.sections import Data
from sedd.data import Alphabet
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clean import Cleaner, TextCleaner
from sedd.data.prepare.readers import read_fasta
from sedd.data.prepare.text import read_text
from sedd.errors import DataError
from sedd.evaluation.likelihood import SequenceBound

COLUMNS = ("id", "residues", "nats", "stderr", "bits", "perplexity")


class SequenceTable:
    """A CSV file with `COLUMNS`; nats, bits and perplexity per residue, the standard error over masks in nats."""

    def __init__(self, path: Path, names: Iterator[str] | None) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._names = names
        self._next = 0

    def __call__(self, bounds: Sequence[SequenceBound]) -> None:
        """Append rows; the sequences must come in the order of the data.

        Raises:
            DataError: if there are fewer names than sequences.
        """
        for bound in bounds:
            numbers = (bound.nats, bound.stderr, bound.bits, bound.perplexity)
            cells = ("" if math.isnan(number) else f"{number:.6g}" for number in numbers)
            self._writer.writerow((self._name(bound.index), bound.residues, *cells))
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
            raise DataError(f"sequence {index + 1:,} is missing: the file changed while it was read; start again")
        return name


@contextmanager
def sequence_table(path: Path, names: Iterator[str] | None) -> Iterator[SequenceTable]:
    """Open a table for writing; the directory of `path` is created.

    Args:
        path: CSV file to write.
        names: of all sequences of the data, in their order; without them, the id is the number of the sequence, from 1.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table = SequenceTable(path, names)
    try:
        yield table
    finally:
        table.close()


def sequence_names(path: Path, data: Data, alphabet: Alphabet) -> Iterator[str]:
    """One name for each sequence that `sedd.data.open_whole` makes of a FASTA or text file, in its order.

    The name is the first word of the header; `name/1`, `name/2` where a record was split; `sequence_3` where the third
    sequence has no name. A store keeps no names, so the file is read once more.
    """
    stream = ByteStream(path)
    if data.alphabet == "text":
        text = TextCleaner(min_length=data.min_length, source=path.name)
        for record in read_text(stream, chunk_length=data.chunk_length):
            if text(record):
                yield record.name
        return
    clean = Cleaner(alphabet, data.residues, min_length=data.min_length, source=path.name)
    number = 0
    for record in read_fasta(stream):
        pieces = clean(record)
        for piece in range(1, len(pieces) + 1):
            number += 1
            name = record.name or f"sequence_{number}"
            yield name if len(pieces) == 1 else f"{name}/{piece}"
