"""Divergence of the k-mer frequencies of two sets of sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sedd.evaluation.quality.packed import Ints, Packed
from sedd.evaluation.quality.statistic import Floats

MOST_KINDS = 20_000
CELLS = 4_000_000
"""Numbers in a block of counts by sequence."""


@dataclass(frozen=True, eq=False)
class KmerDivergence:
    """Jensen-Shannon divergence of the k-mer frequencies from those of a reference, nats: 0 equal, ln 2 disjoint.

    It is above 0 for a sample of the reference itself, by about (k-mers - 1) / 8 (1/a + 1/b) for samples of a and b
    k-mers. So compare it only between sets with equally many residues.
    """

    sequences: Packed
    reference: Packed
    k: int

    def __call__(self, weights: Floats, /) -> Floats:
        codes, owner, reference = self._counted
        if not len(codes):  # no sequence is as long as k
            return np.full(len(weights), np.log(2.0) if reference.any() else 0.0)
        return np.array([_divergence(counts, reference) for counts in _weighted(codes, owner, weights, len(reference))])

    @cached_property
    def _counted(self) -> tuple[Ints, NDArray[np.int32], Floats]:
        """Codes from 0 to the number of k-mers that occur, the sequence of each, and the counts of the reference."""
        (mine, owner), (theirs, _) = self.sequences.kmers(self.k), self.reference.kmers(self.k)
        known, codes = np.unique(np.concatenate([mine, theirs]), return_inverse=True)
        reference = np.bincount(codes[len(mine) :], minlength=len(known)).astype(np.float64)
        return codes[: len(mine)], owner, reference


def _weighted(codes: Ints, owner: NDArray[np.int32], weights: Floats, kinds: int) -> Iterator[Floats]:
    """The counts of all k-mers, (kinds,), under each row of weights."""
    if kinds > MOST_KINDS:
        for row in weights:
            yield np.bincount(codes, row[owner], minlength=kinds).astype(np.float64)
        return
    # Counts by sequence times weights, a block of sequences at a time: ten times as fast as counting for each row.
    # float32 is exact: no count reaches 2^24 within a block.
    total = np.zeros((len(weights), kinds))
    block = max(1, CELLS // kinds)
    for first in range(0, weights.shape[1], block):
        begin, end = np.searchsorted(owner, [first, first + block])
        rows = min(block, weights.shape[1] - first)
        cells = (owner[begin:end].astype(np.int64) - first) * kinds + codes[begin:end]
        table = np.bincount(cells, minlength=rows * kinds).astype(np.float32).reshape(rows, kinds)
        total += weights[:, first : first + rows].astype(np.float32) @ table
    yield from total


def _divergence(counts: Floats, reference: Floats) -> float:
    """Jensen-Shannon divergence of two arrays of counts, nats; ln 2 if one of them is empty."""
    if not counts.sum() or not reference.sum():
        return float(np.log(2.0))
    p, q = counts / counts.sum(), reference / reference.sum()
    middle = np.log(np.maximum(0.5 * (p + q), 1e-300))
    both = (_entropy_terms(p) - p * middle).sum() + (_entropy_terms(q) - q * middle).sum()
    return float(np.clip(0.5 * both, 0.0, np.log(2.0)))


def _entropy_terms(p: Floats) -> Floats:
    return np.asarray(p * np.log(np.maximum(p, 1e-300)))
