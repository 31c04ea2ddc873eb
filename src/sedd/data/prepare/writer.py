"""Appending to a token store that is not finished, so that a killed writer can go on where its state was last saved."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import Alphabet
from sedd.data.store import FORMAT, HEADER, LENGTHS, MANIFEST, OFFSETS, TOKENS, describe_file, npy_header
from sedd.errors import DataError
from sedd.files import write_json


@dataclass
class Written:
    """What a store holds so far; all that has to be saved to go on."""

    sequences: int = 0
    tokens: int = 0
    token_counts: list[int] = field(default_factory=list)
    lengths: dict[str, int] = field(default_factory=dict)
    """How many sequences have each length, which JSON wants as text."""


class StoreWriter:
    """Writes `tokens.bin` and `offsets.npy` in `directory`, going on after what `written` says is there."""

    def __init__(self, directory: Path, alphabet: Alphabet, written: Written) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.alphabet = alphabet
        self.sequences = written.sequences
        self.tokens = written.tokens
        self._counts: NDArray[np.int64] = np.zeros(alphabet.n, dtype=np.int64)
        self._counts[: len(written.token_counts)] = written.token_counts
        self._lengths = {int(length): number for length, number in written.lengths.items()}
        self._token_file = _at(directory / TOKENS, written.tokens * alphabet.dtype.itemsize)
        self._offset_file = _at(directory / OFFSETS, HEADER + 8 * (written.sequences + 1) if written.sequences else 0)
        if not written.sequences:
            # The header needs the number of sequences and comes last; the first offset is 0.
            self._offset_file.write(b"\0" * (HEADER + 8))

    def extend(self, ids: bytes, lengths: NDArray[np.int64]) -> None:
        """Add sequences: their ids one after the other, as the file holds them, and how many each has."""
        self._token_file.write(ids)
        self._counts += np.bincount(np.frombuffer(ids, self.alphabet.dtype), minlength=self.alphabet.n)
        ends = self.tokens + np.cumsum(lengths, dtype="<i8")
        self._offset_file.write(ends.tobytes())
        self.sequences += len(lengths)
        self.tokens += int(lengths.sum())
        for length, number in zip(*np.unique(lengths, return_counts=True), strict=True):
            self._lengths[int(length)] = self._lengths.get(int(length), 0) + int(number)

    def save(self) -> Written:
        """Make everything durable; what to hand to the next writer if this one dies."""
        for file in (self._token_file, self._offset_file):
            file.flush()
            os.fsync(file.fileno())
        lengths = {str(length): number for length, number in sorted(self._lengths.items())}
        return Written(self.sequences, self.tokens, self._counts.tolist(), lengths)

    def seal(self) -> None:
        """Write the header of the offsets; make both files durable and hash them. Nothing can be added any more."""
        self._offset_file.seek(0)
        self._offset_file.write(npy_header(self.sequences + 1))
        self._sealed = self.save()
        self.close()
        self._files = {name: describe_file(self.directory / name) for name in (TOKENS, OFFSETS)}

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest of a sealed store, which makes it complete."""
        own = {
            "format": FORMAT,
            "alphabet": self.alphabet.to_dict(),
            "sequences": self.sequences,
            "residues": self.tokens,
            "letter_counts": self._sealed.token_counts,
            LENGTHS: self._sealed.lengths,
            "files": self._files,
        }
        write_json(self.directory / MANIFEST, own | manifest)

    def close(self) -> None:
        """Close the files without finishing the store."""
        self._token_file.close()
        self._offset_file.close()


def _at(path: Path, size: int) -> BinaryIO:
    """The file, open for writing at `size` bytes, and nothing behind them."""
    if size and (not path.exists() or path.stat().st_size < size):
        raise DataError(f"{path}: is shorter than it was saved; what was prepared so far is discarded, start again")
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file
