"""Bounds of single sequences as a CSV file, written row by row, and the names of the sequences in it."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sedd.config.sections import Data
from sedd.data import Alphabet
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clean import Cleaner, TextCleaner
from sedd.data.prepare.readers import read_fasta
from sedd.data.prepare.text import read_text
from sedd.errors import DataError
from sedd.evaluation.likelihood import SequenceBound
from sedd.plain_text import spreadsheet_cell

COLUMNS = ("id", "residues", "nats", "stderr", "bits", "perplexity")


@contextmanager
def sequence_table(path: Path, names: Iterator[str] | None) -> Iterator[Callable[[Sequence[SequenceBound]], None]]:
    """Open a CSV file with `COLUMNS`: per residue, the standard error over masks in nats.

    The value appends rows, which must come in the order of the data. It raises a DataError if there are fewer names
    than sequences.

    Args:
        path: CSV file to write; its directory is created.
        names: of all sequences of the data, in their order; without them, the id is the number of the sequence, from 1.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    named = None if names is None else enumerate(names, 1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)

        def write(bounds: Sequence[SequenceBound]) -> None:
            for bound in bounds:
                numbers = (bound.nats, bound.stderr, bound.bits, bound.perplexity)
                cells = ("" if math.isnan(number) else f"{number:.6g}" for number in numbers)
                number = bound.index + 1
                name = str(number) if named is None else next((name for i, name in named if i == number), None)
                if name is None:
                    raise DataError(f"sequence {number:,} is missing: the file changed while it was read; start again")
                writer.writerow((spreadsheet_cell(name), bound.residues, *cells))
            file.flush()

        yield write


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
