"""Appending to a token store that is not finished, so that a killed writer can go on where its state was last saved."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import Alphabet
from sedd.data.store import FORMAT, HEADER, MANIFEST, OFFSETS, TOKENS, describe_file, npy_header
from sedd.durable import write_json
from sedd.errors import DataError

_FLUSH = 1 << 20


@dataclass
class Written:
    """What a store holds so far; all that has to be saved to go on."""

    sequences: int = 0
    tokens: int = 0
    letter_counts: list[int] = field(default_factory=list)


class StoreWriter:
    """Writes `tokens.bin` and `offsets.npy` in `directory`, going on after what `written` says is there."""

    def __init__(self, directory: Path, alphabet: Alphabet, written: Written) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.alphabet = alphabet
        self.sequences = written.sequences
        self.tokens = written.tokens
        self._counts: NDArray[np.int64] = np.zeros(alphabet.n, dtype=np.int64)
        self._counts[: len(written.letter_counts)] = written.letter_counts
        self._pending: list[bytes] = []
        self._lengths: list[int] = []
        self._pending_bytes = 0
        self._token_file = _at(directory / TOKENS, written.tokens * alphabet.dtype.itemsize)
        self._offset_file = _at(directory / OFFSETS, HEADER + 8 * (written.sequences + 1) if written.sequences else 0)
        if not written.sequences:
            # The header needs the number of sequences and comes last; the first offset is 0.
            self._offset_file.write(b"\0" * (HEADER + 8))

    def append(self, sequence: str | bytes) -> None:
        """Encode and add one sequence."""
        ids = self.alphabet.encode_bytes(sequence)
        self._pending.append(ids)
        self._lengths.append(len(ids) // self.alphabet.dtype.itemsize)
        self._pending_bytes += len(ids)
        if self._pending_bytes >= _FLUSH:
            self._flush()

    def save(self) -> Written:
        """Make everything durable; what to hand to the next writer if this one dies."""
        self._flush()
        for file in (self._token_file, self._offset_file):
            file.flush()
            os.fsync(file.fileno())
        return Written(self.sequences, self.tokens, self._counts.tolist())

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the header of the offsets and the manifest."""
        self._flush()
        self._offset_file.seek(0)
        self._offset_file.write(npy_header(self.sequences + 1))
        self.save()
        self.close()
        files = {name: describe_file(self.directory / name) for name in (TOKENS, OFFSETS)}
        own = {
            "format": FORMAT,
            "alphabet": self.alphabet.to_dict(),
            "sequences": self.sequences,
            "residues": self.tokens,
            "letter_counts": self._counts.tolist(),
            "files": files,
        }
        write_json(self.directory / MANIFEST, own | manifest)

    def close(self) -> None:
        """Close the files without finishing the store."""
        self._token_file.close()
        self._offset_file.close()

    def _flush(self) -> None:
        ids = b"".join(self._pending)
        self._token_file.write(ids)
        self._counts += np.bincount(np.frombuffer(ids, self.alphabet.dtype), minlength=self.alphabet.n)
        ends = self.tokens + np.cumsum(self._lengths, dtype="<i8")
        self._offset_file.write(ends.tobytes())
        self.sequences += len(self._lengths)
        self.tokens += sum(self._lengths)
        self._pending, self._lengths, self._pending_bytes = [], [], 0


def _at(path: Path, size: int) -> BinaryIO:
    """The file, open for writing at `size` bytes, and nothing behind them."""
    if size and (not path.exists() or path.stat().st_size < size):
        raise DataError(f"{path}: is shorter than it was saved; what was prepared so far is discarded, start again")
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file
