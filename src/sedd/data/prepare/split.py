"""The held-out split: each record goes to `train` or `valid` by a 64-bit hash, and with it all its pieces.

A record is held out if its key is below `holdout * 2**64`. Keys depend on the sequence (or its cluster) alone, so that
equal sequences are on one side, in every file and every run.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import Alphabet
from sedd.data.prepare.clusters import Clusters
from sedd.data.prepare.encoding import Encoded
from sedd.data.prepare.tally import Tally, count
from sedd.data.prepare.writer import StoreWriter
from sedd.errors import DataError

KEYS = 1 << 64
"""Number of possible keys."""


class SplitWriter:
    """Writes the stores `train` and, unless `threshold` is None, `valid` in `directory`."""

    def __init__(
        self, directory: Path, alphabet: Alphabet, *, threshold: int | None, clusters: Clusters | None
    ) -> None:
        self.threshold = threshold
        self.clusters = clusters
        self.train = StoreWriter(directory / "train", alphabet)
        self.valid = None if threshold is None else StoreWriter(directory / "valid", alphabet)
        self.tally = Tally()
        self._lowest, self._highest = KEYS, -1
        self._unlisted, self._first_unlisted = 0, ("", 0)

    def stores(self) -> dict[str, StoreWriter]:
        """The writers by the name of their split."""
        return {"train": self.train} | ({} if self.valid is None else {"valid": self.valid})

    def add(self, chunk: Encoded) -> None:
        """Append the sequences of a chunk, each to its side."""
        self.tally.add(chunk.tally)
        keys = chunk.keys if self.clusters is None else self._cluster_keys(chunk, self.clusters)
        if not len(keys):
            return
        self._lowest, self._highest = min(self._lowest, int(keys.min())), max(self._highest, int(keys.max()))
        if self.valid is None or self.threshold is None:
            self.train.extend(chunk.ids, chunk.lengths)
            return
        held = np.repeat(keys < np.uint64(self.threshold), chunk.pieces)
        # Consecutive sequences of one side are copied together: `runs` alternate between the sides.
        ends = np.cumsum(chunk.lengths) * self.train.alphabet.dtype.itemsize
        bounds = [0, *ends[np.flatnonzero(held[1:] != held[:-1])].tolist(), len(chunk.ids)]
        runs = [chunk.ids[begin:end] for begin, end in pairwise(bounds)]
        first, second = (self.valid, self.train) if held[0] else (self.train, self.valid)
        first.extend(b"".join(runs[0::2]), chunk.lengths[held == held[0]])
        second.extend(b"".join(runs[1::2]), chunk.lengths[held != held[0]])

    def _cluster_keys(self, chunk: Encoded, clusters: Clusters) -> NDArray[np.uint64]:
        """Keys that are equal for the members of a cluster."""
        keys, listed = clusters.find(chunk.keys)
        for index in np.flatnonzero(~listed):
            name, line = chunk.names[int(index)]
            known = clusters.by_alias(name)
            if known is not None:
                keys[index] = known
                count(self.tally.noted, "cluster_alias", f"line {line}: {name}")
                continue
            if not self._unlisted:
                self._first_unlisted = chunk.names[int(index)]
            self._unlisted += 1
        return keys

    def _note_format(self, clusters: Clusters) -> None:
        """Say how a cluster file was read that is not `sequence id <tab> cluster id`."""
        for kind, found in (("cluster_cdhit", clusters.cd_hit), ("cluster_order", clusters.representative_first)):
            if found:
                count(self.tally.noted, kind, f"{clusters.path.name}:1", number=len(clusters))

    def check(self, source: Path) -> None:
        """Refuse a set that is empty, or that the cluster file does not cover. Raises DataError with the tally, or with
        the first sequence that has no cluster."""
        if self.clusters is not None:
            self._note_format(self.clusters)
        if self._unlisted:
            name, line = self._first_unlisted
            raise DataError(
                f"lists no cluster for {self._unlisted:,} of {self.tally.kept:,} sequences, first {name!r} at "
                f"{source}:{line}, neither by the id nor by the accession in it. Give the cluster file of these "
                "sequences: lines of `sequence id <tab> cluster id`, a table of MMseqs2 or a .clstr of CD-HIT",
                file=None if self.clusters is None else self.clusters.path,
            )
        if not self.tally.sequences:
            raise DataError(f"no sequence is left.\n{self.tally}", file=source)

    def better_threshold(self, source: Path) -> int | None:
        """A threshold that leaves something on both sides, if one of them is empty (in a tiny file); else None. Raises
        DataError if there is only one distinct sequence or cluster, which cannot be divided."""
        if self.valid is None or (self.train.sequences and self.valid.sequences):
            return None
        if self._lowest == self._highest:
            kind = "sequence" if self.clusters is None else "cluster"
            raise DataError(
                f"only one distinct {kind} is left, so nothing can be held out; give more data, or a held-out file as "
                f"data.valid.\n{self.tally}",
                file=source,
            )
        return self._lowest + 1 if self.train.sequences else self._highest

    def close(self) -> None:
        """Close all files."""
        for writer in self.stores().values():
            writer.close()
