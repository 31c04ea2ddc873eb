"""What became of each record of a file: the sequences made of it, or why it was dropped. A store keeps no names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sedd.config.sections import Data
from sedd.data.alphabet import Alphabet
from sedd.data.chosen import found_in_data, residue_policy
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clean import TextCleaner
from sedd.data.prepare.reading import SequenceFile, token_records
from sedd.data.prepare.sources import Source
from sedd.data.prepare.symbols import cleaner_for
from sedd.data.prepare.tally import DROPS
from sedd.data.prepare.text import read_text


class SourceRecord(NamedTuple):
    """One record of a file."""

    name: str
    """Its first word, or `sequence_3` for the third sequence if it has none."""
    sequences: int
    """How many sequences were made of it; 0 if it was dropped."""
    remark: str = ""
    """Why it was dropped, or what was repaired."""

    def names(self) -> list[str]:
        """A name for each of its sequences: `name`, or `name/1`, `name/2` where it was split."""
        return [self.name] if self.sequences == 1 else [f"{self.name}/{i}" for i in range(1, self.sequences + 1)]


def source_records(source: Source, data: Data, alphabet: Alphabet) -> Iterator[SourceRecord]:
    """The records of a source in order, as `sedd.data.open_whole` reads them with the same `data` and `alphabet`."""
    number = 0
    for path in source.files:
        if found_in_data(data.alphabet):
            yield from _pieces_of_text(ByteStream(path), data, alphabet)
            continue
        file = SequenceFile.of(path, column=data.column, lines=data.format == "lines", alphabet=alphabet)
        policy = residue_policy(data.alphabet, data.residues)
        clean = cleaner_for(alphabet)(
            alphabet, policy, min_length=data.min_length, source=path.name, alignment=file.alignment
        )
        for record in file.read():
            sequences, remark = clean.outcome(record)
            yield SourceRecord(record.name or f"sequence_{number + 1}", len(sequences), remark)
            number += len(sequences)


def _pieces_of_text(stream: ByteStream, data: Data, alphabet: Alphabet) -> Iterator[SourceRecord]:
    text = TextCleaner(min_length=data.min_length, source=stream.path.name, length_of=alphabet.length)
    if data.alphabet == "ids":
        records = token_records(stream, data.column, text=alphabet.is_text)
    else:
        records = read_text(stream, chunk_length=data.chunk_length)
    for record in records:
        kept = len(text(record))
        yield SourceRecord(record.name, kept, "" if kept else DROPS["short"])
