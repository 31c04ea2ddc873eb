"""Diversity within a set of sequences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sedd.evaluation.quality.packed import Packed
from sedd.evaluation.quality.statistic import Floats, Ratio, mean

K = 3
MOST = 200
"""Sequences whose pairs are compared: the first ones, which come in a keyed order or in that of the sampler."""


def uniqueness(sequences: Packed) -> Ratio:
    """The share of sequences that are not an exact copy of an earlier one in the set."""
    seen: set[bytes] = set()
    new = np.zeros(len(sequences))
    for index in range(len(sequences)):
        key = sequences.row(index).tobytes()
        new[index] = key not in seen
        seen.add(key)
    return mean(new)


@dataclass(frozen=True, eq=False)
class PairDistance:
    """Mean distance of two sequences of the set: 1 - Jaccard index of their sets of 3-mers, from 0 to 1.

    Over all pairs of the first 200 sequences. A set of one sequence has no pair, and distance 0.
    """

    sequences: Packed

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
