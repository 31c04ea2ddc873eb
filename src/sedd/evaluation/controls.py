"""What the bound is held against, on exactly the residues that it is of: predictors that know only letters.

* uniform: ln n.
* unigram: every residue from the letter frequencies f of the training data.
* composition: every residue from the letters of the *rest* of its own sequence. With c_a letters a among the L residues
  and n symbols, residue i with letter a has the probability (c_a - 1 + n f_a) / (L - 1 + n): the frequencies of the
  other residues, with n more residues that have the frequencies of the training data.
* shuffled: the model's own bound on the same residues in another order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data import Sequences, crop, lengths_of
from sedd.randomness import generator

Array = NDArray[np.float64]


def smoothed(counts: NDArray[Any]) -> Array:
    """Letter frequencies (n,), with one more of each letter, so that none is impossible."""
    frequencies: Array = (counts + 1.0) / (counts.sum() + len(counts))
    return frequencies


def unigram(counts: NDArray[Any], frequencies: Array) -> Array:
    """Cross-entropy of each sequence, nats per residue, (sequences,).

    Args:
        counts: (sequences, n): letters of each.
        frequencies: (n,), all positive.
    """
    found: Array = -(counts @ np.log(frequencies)) / counts.sum(1)
    return found


def composition(counts: NDArray[Any], frequencies: Array) -> Array:
    """Cross-entropy of each residue given how often each letter occurs in the rest of its sequence, (sequences,).

    No model that is asked for a bound knows all of the rest every time, so this is a strict control.
    """
    lengths, n = counts.sum(1), len(frequencies)
    # A letter that does not occur is never predicted; its count must not become negative all the same.
    others = np.maximum(counts - 1, 0) + n * frequencies
    found: Array = (lengths * np.log(lengths - 1 + n) - (counts * np.log(others)).sum(1)) / lengths
    return found


def token_counts(data: Sequences, items: NDArray[np.int64], *, n: int, seed: int, max_length: int) -> Array:
    """(items, n): letters of some sequences, cropped as the estimator of the bound crops them."""
    rows = [crop(data[item], seed=seed, sample=item, max_length=max_length) for item in items.tolist()]
    return np.array([np.bincount(np.asarray(row, np.int64), minlength=n) for row in rows], np.float64)


@dataclass(frozen=True, eq=False)
class Shuffled:
    """The residues that an estimator would score, each sequence in a random order that `seed` and its number decide."""

    source: Sequences
    max_length: int
    seed: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        row = np.asarray(self.source[index])
        row = crop(row, seed=self.seed, sample=index, max_length=self.max_length)
        return generator(self.seed, "bound-shuffled", index).permutation(row)

    def lengths_at(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Residues of some items."""
        return np.minimum(lengths_of(self.source, indices), self.max_length)
