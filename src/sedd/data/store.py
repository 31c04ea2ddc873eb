"""The token store: one memory map of ids, the offsets of the sequences, and a manifest with hashes.

Opening costs the same for 60 sequences and for 60 million, and every process that opens a store shares its pages.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import Alphabet, Ids
from sedd.errors import DataError
from sedd.files import check_regular, no_symlink, read_bounded

FORMAT = 1
MANIFEST, TOKENS, OFFSETS = "manifest.json", "tokens.bin", "offsets.npy"
LENGTHS = "length_counts"
"""In the manifest: how many sequences have each length. Stores of early versions lack it."""
VERIFIED_AT_ONCE = 64 << 20
"""Bytes of a store that are read and hashed in a fraction of a second."""
NEEDED: dict[str, type] = {
    "alphabet": dict, "files": dict, "sequences": int, "letter_counts": list, "options": dict, "source": dict,
    "tally": dict,
}  # fmt: skip
"""What every manifest has, and the type of each value."""
HEADER = 128
"""Bytes of the `.npy` header before the offsets."""
HASHED_AT_ONCE = 1 << 20
"""Bytes."""
MOST_MANIFEST = 256 << 20
"""Bytes."""
REMEDY = "remove the directory and make it again (`sedd data prepare`; a cache is made again by itself)"


class TokenStore:
    """Read-only sequences of ids; `store[i]` is a view into the memory map."""

    def __init__(self, path: Path, manifest: Mapping[str, Any], tokens: Ids, offsets: NDArray[np.int64]) -> None:
        self.path = path
        self.manifest = manifest
        self.alphabet = Alphabet.from_dict(manifest["alphabet"])
        # Plain views of the memory maps: slicing a `numpy.memmap` takes ten times as long.
        self._tokens: Ids = np.asarray(tokens)
        self._offsets: NDArray[np.int64] = np.asarray(offsets)
        self._damage: DataError | None = None

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> TokenStore:
        """Open the store in directory `path`; `verify` reads all of it and compares hashes. Raises DataError if it is
        missing, damaged, or written by a newer version of sedd."""
        path = Path(path)
        manifest = read_manifest(path)
        for name in (TOKENS, OFFSETS):
            _check_file(path / name, manifest["files"][name], verify=verify)
        alphabet = Alphabet.from_dict(manifest["alphabet"])
        try:
            with open(path / TOKENS, "rb", opener=no_symlink) as file:
                tokens = np.memmap(file, dtype=alphabet.dtype, mode="r")
            with open(path / OFFSETS, "rb", opener=no_symlink) as file:
                header = file.read(HEADER)
                offsets = np.memmap(file, dtype="<i8", mode="r", offset=HEADER)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot be opened ({error}); {REMEDY}", file=path) from error
        # Compared and not parsed: numpy's own reader ends damaged headers in many kinds of exception.
        if header != npy_header(manifest["sequences"] + 1) or int(offsets[-1]) != len(tokens):
            raise DataError(f"offsets, tokens and manifest do not belong together; {REMEDY}", file=path)
        return cls(path, manifest, tokens, offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Ids:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"sequence {index} of a store with {n}")
        if self._damage is not None:
            raise self._damage
        index = int(index) % n
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        # Slices of a damaged store would be empty or of another sequence, and train in silence.
        if not 0 <= start <= end <= len(self._tokens):
            raise self._damaged(f"sequence {index:,} lies from {start:,} to {end:,} of {len(self._tokens):,}")
        ids = np.asarray(self._tokens[start:end])
        if len(ids) and ids.max() >= self.alphabet.n:
            raise self._damaged(f"sequence {index:,} has the id {ids.max()} of {self.alphabet.n} symbols")
        return ids

    def verify(self, *, at_once: int = VERIFIED_AT_ONCE, background: bool = True) -> None:
        """Compare all bytes with the hashes of the manifest, whose size alone was checked when the store was opened.

        A store of more than `at_once` bytes is read by a thread, if `background` is true; if it is damaged, the next
        read of a sequence raises. Raises DataError if a smaller store is damaged.
        """
        files = self.manifest["files"]
        if sum(files[name]["size"] for name in (TOKENS, OFFSETS)) <= at_once:
            self._verify()
        elif background:
            threading.Thread(target=self._verify_and_remember, name="verify store", daemon=True).start()

    def _verify(self) -> None:
        for name in (TOKENS, OFFSETS):
            _check_file(self.path / name, self.manifest["files"][name], verify=True)

    def _verify_and_remember(self) -> None:
        try:
            self._verify()
        except DataError as error:
            self._damage = error
        except OSError:
            pass  # the files are gone or cannot be read: whoever reads them next says so

    def _damaged(self, what: str) -> DataError:
        return DataError(f"damaged: {what}. `sedd data verify {self.path}` checks all of it; {REMEDY}", file=self.path)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Residues in each sequence: 8 bytes for each, computed at the first use."""
        return np.diff(self._offsets)

    def lengths_at(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """`lengths[indices]`, without computing the others."""
        lengths = np.asarray(self._offsets[indices + 1] - self._offsets[indices])
        if len(lengths) and lengths.min() < 0:
            raise self._damaged(f"sequence {int(indices[lengths.argmin()]):,} has a negative length")
        return lengths

    def starts_at(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where some sequences begin in `tokens`."""
        return np.asarray(self._offsets[indices])

    @property
    def tokens(self) -> Ids:
        """The ids of all sequences, one after the other."""
        return self._tokens

    @property
    def token_counts(self) -> NDArray[np.int64]:
        """How often each of the n symbols occurs."""
        return np.array(self.manifest["letter_counts"], dtype=np.int64)

    @cached_property
    def length_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The lengths that occur, ascending, and how many sequences have each; None if they are not recorded."""
        known = self.manifest.get(LENGTHS)
        if known is None:
            return None
        lengths = np.array([int(length) for length in known], dtype=np.int64)
        return lengths, np.array(list(known.values()), dtype=np.int64)

    @property
    def identity(self) -> str:
        """A hash of all sequences, from the manifest."""
        files = self.manifest["files"]
        both = files[TOKENS]["sha256"] + files[OFFSETS]["sha256"]
        return hashlib.sha256(both.encode()).hexdigest()

    @property
    def residues(self) -> int:
        """Residues in all sequences."""
        return len(self._tokens)

    def __reduce__(self) -> tuple[Any, ...]:
        return (TokenStore.open, (self.path,))

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}: {len(self):,} sequences, {self.residues:,} residues)"


