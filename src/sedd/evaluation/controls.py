"""Controls of the bound on exactly the same residues: predictors that use nothing but token frequencies.

* uniform: ln n.
* unigram: each residue from the token frequencies f of the training data.
* composition: each residue from the tokens of the *rest* of its own sequence. With c_a tokens a among the L residues of
  a sequence and n symbols, a residue with token a has the probability

      p = (c_a - 1 + n f_a) / (L - 1 + n),

  which are the frequencies of the other residues and n pseudo-counts with the frequencies of the training data.
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
    """Token frequencies (n,) from token counts (n,), with one pseudo-count per token: none is impossible."""
    frequencies: Array = (counts + 1.0) / (counts.sum() + len(counts))
    return frequencies


def unigram(counts: NDArray[Any], frequencies: Array) -> Array:
    """Cross-entropy of each sequence under the unigram model, nats per residue, (sequences,).

    Args:
        counts: (sequences, n) token counts.
        frequencies: (n,), all positive.
    """
    nats: Array = -(counts @ np.log(frequencies)) / counts.sum(1)
    return nats


def composition(counts: NDArray[Any], frequencies: Array) -> Array:
    """Cross-entropy of each residue given the token counts of the rest of its sequence, nats per residue, (sequences,).

    This is a strict control: it is conditioned on all other residues, a model in the bound on half of them on average.

    Args:
        counts: (sequences, n) token counts.
        frequencies: (n,), all positive.
    """
    lengths, n = counts.sum(1), len(frequencies)
    # A token with count 0 is never predicted, but its logarithm below must be finite.
    others = np.maximum(counts - 1, 0) + n * frequencies
    nats: Array = (lengths * np.log(lengths - 1 + n) - (counts * np.log(others)).sum(1)) / lengths
    return nats


def count_tokens(data: Sequences, items: NDArray[np.int64], *, n: int, seed: int, max_length: int) -> Array:
    """Token counts of sequences, (items, n), cropped as `Estimator` crops them."""
    rows = [crop(data[item], seed=seed, sample=item, max_length=max_length) for item in items.tolist()]
    return np.array([np.bincount(np.asarray(row, np.int64), minlength=n) for row in rows], np.float64)


@dataclass(frozen=True, eq=False)
class Shuffled:
    """The residues that an estimator evaluates, each sequence in a random order keyed by `seed` and its index."""

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
        """Residues of some items, (items,)."""
        return np.minimum(lengths_of(self.source, indices), self.max_length)
