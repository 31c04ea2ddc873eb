"""Writing a token store, sequence by sequence; the manifest comes last and makes it complete."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import Alphabet
from sedd.data.store import FORMAT, HEADER, LENGTHS, MANIFEST, OFFSETS, TOKENS, describe_file, npy_header
from sedd.files import write_json


class StoreWriter:
    """Writes `tokens.bin` and `offsets.npy` in a new `directory`, and at the end the manifest."""

    def __init__(self, directory: Path, alphabet: Alphabet) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.alphabet = alphabet
        self.sequences = 0
        self.tokens = 0
        self._token_counts: NDArray[np.int64] = np.zeros(alphabet.n, dtype=np.int64)
        self._length_counts: Counter[int] = Counter()
        self._token_file = (directory / TOKENS).open("wb")
        self._offset_file = (directory / OFFSETS).open("wb")
        # The header needs the number of sequences and is written at the end; the first offset is 0.
        self._offset_file.write(b"\0" * (HEADER + 8))

    def extend(self, ids: bytes, lengths: NDArray[np.int64]) -> None:
        """Append sequences: their ids one after the other, as the file holds them, and the length of each."""
        self._token_file.write(ids)
        self._token_counts += np.bincount(np.frombuffer(ids, self.alphabet.dtype), minlength=self.alphabet.n)
        ends = self.tokens + np.cumsum(lengths, dtype="<i8")
        self._offset_file.write(ends.tobytes())
        self.sequences += len(lengths)
        self.tokens += int(lengths.sum())
        values, counts = np.unique(lengths, return_counts=True)
        self._length_counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def finish(self, manifest: dict[str, Any], *, cancelled: Event | None = None) -> None:
        """Make both files durable and write the manifest: its own entries, their hashes, and those of `manifest`.
        Raises InterruptedError soon after `cancelled` was set."""
        self._offset_file.seek(0)
        self._offset_file.write(npy_header(self.sequences + 1))
        for file in (self._token_file, self._offset_file):
            file.flush()
            os.fsync(file.fileno())
        self.close()
        own = {
            "format": FORMAT,
            "alphabet": self.alphabet.to_dict(),
            "sequences": self.sequences,
            "residues": self.tokens,
            "letter_counts": self._token_counts.tolist(),
            LENGTHS: {str(length): count for length, count in sorted(self._length_counts.items())},
            "files": {name: describe_file(self.directory / name, cancelled=cancelled) for name in (TOKENS, OFFSETS)},
        }
        write_json(self.directory / MANIFEST, own | manifest)

    def close(self) -> None:
        """Close the files without finishing the store."""
        self._token_file.close()
        self._offset_file.close()
