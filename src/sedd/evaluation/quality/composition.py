"""Composition of sequences: classes of residues, and how much token frequencies vary between sequences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sedd.evaluation.quality.packed import Packed
from sedd.evaluation.quality.statistic import Floats, Ratio

CLASSES = {"hydrophobic": "ACFILMVW", "polar": "HNQSTY", "charged": "DEKR", "aromatic": "FHWY"}
"""They overlap, and G and P are in none."""


def class_share(sequences: Packed, letters: str) -> Ratio:
    """The share of residues that are one of `letters`."""
    inside = np.array([symbol in letters for symbol in sequences.alphabet.symbols])
    return Ratio(sequences.per_sequence(inside[sequences.tokens]), sequences.lengths.astype(np.float64))


@dataclass(frozen=True, eq=False)
class CompositionSpread:
    """How much token frequencies vary between sequences, nats per residue.

    The entropy of the tokens of all sequences minus the mean entropy of the tokens of a sequence, weighted by residues:
    the mutual information of a token and its sequence. Shuffling keeps it. Short sequences raise it by chance, by about
    (tokens - 1) / (2 length), so compare sets of like lengths.
    """

    sequences: Packed

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
