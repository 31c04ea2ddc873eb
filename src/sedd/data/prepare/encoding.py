"""From a chunk of the source to ids: the work of the processes of `prepare`.

Nearly all records of a FASTA file need no repair. They are encoded together, with a handful of operations on the whole
chunk. The others are parsed and cleaned one by one, and inserted between them in the order of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
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
from sedd.data.prepare.clean import Cleaner, TextCleaner
from sedd.data.prepare.clusters import word_hash
from sedd.data.prepare.nucleotides import may_be_nucleotides
from sedd.data.prepare.readers import Chunk, read_chunks
from sedd.data.prepare.reading import SequenceFile, token_records
from sedd.data.prepare.records import Record, parse_record
from sedd.data.prepare.symbols import cleaner_for
from sedd.data.prepare.tally import Kind, Tally
from sedd.data.prepare.text import read_text
from sedd.errors import DataError

_HOLDOUT = hashlib.blake2b(digest_size=8, key=b"sedd holdout")


MOST_RECORDS = 4_096
"""Records in a chunk, at most."""


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


class RecordChunk(NamedTuple):
    """Records of a file that is not FASTA."""

    records: list[Record]
    done: int
    """Raw bytes of the file read so far."""
    repaired: Mapping[str, Kind] = {}  # never changed
    """Repairs of the layout that belong to no record."""


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
class RecordEncoder:
    """Encodes records of the file `path` one by one; `by_name` if clusters decide the split."""

    path: Path
    alphabet: Alphabet
    policy: Residues
    min_length: int
    by_name: bool
    alignment: bool = False
    """Whether the file is an alignment, in which rows of annotation may lie."""

    def encoded(self, chunk: RecordChunk) -> Encoded:
        """The sequences of some records. Raises DataError with file and line, if the policy does not allow one."""
        cleaner, collected = self._cleaner(), _Parts([], [], [], [])
        for record in chunk.records:
            self._add(record, cleaner, collected)
        cleaner.tally.add(Tally(repaired=dict(chunk.repaired)))
        return self._together(collected, cleaner.tally, chunk.done)

    def _cleaner(self) -> Cleaner:
        name, kind = self.path.name, cleaner_for(self.alphabet)
        return kind(self.alphabet, self.policy, min_length=self.min_length, source=name, alignment=self.alignment)

    def _add(self, record: Record, cleaner: Cleaner, collected: _Parts) -> None:
        if sequences := cleaner(record):
            collected.sequences += sequences
            collected.hashed.append(record.name.encode() if self.by_name else b"\0".join(sequences))
            collected.pieces.append(len(sequences))
            if self.by_name:
                collected.names.append((record.name, record.line))

    def _together(self, collected: _Parts, tally: Tally, done: int) -> Encoded:
        ids, lengths = self._encoded(collected.sequences)
        tally.sequences, tally.residues = len(lengths), int(lengths.sum())
        keys = (
            np.array([word_hash(name) for name in collected.hashed], np.uint64)
            if self.by_name
            else _sequence_keys(collected.hashed)
        )
        return Encoded(done, ids, lengths, keys, np.array(collected.pieces, np.int64), tuple(collected.names), tally)

    def _encoded(self, sequences: list[bytes]) -> tuple[bytes, NDArray[np.int64]]:
        """The ids of all sequences, one after the other, and the length of each in symbols."""
        if self.alphabet.separator or self.alphabet.has_words:  # joined, two symbols could be read as another one
            single = [self.alphabet.encode_bytes(sequence) for sequence in sequences]
            lengths = np.fromiter(map(len, single), np.int64, len(single)) // self.alphabet.dtype.itemsize
            return b"".join(single), lengths
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        return self.alphabet.encode_bytes(b"".join(sequences)), lengths


@dataclass(frozen=True)
class FastaEncoder(RecordEncoder):
    """Encodes chunks of the FASTA file `path`: clean records together, others one by one."""

    def __call__(self, chunk: Chunk) -> Encoded:
        """The sequences of a chunk. Raises DataError with file and line, if a record cannot be read or the policy does
        not allow it."""
        parts = chunk.parts()
        clean_sequences, special = self._clean_sequences(chunk, parts)
        cleaner, collected = self._cleaner(), _Parts([], [], [], [])
        done, line, repairs = 0, chunk.line, chunk.repairs
        for number in special:
            collected.add_clean(clean_sequences[done:number])
            line += sum(part.count(chunk.newline) + 1 for part in parts[done:number])
            for record in parse_record(self.path, parts[number], line, chunk.newline, repairs):
                self._add(record, cleaner, collected)
            done, line, repairs = number + 1, line + parts[number].count(chunk.newline) + 1, ()
        collected.add_clean(clean_sequences[done:])
        unchanged = len(parts) - len(special)
        cleaner.tally.read += unchanged
        cleaner.tally.kept += unchanged
        return self._together(collected, cleaner.tally, chunk.done)

    def _clean_sequences(self, chunk: Chunk, parts: list[bytes]) -> tuple[list[bytes], list[int]]:
        """The residues of each part, and the numbers of the parts that have to be parsed one by one instead."""
        data, everything = chunk.data, list(range(len(parts)))
        if (
            self.by_name
            or self.alignment
            or self.alphabet.has_words
            or chunk.repairs
            or chunk.newline != b"\n"
            or b"\r" in data
            or b"\n\n" in data
        ):
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
        if self.alphabet.has_amino_acids:
            special |= may_be_nucleotides(np.frombuffer(joined, np.uint8), starts, lengths)
        special[[number for number, part in enumerate(parts) if part < b"!" or part.startswith(_ANNOTATION)]] = True
        special[[number for number, part in enumerate(parts) if len(part) > records.LONGEST_RECORD]] = True
        return joined.split(b">"), np.flatnonzero(special).tolist()

    @cached_property
    def _kinds(self) -> bytes:
        table = bytearray([_FOREIGN]) * 256
        for letter in self.alphabet.residues:
            table[letter] = _LETTER
        table[ord(">")] = _SEPARATOR
        return bytes(table)


Work = tuple[RecordEncoder, Chunk | RecordChunk]
"""A chunk and its encoder."""
_LETTER, _SEPARATOR, _FOREIGN = range(3)
_ANNOTATION = (b"ss_", b"sa_", b"aa_")
"""Beginnings of names that `Cleaner` may drop."""


def read_chunked(file: SequenceFile, stream: ByteStream) -> Iterator[RecordChunk]:
    """The records of a file that is not FASTA, about `readers.CHUNK` bytes at a time."""
    records, size = list[Record](), 0
    for record in file.records(stream):
        records.append(record)
        size += len(record.sequence)
        if size >= readers.CHUNK or len(records) >= MOST_RECORDS:
            yield RecordChunk(records, stream.done)
            records, size = [], 0
    if records:
        yield RecordChunk(records, stream.done)


def file_encoder(
    file: SequenceFile, alphabet: Alphabet, policy: Residues, *, min_length: int, by_name: bool
) -> RecordEncoder:
    """The encoder of a file's chunks."""
    kind = FastaEncoder if file.in_chunks else RecordEncoder
    return kind(file.path, alphabet, policy, min_length, by_name, file.alignment)


