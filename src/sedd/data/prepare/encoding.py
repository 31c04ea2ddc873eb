"""From a stretch of the source to ids: what the processes of `prepare` do.

Nearly all records of a FASTA file need no repair. They are encoded together, with a handful of operations on the whole
chunk; the others are read and cleaned one by one, and take their places between them.
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
from sedd.data.prepare import readers
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clean import NUCLEOTIDES, SURELY_NOT_PROTEIN, Cleaner, TextCleaner
from sedd.data.prepare.clusters import word_hash
from sedd.data.prepare.readers import Chunk, Position, read_part, read_text
from sedd.data.prepare.tally import Tally
from sedd.errors import DataError

_HOLDOUT = hashlib.blake2b(digest_size=8, key=b"sedd holdout")


class Encoded(NamedTuple):
    """The sequences of a stretch of the source, in order, and what became of its records."""

    start: Position
    done: int
    """Raw bytes of the source read so far."""
    ids: bytes
    lengths: NDArray[np.int64]
    """Residues in each sequence."""
    keys: NDArray[np.uint64]
    """What decides the side of each kept record: the hash of its sequence, or of its id where clusters do."""
    pieces: NDArray[np.int64]
    """Sequences that each of these records was split into."""
    names: tuple[tuple[str, int], ...]
    """Id and line of each of these records, where clusters decide."""
    tally: Tally


@dataclass(frozen=True)
class FastaEncoder:
    """Encodes chunks of the FASTA file `path`; `by_name` where clusters decide the side."""

    path: Path
    alphabet: Alphabet
    policy: Residues
    min_length: int
    by_name: bool

    def __call__(self, chunk: Chunk) -> Encoded:
        """The sequences of a chunk.

        Raises:
            DataError: with file and line, for what cannot be read or the policy does not allow.
        """
        parts = chunk.parts()
        plain, special = self._plain(chunk, parts)
        clean = Cleaner(self.alphabet, self.policy, min_length=self.min_length, source=self.path.name)
        sequences: list[bytes] = []
        wholes: list[bytes] = []  # what keys are made of: the residues of a record, or its id
        pieces: list[int] = []
        names: list[tuple[str, int]] = []
        done, position, repairs = 0, chunk.start, chunk.repairs
        for number in special:
            sequences += plain[done:number]
            wholes += plain[done:number]
            pieces += [1] * (number - done)
            position = self._advanced(chunk, position, parts, done, number)
            for record in read_part(self.path, parts[number], position, chunk.newline, repairs):
                if cleaned := clean(record):
                    sequences += cleaned
                    wholes.append(record.name.encode() if self.by_name else b"\0".join(cleaned))
                    pieces.append(len(cleaned))
                    if self.by_name:
                        names.append((record.name, record.line))
            position, repairs, done = position.after(parts[number], chunk.newline), (), number + 1
        sequences += plain[done:]
        wholes += plain[done:]
        pieces += [1] * (len(parts) - done)
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        tally = clean.tally
        untouched = len(parts) - len(special)
        tally.read += untouched
        tally.kept += untouched
        tally.sequences, tally.residues = len(sequences), int(lengths.sum())
        ids = self.alphabet.encode_bytes(b"".join(sequences))
        keys = _keys_of_ids(wholes) if self.by_name else _keys(wholes)
        return Encoded(chunk.start, chunk.done, ids, lengths, keys, np.array(pieces, np.int64), tuple(names), tally)

    def _advanced(self, chunk: Chunk, position: Position, parts: list[bytes], done: int, number: int) -> Position:
        """The start of part `number`, from that of part `done`."""
        passed = sum(map(len, parts[done:number])) + 2 * (number - done)
        at = position.offset - chunk.start.offset
        return Position(position.offset + passed, position.line + chunk.data.count(chunk.newline, at, at + passed))

    def _plain(self, chunk: Chunk, parts: list[bytes]) -> tuple[list[bytes], list[int]]:
        """The residues of each part, and the numbers of the parts that have to be read one by one instead."""
        data, everything = chunk.data, list(range(len(parts)))
        if self.by_name or chunk.repairs or chunk.newline != b"\n" or b"\r" in data or b"\n\n" in data:
            return [], everything
        joined = b">".join([part.partition(b"\n")[2] for part in parts]).replace(b"\n", b"")
        kinds = np.frombuffer(joined.translate(self._kinds), np.uint8)
        marks = np.flatnonzero(kinds != _LETTER)
        separators = marks[kinds[marks] == _SEPARATOR]
        if len(separators) != len(parts) - 1:  # a header glued to a sequence
            return [], everything
        starts = np.concatenate([[0], separators + 1])
        lengths = np.concatenate([separators, [len(joined)]]) - starts
        special = lengths < max(1, self.min_length)
        special[np.searchsorted(separators, marks[kinds[marks] == _FOREIGN])] = True
        special |= self._maybe_nucleotides(joined, starts, lengths)
        special[[number for number, part in enumerate(parts) if part < b"!"]] = True  # no id
        special[[number for number, part in enumerate(parts) if len(part) > readers.LONGEST_RECORD]] = True
        return joined.split(b">"), np.flatnonzero(special).tolist()

    def _maybe_nucleotides(
        self, joined: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which sequences begin like nucleotides: few, so that the whole of one is looked at rarely."""
        found = lengths >= SURELY_NOT_PROTEIN
        letters = np.frombuffer(joined, np.uint8)
        for offset in range(5):
            found[found] = _IS_NUCLEOTIDE[letters[starts[found] + offset]]
        return found

    @cached_property
    def _kinds(self) -> bytes:
        table = bytearray([_FOREIGN]) * 256
        for letter in self.alphabet.letters:
            table[letter] = _LETTER
        table[ord(">")] = _SEPARATOR
        return bytes(table)


_LETTER, _SEPARATOR, _FOREIGN = range(3)
_IS_NUCLEOTIDE = np.isin(np.arange(256), np.frombuffer(NUCLEOTIDES, np.uint8))


def encode_text(
    stream: ByteStream, alphabet: Alphabet, *, chunk_length: int, min_length: int, start: Position
) -> Iterator[Encoded]:
    """The sequences of a text file from `start` on, some at a time.

    Raises:
        DataError: with file and line, for what cannot be read or is not in the alphabet.
    """
    records = read_text(stream, chunk_length=chunk_length, start=start)
    together = max(1, readers.CHUNK // chunk_length)
    for first in records:
        clean = TextCleaner(min_length=min_length, source=stream.path.name)
        kept: list[bytes] = []
        ids: list[bytes] = []
        for record in chain([first], islice(records, together - 1)):
            for piece in clean(record):
                kept.append(piece.encode())
                try:
                    ids.append(alphabet.encode_bytes(piece))
                except DataError as error:  # the alphabet is given: a character that is not in it
                    raise DataError(f"{stream.path}:{record.line} {record.name}: {error}") from error
        lengths = np.fromiter(map(len, ids), np.int64, len(ids)) // alphabet.dtype.itemsize
        ones = np.ones(len(ids), np.int64)
        yield Encoded(first.start, stream.done, b"".join(ids), lengths, _keys(kept), ones, (), clean.tally)


def _keys(wholes: list[bytes]) -> NDArray[np.uint64]:
    """Equal for equal sequences."""
    digests = []
    for whole in wholes:
        digest = _HOLDOUT.copy()  # cheaper than to give the key again
        digest.update(whole)
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), "<u8")


def _keys_of_ids(names: list[bytes]) -> NDArray[np.uint64]:
    return np.array([word_hash(name) for name in names], np.uint64)
