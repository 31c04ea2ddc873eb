"""From a chunk of the source to ids: the work of the processes of `prepare`.

Nearly all records of a FASTA file need no repair. They are encoded together, with a handful of operations on the whole
chunk. The others are parsed and cleaned one by one, and inserted between them in the order of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedd.config.sections import Residues
from sedd.data.alphabet import Alphabet
from sedd.data.prepare import readers, records
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clean import NUCLEOTIDES, SURELY_NOT_PROTEIN, Cleaner, TextCleaner
from sedd.data.prepare.clusters import word_hash
from sedd.data.prepare.readers import Chunk
from sedd.data.prepare.records import parse_record
from sedd.data.prepare.tally import Tally
from sedd.data.prepare.text import read_text
from sedd.errors import DataError

_HOLDOUT = hashlib.blake2b(digest_size=8, key=b"sedd holdout")


class Encoded(NamedTuple):
    """The sequences of a chunk of the source, in order, and the tally of its records."""

    done: int
    """Raw bytes of the source read so far."""
    ids: bytes
    """Ids of all sequences, one after the other, as a store holds them."""
    lengths: NDArray[np.int64]
    """Residues in each sequence."""
    keys: NDArray[np.uint64]
    """Hash of each kept record, which decides its split: of its sequence, or of its id if clusters decide."""
    pieces: NDArray[np.int64]
    """Sequences into which each kept record was divided, nearly always 1."""
    names: tuple[tuple[str, int], ...]
    """Id and line of each kept record, if clusters decide; else empty."""
    tally: Tally


@dataclass
class _Parts:
    """What is collected from the records of a chunk, in order."""

    sequences: list[bytes]
    hashed: list[bytes]
    """The bytes from which each record's key is made: its residues, or its id."""
    pieces: list[int]
    names: list[tuple[str, int]]

    def add_clean(self, sequences: list[bytes]) -> None:
        """Add records that were kept unchanged."""
        self.sequences += sequences
        self.hashed += sequences
        self.pieces += [1] * len(sequences)