def is_store(path: Path) -> bool:
    """Whether directory `path` looks like a store."""
    return (path / MANIFEST).is_file()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the store in `path`, checked for shape and version."""
    try:
        manifest = json.loads(read_bounded(path / MANIFEST, most=MOST_MANIFEST, follow=False))
    except FileNotFoundError:
        raise DataError(f"no such file, so this is not a token store; {REMEDY}", file=path / MANIFEST) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot be read ({error}); {REMEDY}", file=path / MANIFEST) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise DataError(f"store format {found}, this sedd reads up to {FORMAT}; upgrade sedd, or {REMEDY}", file=path)
    if not isinstance(found, int) or not all(isinstance(manifest.get(key), NEEDED[key]) for key in NEEDED):
        raise DataError(f"not the manifest of a token store; {REMEDY}", file=path / MANIFEST)
    files = manifest["files"]
    if not isinstance(files, dict) or not all(_describes_file(files.get(name)) for name in (TOKENS, OFFSETS)):
        raise DataError(f"does not list {TOKENS} and {OFFSETS}; {REMEDY}", file=path / MANIFEST)
    return dict(manifest)


def _describes_file(entry: Any) -> bool:
    known = isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
    return known and type(entry.get("size")) is int and entry["size"] >= 0


def npy_header(count: int) -> bytes:
    """The header of `offsets.npy`, padded so that its size does not depend on the number of sequences."""
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({count},), }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"


def describe_file(path: Path, *, cancelled: Event | None = None) -> dict[str, Any]:
    """Size and sha256 of a regular file. Raises OSError if it is another, InterruptedError soon after `cancelled`."""
    digest = hashlib.sha256()
    check_regular(path)
    with path.open("rb") as file:
        while block := file.read(HASHED_AT_ONCE):
            if cancelled is not None and cancelled.is_set():
                raise InterruptedError
            digest.update(block)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def _check_file(path: Path, expected: Mapping[str, Any], *, verify: bool) -> None:
    if path.is_symlink():
        raise DataError("a symbolic link; put the file itself into the store", file=path)
    if not path.is_file():
        raise DataError(f"this file of the store is missing; {REMEDY}", file=path)
    if (size := path.stat().st_size) != expected["size"]:
        raise DataError(f"damaged, {size:,} bytes instead of {expected['size']:,}; {REMEDY}", file=path)
    if verify and describe_file(path) != dict(expected):
        raise DataError(f"damaged, its sha256 is not the one in the manifest; {REMEDY}", file=path)
