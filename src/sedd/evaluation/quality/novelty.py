"""Similarity of each sequence to its nearest neighbour in the training set.

An inverted index of the training set's 5-mers finds the neighbour: the training sequence that shares the largest part
of a sequence's distinct 5-mers. No alignment is needed, and a copy, also one of a part of a longer sequence, shares
all of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sedd.data import Alphabet, Sequences
from sedd.evaluation.quality.packed import Ints, Packed
from sedd.evaluation.quality.statistic import Floats, Ratio, mean

K = 5
CLOSE = 0.9
"""A sequence that shares this much with one training sequence is a close copy of it."""
MOST_SEARCHED = 50_000


@dataclass(frozen=True, eq=False)
class TrainingIndex:
    """The k-mers of training sequences, and which sequences have each.

    Memory: 12 bytes per residue that it holds (50,000 proteins: 200 MB), and 45 while it is made.
    """

    codes: Ints
    """(k-mers,): the distinct k-mers, sorted."""
    starts: NDArray[np.int32]
    """(k-mers + 1,): where the sequences of each begin in `owners`."""
    owners: NDArray[np.int32]
    """(k-mers of every sequence,): the training sequences."""
    hashes: NDArray[np.uint64]
    """(searched,): one per training sequence, sorted: finds exact copies."""
    k: int
    searched: int
    """Training sequences in the index."""
    total: int
    """Training sequences in total."""
    sequences: Packed
    """Those in the index."""

    @staticmethod
    def of(training: Sequences, alphabet: Alphabet, *, most: int = MOST_SEARCHED, seed: int = 0) -> TrainingIndex:
        """Index at most `most` sequences of a training set, chosen by key."""
        packed = Packed.drawn(training, alphabet, most=most, seed=seed)
        k = min(K, int(40 / np.log2(alphabet.n)))  # fewer for huge alphabets: a code must leave room for the owner
        kmers, owners = _distinct(packed, k)
        starts = np.flatnonzero(_is_first(kmers))
        return TrainingIndex(
            codes=kmers[starts],
            starts=np.append(starts, len(kmers)).astype(np.int32),
            owners=owners.astype(np.int32),
            hashes=np.sort(_hashes(packed)),
            k=k,
            searched=len(packed),
            total=len(training),
            sequences=packed,
        )

    def nearest(self, sequences: Packed) -> Neighbours:
        """The nearest training sequence of each."""
        shares, which = np.zeros(len(sequences)), np.zeros(len(sequences), np.int64)
        codes, owner = _distinct(sequences, self.k)
        order = np.argsort(owner, kind="stable")
        bounds = np.searchsorted(owner[order], np.arange(len(sequences) + 1))
        for index in range(len(sequences)):
            mine = codes[order[bounds[index] : bounds[index + 1]]]
            if len(mine):
                votes = np.bincount(self._postings(mine), minlength=1)
                which[index] = votes.argmax()
                shares[index] = votes[which[index]] / len(mine)
        exact = np.isin(_hashes(sequences), self.hashes)
        shares[exact] = 1.0  # also of copies too short for a k-mer
        return Neighbours(shares, which, exact)

    def _postings(self, codes: Ints) -> NDArray[np.int32]:
        """The training sequences of each code, one after the other."""
        place = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        place = place[self.codes[place] == codes] if len(self.codes) else place[:0]
        first, count = self.starts[place], self.starts[place + 1] - self.starts[place]
        ends = np.cumsum(count)
        inside = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - count, count)
        return np.asarray(self.owners[np.repeat(first, count) + inside])


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Nearest training sequences, from `TrainingIndex.nearest`; arrays of (sequences,)."""

    shares: Floats
    """The part of a sequence's distinct k-mers that its nearest training sequence has, 0 to 1."""
    which: Ints
    """The index of that training sequence in `TrainingIndex.sequences`."""
    exact: NDArray[np.bool_]
    """Whether the sequence itself is in the training set."""

    @cached_property
    def novelty(self) -> Ratio:
        """Mean of 1 - share."""
        return mean(1.0 - self.shares)

    @cached_property
    def copies(self) -> Ratio:
        """Share of sequences that are close copies of a training sequence."""
        return mean((self.shares >= CLOSE).astype(np.float64))


def _distinct(sequences: Packed, k: int) -> tuple[Ints, Ints]:
    """The distinct k-mers of each sequence, sorted by k-mer, and the sequence of each."""
    codes, owner = sequences.kmers(k)
    both = np.sort(codes * len(sequences) + owner)  # np.unique hashes integers, which takes ten times as long
    both = both[_is_first(both)]
    return both // len(sequences), both % len(sequences)


def _is_first(values: Ints) -> NDArray[np.bool_]:
    """Where sorted values differ from their predecessors."""
    return np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]])


def _hashes(sequences: Packed) -> NDArray[np.uint64]:
    digests = (
        hashlib.blake2b(sequences.row(index).tobytes(), digest_size=8).digest() for index in range(len(sequences))
    )
    return np.frombuffer(b"".join(digests), np.uint64)
