"""The length distribution of a training set, small enough to travel in every checkpoint."""

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
        """Read it off a data set; lengths are cut at `longest`, as training does.

        Where the source does not know its lengths, `sample` of them are looked at.
        """
        # A keyed choice, not the first ones: files are often sorted by length.
        chosen = Permutation(len(data), 0, 0)(np.arange(min(len(data), sample), dtype=np.int64))
        lengths, counts = length_counts(data, chosen)
        ends = np.cumsum(counts)
        ranks = np.rint(np.linspace(0.0, 1.0, 257) * (ends[-1] - 1))
        marks = np.minimum(lengths[np.searchsorted(ends, ranks, side="right")], longest)
        return LengthDistribution(tuple(int(mark) for mark in marks))

    @property
    def mean(self) -> float:
        """Mean length in residues."""
        return float(np.mean(self.quantiles))

    def of_samples(self, count: int, length: int | None, *, seed: int) -> np.ndarray:
        """Lengths of `count` samples: all `length` if it is given, drawn otherwise.

        Raises:
            SamplingError: if `count` is negative.
        """
        if count < 0:
            raise SamplingError(f"cannot draw {count} sequences; ask for 0 or more")
        return self.draw(count, seed=seed) if length is None else np.full(count, length)

    def draw(self, count: int, *, seed: int) -> np.ndarray:
        """Lengths of `count` sequences, (count,)."""
        u = generator(seed, "lengths").random(count)
        marks = np.asarray(self.quantiles, np.float64)
        return np.rint(np.interp(u, np.linspace(0.0, 1.0, len(marks)), marks)).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        return {"quantiles": list(self.quantiles)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> LengthDistribution:
        return LengthDistribution(tuple(data["quantiles"]))
