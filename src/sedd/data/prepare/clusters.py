"""Which cluster a sequence belongs to: two sorted arrays of 64-bit hashes, 16 bytes per line of the file, and as much
again if ids have accessions in them.

Three formats are recognised by their content: `sequence id <tab> cluster id`; the table of MMseqs2, in which the
representative of a cluster comes first and the member second; and the `.clstr` file of CD-HIT.
"""

from __future__ import annotations

import hashlib
import re
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
Hashes = NDArray[np.uint64]
CD_HIT_ID = 19
"""Characters of an id in a `.clstr` file, unless CD-HIT was called with `-d 0`."""
_CD_HIT_MEMBER = re.compile(rb"\d+\t\d+(?:aa|nt), >(.+?)\.\.\. (?:\*|at .*)")


class Clusters:
    """`clusters[id]` is a number that the members of a cluster share; KeyError for an id that is not listed.

    An id that is not listed as it is may be listed by its accession: `sp|P69905|HBA_HUMAN` as `P69905`, which is what
    MMseqs2 writes, or the other way round.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cd_hit = is_cd_hit(path)
        columns, accessions, lines = (array("Q"), array("Q")), (array("Q"), array("Q")), array("Q")
        has_accessions = False
        for number, *row in _cd_hit_rows(path) if self.cd_hit else _rows(path):
            for word, hashes, aliases in zip(row, columns, accessions, strict=True):
                hashes.append(word_hash(word))
                aliases.append(word_hash(accession(word)) if b"|" in word else hashes[-1])
                has_accessions = has_accessions or b"|" in word
            lines.append(number)
        if not lines:
            raise DataError("no cluster is listed; expected lines of `sequence id <tab> cluster id`", file=path, line=1)
        ids, clusters = (np.frombuffer(column, np.uint64) for column in columns)
        self.representative_first = _repeats(ids, clusters) and not _repeats(clusters, ids)
        """Whether the file has the order of MMseqs2."""
        if self.representative_first:
            ids, clusters = clusters, ids
        self._index = _Index(ids, clusters)
        own = np.frombuffer(accessions[self.representative_first], np.uint64)
        self._accessions = _Index(own, clusters) if has_accessions else self._index
        if (row_number := self._index.contradiction()) is not None:
            raise DataError("this id is listed before, in another cluster", file=path, line=lines[row_number])

    def __len__(self) -> int:
        return len(self._index.keys)

    def __getitem__(self, name: str) -> int:
        [number], [known] = self.find(np.array([word_hash(name.encode())], np.uint64))
        if not known:
            raise KeyError(name)
        return int(number)

    def find(self, ids: Hashes) -> tuple[Hashes, NDArray[np.bool_]]:
        """The numbers for the `word_hash` of some ids, 0 where one is not listed; and which are listed."""
        return self._index.find(ids)

    def by_alias(self, name: str) -> int | None:
        """The number for an id that is not listed as it is: by its accession, or in a file of CD-HIT by its beginning.
        None if that is not listed either."""
        word = name.encode()
        hashes = np.array([word_hash(alias) for alias in (accession(word), word[:CD_HIT_ID])], np.uint64)
        [by_accession, by_beginning], [known, known_beginning] = self._accessions.find(hashes)
        if known:
            return int(by_accession)
        return int(by_beginning) if self.cd_hit and known_beginning else None


class _Index:
    """Clusters by id, both as hashes, (rows,); sorted, so that many ids are found at once."""

    def __init__(self, ids: Hashes, clusters: Hashes) -> None:
        self._order = np.argsort(ids, kind="stable")
        self.keys, self.values = ids[self._order], clusters[self._order]

    def find(self, ids: Hashes) -> tuple[Hashes, NDArray[np.bool_]]:
        """The clusters of some ids, 0 where one is not listed; and which are listed."""
        at = np.minimum(np.searchsorted(self.keys, ids), len(self.keys) - 1)
        known = self.keys[at] == ids
        return np.where(known, self.values[at], np.uint64(0)), known

    def contradiction(self) -> int | None:
        """The first row whose id is listed before, in another cluster."""
        again = np.flatnonzero((self.keys[1:] == self.keys[:-1]) & (self.values[1:] != self.values[:-1]))
        return int(self._order[again[0] + 1]) if again.size else None


def word_hash(word: bytes) -> int:
    """64 bits of an id."""
    return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")


def accession(name: bytes) -> bytes:
    """The accession in an id such as `sp|P69905|HBA_HUMAN` or `gi|1|ref|NP_1.1|`; the id itself if it has no `|`."""
    fields = [field for field in name.split(b"|") if field]
    if len(fields) >= 4 and fields[0] == b"gi":
        return fields[3]
    return fields[1] if len(fields) > 1 else name


def is_cd_hit(path: Path) -> bool:
    """Whether a cluster file is one of CD-HIT."""
    return ByteStream(path).head(64).lstrip().startswith(b">Cluster ")


def _repeats(ids: Hashes, clusters: Hashes) -> bool:
    """Whether an id is listed in several clusters."""
    return _Index(ids, clusters).contradiction() is not None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    pending, number = b"", 0
    for block in chain(ByteStream(path).blocks(), [b"\n"]):
        *lines, pending = (pending + block).split(b"\n")
        if len(pending) > LONGEST_LINE:
            raise DataError(f"a line of more than {LONGEST_LINE:,} bytes", file=path, line=number + len(lines) + 1)
        for line in lines:
            number += 1
            if line.strip():
                yield number, line


def _rows(path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Line number, id and cluster of every line; further columns are ignored."""
    for number, line in _lines(path):
        words = [word.strip() for word in line.split(b"\t")[:2]]
        if len(words) < 2 or not all(words):
            raise _unexpected("`sequence id <tab> cluster id`", line, path, number)
        yield number, words[0], words[1]


def _cd_hit_rows(path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Line number, id and cluster of every member in a `.clstr` file."""
    cluster = b""
    for number, line in _lines(path):
        if line.startswith(b">Cluster"):
            cluster = line.strip()
        elif (member := _CD_HIT_MEMBER.fullmatch(line.strip())) is not None:
            yield number, member[1], cluster
        else:
            raise _unexpected("a member such as `0	60aa, >id... *`", line, path, number)


def _unexpected(expected: str, line: bytes, path: Path, number: int) -> DataError:
    shown = line[:60].decode("utf-8", "backslashreplace")
    return DataError(f"expected {expected}, got {shown!r}", file=path, line=number)