def file_chunks(file: SequenceFile, stream: ByteStream) -> Iterator[Chunk | RecordChunk]:
    """The chunks of a file in order. The last one has no records, and the repairs that belong to no record."""
    yield from read_chunks(stream) if file.in_chunks else read_chunked(file, stream)
    yield RecordChunk([], stream.done, stream.repaired)


def layout_repairs(stream: ByteStream) -> Encoded:
    """A chunk without sequences: the repairs of a text that belong to none of its pieces."""
    none = np.zeros(0, np.int64)
    return Encoded(stream.done, b"", none, np.zeros(0, np.uint64), none, (), Tally(repaired=dict(stream.repaired)))


def work(item: Work) -> Encoded:
    """Encode a chunk with its encoder. Raises DataError as the encoder."""
    encoder, chunk = item
    if isinstance(chunk, RecordChunk):
        return encoder.encoded(chunk)
    assert isinstance(encoder, FastaEncoder)  # noqa: S101  # tells the type checker
    return encoder(chunk)


def encode_text(stream: ByteStream, alphabet: Alphabet, *, chunk_length: int, min_length: int) -> Iterator[Encoded]:
    """The sequences of a text file, about `readers.CHUNK` characters at a time. Raises DataError with file and line, if
    the text cannot be read or has a character outside the alphabet."""
    text = read_text(stream, chunk_length=chunk_length)
    yield from _encoded(stream, text, alphabet, together=max(1, readers.CHUNK // chunk_length), min_length=min_length)


def encode_ids(stream: ByteStream, alphabet: Alphabet, *, column: str | None, min_length: int) -> Iterator[Encoded]:
    """The sequences of a file of token ids, or of the lines of a text if the alphabet has a tokenizer. Raises DataError
    with file and line, if the file cannot be read or has something else than ids of the alphabet."""
    records = token_records(stream, column, text=alphabet.is_text)
    yield from _encoded(stream, records, alphabet, together=MOST_RECORDS, min_length=min_length)


def _encoded(
    stream: ByteStream, text: Iterator[Record], alphabet: Alphabet, *, together: int, min_length: int
) -> Iterator[Encoded]:
    """Encode records of `stream`, `together` of them at a time."""
    for first in text:
        cleaner = TextCleaner(min_length=min_length, source=stream.path.name, length_of=alphabet.length)
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
