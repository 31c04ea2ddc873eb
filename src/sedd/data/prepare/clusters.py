"""Which cluster a sequence belongs to: two sorted arrays of 64-bit hashes, 16 bytes per line of the file."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedd.data.prepare.bytestream import ByteStream
from sedd.errors import DataError

LONGEST_LINE = 1 << 20
"""Bytes."""


class Clusters:
    """`clusters[id]` is a number that the members of a cluster share; KeyError for an id that is not listed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ids, clusters, lines = array("Q"), array("Q"), array("Q")
        for number, name, cluster in _rows(path):
            ids.append(word_hash(name))
            clusters.append(word_hash(cluster))
            lines.append(number)
        if not ids:
            raise DataError("no cluster is listed; expected lines of `sequence id <tab> cluster id`", file=path, line=1)
        keys, values = np.frombuffer(ids, np.uint64), np.frombuffer(clusters, np.uint64)
        order = np.argsort(keys, kind="stable")
        self._keys, self._values = keys[order], values[order]
        again = np.flatnonzero((self._keys[1:] == self._keys[:-1]) & (self._values[1:] != self._values[:-1]))
        if again.size:
            line = lines[int(order[again[0] + 1])]
            raise DataError("this id is listed before, in another cluster", file=path, line=line)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, name: str) -> int:
        [number], [known] = self.find(np.array([word_hash(name.encode())], np.uint64))
        if not known:
            raise KeyError(name)
        return int(number)

    def find(self, ids: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """The numbers for the `word_hash` of some ids, 0 where one is not listed; and which are listed."""
        at = np.minimum(np.searchsorted(self._keys, ids), len(self) - 1)
        known = self._keys[at] == ids
        return np.where(known, self._values[at], np.uint64(0)), known


def word_hash(word: bytes) -> int:
    """64 bits of an id."""
    return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")


def _rows(path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Line number, id and cluster of every line; further columns are ignored."""
    pending, number = b"", 0
    for block in chain(ByteStream(path).blocks(), [b"\n"]):
        *lines, pending = (pending + block).split(b"\n")
        if len(pending) > LONGEST_LINE:
            raise DataError(f"a line of more than {LONGEST_LINE:,} bytes", file=path, line=number + len(lines) + 1)
        for line in lines:
            number += 1
            words = [word.strip() for word in line.split(b"\t")[:2]]
            if len(words) == 2 and all(words):
                yield number, words[0], words[1]
            elif line.strip():
                shown = line[:60].decode("utf-8", "backslashreplace")
                raise DataError(f"expected `sequence id <tab> cluster id`, got {shown!r}", file=path, line=number)
