"""Diversity within a set of sequences: copies, distances of pairs, and how much the composition varies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sedd.evaluation.quality.packed import PackedSequences
from sedd.evaluation.quality.statistic import Floats, Ratio, mean

K = 3
MOST = 200
"""Sequences whose pairs are compared: the first ones, which come in a keyed order or in that of the sampler."""


def uniqueness(sequences: PackedSequences) -> Ratio:
    """The share of sequences that are not an exact copy of an earlier one in the set."""
    first: dict[bytes, int] = {}
    copied = [first.setdefault(sequences.row(i).tobytes(), i) != i for i in range(len(sequences))]
    return mean(1.0 - np.array(copied))


@dataclass(frozen=True, eq=False)
class PairDistance:
    """Mean distance of two sequences of the set: 1 - Jaccard index of their sets of 3-mers, from 0 to 1.

    Over all pairs of the first 200 sequences. A set of one sequence has no pair, and distance 0.
    """

    sequences: PackedSequences

    def __call__(self, weights: Floats, /) -> Floats:
        count = len(self._distances)
        drawn = weights[:, :count]
        total = np.einsum("bi,ij,bj->b", drawn, self._distances, drawn, optimize=True)
        pairs = drawn.sum(1) ** 2 - (drawn**2).sum(1)  # a sequence and its own second draw are no pair
        return np.asarray(np.where(pairs > 0, total / np.maximum(pairs, 1.0), 0.0))

    @cached_property
    def _distances(self) -> Floats:
        """(sequences, sequences), 0 on the diagonal."""
        few = self.sequences.part(0, min(MOST, len(self.sequences)))
        codes, owner = few.kmers(K)
        known, kmers = np.unique(codes, return_inverse=True)
        present = np.zeros((len(few), len(known)), np.float32)
        present[owner, kmers] = 1.0
        shared = present @ present.T
        sizes = present.sum(1)
        either = sizes[:, None] + sizes[None] - shared
        # Sequences too short for a 3-mer: alike if both are.
        distances = np.where(either > 0, 1.0 - shared / np.maximum(either, 1.0), 0.0).astype(np.float64)
        np.fill_diagonal(distances, 0.0)
        return distances


@dataclass(frozen=True, eq=False)
class CompositionSpread:
    """How much token frequencies vary between sequences, nats per residue.

    The entropy of the tokens of all sequences minus the mean entropy of the tokens of a sequence, weighted by residues:
    the mutual information of a token and its sequence. Shuffling keeps it. Short sequences raise it by chance, by about
    (tokens - 1) / (2 length), so compare sets of like lengths.
    """

    sequences: PackedSequences

    def __call__(self, weights: Floats, /) -> Floats:
        counts, own = self._counted
        residues = weights @ counts.sum(1)
        together = _entropy(weights @ counts)
        # Rounding can take equal numbers below 0.
        return np.asarray(np.maximum(together - weights @ (counts.sum(1) * own) / np.maximum(residues, 1.0), 0.0))

    @cached_property
    def _counted(self) -> tuple[Floats, Floats]:
        """Counts of the tokens that occur, (sequences, tokens), and the entropy of each row, nats."""
        present, tokens = np.unique(self.sequences.tokens, return_inverse=True)
        shape = (len(self.sequences), len(present))
        cells = self.sequences.owner.astype(np.int64) * shape[1] + tokens
        counts = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
        return counts, _entropy(counts)


def _entropy(counts: Floats) -> Floats:
    """Entropy of each row of counts, nats."""
    p = counts / np.maximum(counts.sum(1, keepdims=True), 1.0)
    return np.asarray(-(p * np.log(np.maximum(p, 1e-300))).sum(1))
