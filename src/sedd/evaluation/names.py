"""What the sequences of a file are called: stores keep no names, so the file is read once more, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sedd.config.sections import Data
from sedd.data import Alphabet
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clean import Cleaner, TextCleaner
from sedd.data.prepare.readers import read_fasta
from sedd.data.prepare.text import read_text


def names_in(path: Path, data: Data, alphabet: Alphabet) -> Iterator[str]:
    """One name for each sequence that `sedd.data.open_whole` makes of a FASTA or text file, in its order.

    The first word of the header; `name/1`, `name/2` where a record was split; `sequence_3` where the third sequence has
    no name.
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
