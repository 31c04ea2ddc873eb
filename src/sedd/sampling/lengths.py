"""The length distribution of a training set, small enough to be part of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sedd.data import Permutation, Sequences, length_counts
from sedd.errors import SamplingError
from sedd.randomness import generator


@dataclass(frozen=True)
class LengthDistribution:
    """Quantiles of sequence length, evenly spaced from the shortest to the longest."""

    quantiles: tuple[int, ...]

    @staticmethod
    def of(data: Sequences, *, longest: int, sample: int = 100_000) -> LengthDistribution:
        """The distribution of `min(length, longest)` over a random choice of at most `sample` sequences of `data`."""
        # Not the first ones: files are often sorted by length.
        chosen = Permutation(len(data), 0, 0)(np.arange(min(len(data), sample), dtype=np.int64))
        lengths, counts = length_counts(data, chosen)
        ends = np.cumsum(counts)
        ranks = np.rint(np.linspace(0.0, 1.0, 257) * (ends[-1] - 1))
        quantiles = np.minimum(lengths[np.searchsorted(ends, ranks, side="right")], longest)
        return LengthDistribution(tuple(quantiles.tolist()))

    @property
    def mean(self) -> float:
        """Mean length in residues."""
        return float(np.mean(self.quantiles))

    @property
    def deviation(self) -> float:
        """Standard deviation of the length in residues."""
        return float(np.std(self.quantiles))

    def of_samples(self, count: int, length: int | None, *, seed: int) -> np.ndarray:
        """Lengths of `count` samples, (count,): `length` for all, or drawn for None; a SamplingError if `count` < 0."""
        if count < 0:
            raise SamplingError(f"cannot draw {count} sequences; expected 0 or more", about="count")
        return self.draw(count, seed=seed) if length is None else np.full(count, length)

    def draw(self, count: int, *, seed: int) -> np.ndarray:
        """Draw the lengths of `count` sequences, (count,), by linear interpolation between the quantiles."""
        u, ranks = generator(seed, "lengths").random(count), np.linspace(0.0, 1.0, len(self.quantiles))
        return np.rint(np.interp(u, ranks, np.asarray(self.quantiles, np.float64))).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"quantiles": list(self.quantiles)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> LengthDistribution:
        """The inverse of `to_dict`. Raises ValueError unless there are rising lengths of at least 1 residue."""
        quantiles = tuple(data["quantiles"])
        if not quantiles or not all(type(length) is int and length >= 1 for length in quantiles):
            raise ValueError(f"quantiles of length: expected whole numbers of at least 1, got {quantiles!r:.80}")
        if list(quantiles) != sorted(quantiles):
            raise ValueError("quantiles of length: they fall")
        return LengthDistribution(quantiles)