@dataclass(frozen=True)
class FastaEncoder:
    """Encodes chunks of the FASTA file `path`; `by_name` if clusters decide the split."""

    path: Path
    alphabet: Alphabet
    policy: Residues
    min_length: int
    by_name: bool

    def __call__(self, chunk: Chunk) -> Encoded:
        """The sequences of a chunk. Raises DataError with file and line, if a record cannot be read or the policy does
        not allow it."""
        parts = chunk.parts()
        clean_sequences, special = self._clean_sequences(chunk, parts)
        cleaner = Cleaner(self.alphabet, self.policy, min_length=self.min_length, source=self.path.name)
        collected = _Parts([], [], [], [])
        done, line, repairs = 0, chunk.line, chunk.repairs
        for number in special:
            collected.add_clean(clean_sequences[done:number])
            line += sum(part.count(chunk.newline) + 1 for part in parts[done:number])
            self._parse(parts[number], line, chunk.newline, repairs, cleaner=cleaner, collected=collected)
            done, line, repairs = number + 1, line + parts[number].count(chunk.newline) + 1, ()
        collected.add_clean(clean_sequences[done:])
        lengths = np.fromiter(map(len, collected.sequences), np.int64, len(collected.sequences))
        tally = cleaner.tally
        unchanged = len(parts) - len(special)
        tally.read += unchanged
        tally.kept += unchanged
        tally.sequences, tally.residues = len(lengths), int(lengths.sum())
        ids = self.alphabet.encode_bytes(b"".join(collected.sequences))
        keys = (
            np.array([word_hash(name) for name in collected.hashed], np.uint64)
            if self.by_name
            else _sequence_keys(collected.hashed)
        )
        pieces = np.array(collected.pieces, np.int64)
        return Encoded(chunk.done, ids, lengths, keys, pieces, tuple(collected.names), tally)

    def _parse(
        self, part: bytes, line: int, newline: bytes, repairs: tuple[str, ...], *, cleaner: Cleaner, collected: _Parts
    ) -> None:
        """Parse and clean the records of one part."""
        for record in parse_record(self.path, part, line, newline, repairs):
            if sequences := cleaner(record):
                collected.sequences += sequences
                collected.hashed.append(record.name.encode() if self.by_name else b"\0".join(sequences))
                collected.pieces.append(len(sequences))
                if self.by_name:
                    collected.names.append((record.name, record.line))

    def _clean_sequences(self, chunk: Chunk, parts: list[bytes]) -> tuple[list[bytes], list[int]]:
        """The residues of each part, and the numbers of the parts that have to be parsed one by one instead."""
        data, everything = chunk.data, list(range(len(parts)))
        if self.by_name or chunk.repairs or chunk.newline != b"\n" or b"\r" in data or b"\n\n" in data:
            return [], everything
        joined = b">".join([part.partition(b"\n")[2] for part in parts]).replace(b"\n", b"")
        kinds = np.frombuffer(joined.translate(self._kinds), np.uint8)
        marks = np.flatnonzero(kinds != _LETTER)
        separators = marks[kinds[marks] == _SEPARATOR]
        if len(separators) != len(parts) - 1:  # a header behind a sequence
            return [], everything
        starts = np.concatenate([[0], separators + 1])
        lengths = np.concatenate([separators, [len(joined)]]) - starts
        special = lengths < max(1, self.min_length)
        special[np.searchsorted(separators, marks[kinds[marks] == _FOREIGN])] = True
        special |= self._maybe_nucleotides(joined, starts, lengths)
        special[[number for number, part in enumerate(parts) if part < b"!"]] = True  # no id
        special[[number for number, part in enumerate(parts) if len(part) > records.LONGEST_RECORD]] = True
        return joined.split(b">"), np.flatnonzero(special).tolist()

    def _maybe_nucleotides(
        self, joined: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which sequences begin like nucleotides: so few that these can be examined completely."""
        candidates = lengths >= SURELY_NOT_PROTEIN
        letters = np.frombuffer(joined, np.uint8)
        for offset in range(5):
            candidates[candidates] = _IS_NUCLEOTIDE[letters[starts[candidates] + offset]]
        return candidates

    @cached_property
    def _kinds(self) -> bytes:
        table = bytearray([_FOREIGN]) * 256
        for letter in self.alphabet.letters:
            table[letter] = _LETTER
        table[ord(">")] = _SEPARATOR
        return bytes(table)


_LETTER, _SEPARATOR, _FOREIGN = range(3)
_IS_NUCLEOTIDE = np.isin(np.arange(256), np.frombuffer(NUCLEOTIDES, np.uint8))


def encode_text(stream: ByteStream, alphabet: Alphabet, *, chunk_length: int, min_length: int) -> Iterator[Encoded]:
    """The sequences of a text file, about `readers.CHUNK` characters at a time. Raises DataError with file and line, if
    the text cannot be read or has a character outside the alphabet."""
    text = read_text(stream, chunk_length=chunk_length)
    together = max(1, readers.CHUNK // chunk_length)
    for first in text:
        cleaner = TextCleaner(min_length=min_length, source=stream.path.name)
        kept = [
            (record, sequence) for record in chain([first], islice(text, together - 1)) for sequence in cleaner(record)
        ]
        ids = []
        for record, sequence in kept:
            try:
                ids.append(alphabet.encode_bytes(sequence))
            except DataError as error:  # the alphabet was given: a character that is not in it
                raise DataError(str(error), file=stream.path, line=record.line, record=record.name) from error
        lengths = np.fromiter(map(len, ids), np.int64, len(ids)) // alphabet.dtype.itemsize
        keys = _sequence_keys([sequence.encode() for _, sequence in kept])
        yield Encoded(stream.done, b"".join(ids), lengths, keys, np.ones(len(ids), np.int64), (), cleaner.tally)


def _sequence_keys(sequences: list[bytes]) -> NDArray[np.uint64]:
    """Equal for equal sequences."""
    digests = []
    for sequence in sequences:
        digest = _HOLDOUT.copy()  # cheaper than to give the key again
        digest.update(sequence)
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), "<u8")
