"""Which cluster a sequence belongs to: two sorted arrays of 64-bit hashes, 16 bytes per line of the file."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedd.data.prepare.bytestream import ByteStream, DamagedError
from sedd.errors import DataError


class Clusters:
    """`clusters[id]` is a number that the members of a cluster share; KeyError for an id that is not listed."""

    def __init__(self, path: Path) -> None:
        ids, clusters, lines = array("Q"), array("Q"), array("Q")
        for number, name, cluster in _rows(path):
            ids.append(word_hash(name))
            clusters.append(word_hash(cluster))
            lines.append(number)
        keys, values = np.frombuffer(ids, np.uint64), np.frombuffer(clusters, np.uint64)
        order = np.argsort(keys, kind="stable")
        self._keys, self._values = keys[order], values[order]
        again = np.flatnonzero((self._keys[1:] == self._keys[:-1]) & (self._values[1:] != self._values[:-1]))
        if again.size:
            raise DataError(f"{path}:{lines[int(order[again[0] + 1])]}: this id is listed before, in another cluster")

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, name: str) -> int:
        [number], [known] = self.find(np.array([word_hash(name.encode())], np.uint64))
        if not known:
            raise KeyError(name)
        return int(number)

    def find(self, ids: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """The numbers for the `word_hash` of some ids, 0 where one is not listed; and which are listed."""
        if not len(self):
            return np.zeros_like(ids), np.zeros(len(ids), bool)
        at = np.minimum(np.searchsorted(self._keys, ids), len(self) - 1)
        known = self._keys[at] == ids
        return np.where(known, self._values[at], np.uint64(0)), known


def word_hash(word: bytes) -> int:
    """64 bits of an id."""
    return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")


def _rows(path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Line number, id and cluster of every line; further columns are ignored."""
    pending, number = b"", 0
    try:
        for block in ByteStream(path).blocks():
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                number += 1
                if row := _row(path, number, line):
                    yield row
    except DamagedError as damage:
        raise DataError(f"{path}:{number + 1}: {damage}") from damage
    if row := _row(path, number + 1, pending):
        yield row
    elif number == 0:
        raise DataError(f"{path}:1: the file is empty; expected lines of `sequence id <tab> cluster id`")


def _row(path: Path, number: int, line: bytes) -> tuple[int, bytes, bytes] | None:
    words = line.split(b"\t")
    if len(words) >= 2 and words[0].strip() and words[1].strip():
        return number, words[0].strip(), words[1].strip()
    if line.strip():
        shown = line[:60].decode("utf-8", "backslashreplace")
        raise DataError(f"{path}:{number}: expected `sequence id <tab> cluster id`, got {shown!r}")
    return None
