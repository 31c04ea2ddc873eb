"""Statistics of a set of sequences and their standard errors from the bootstrap over sequences.

A statistic takes weights, one per sequence: how often the sequence was drawn. Weights of one give its value; draws with
replacement give its standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sedd.randomness import generator

Floats = NDArray[np.float64]


class Statistic(Protocol):
    """One number of a set of sequences."""

    def __call__(self, weights: Floats, /) -> Floats:
        """Value under each row of weights, (draws, sequences) to (draws,)."""


@dataclass(frozen=True, eq=False)
class Ratio:
    """A sum over sequences divided by another: a share of residues, or a mean over sequences."""

    above: Floats
    """(sequences,): terms of the numerator."""
    below: Floats
    """(sequences,): terms of the denominator."""

    def __call__(self, weights: Floats, /) -> Floats:
        return np.asarray(weights @ self.above / np.maximum(weights @ self.below, 1e-300))


def mean(values: Floats) -> Ratio:
    """The mean of one number per sequence."""
    return Ratio(np.asarray(values, np.float64), np.ones(len(values)))


def bootstrap_weights(count: int, draws: int, *, seed: int, which: str) -> Floats:
    """Row 0: every sequence once. The other `draws` rows: `count` sequences drawn with replacement."""
    drawn = generator(seed, f"bootstrap {which}").multinomial(count, np.full(count, 1.0 / count), size=draws)
    return np.concatenate([np.ones((1, count)), drawn]).astype(np.float64)
