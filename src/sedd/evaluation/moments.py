"""Sums over sequences from which a bound, its controls and all their errors follow, in memory that does not grow.

Everything reported is a mean over residues of something that is linear in each sequence's columns u, and the square of
its standard error over sequences is c' G c / R^2 for G = sum of l^2 u u', with l the residues of a sequence, R those of
all, and c the coefficients of the deviation from the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import BINS, EDGES
from sedd.evaluation.bound import Bound, Part
from sedd.evaluation.scatter import mask_variance

Array = NDArray[np.float64]


@dataclass
class Moments:
    """Fed with the parts of an evaluation; `columns` of further numbers per sequence ride along under their names."""

    names: tuple[str, ...] = ()
    sequences: int = 0
    residues: float = 0.0
    cropped: int = 0
    trained: float = 0.0
    mask_variance: float = 0.0
    """Sum of l^2 times the variance of each sequence's bound over its masks."""
    single: float = 0.0
    """Sum of l times the same."""
    square: float = 0.0
    """Sum of l times the square of each sequence's bound."""
    first: Array = field(init=False)
    gram: Array = field(init=False)

    def __post_init__(self) -> None:
        size = 2 * BINS + 1 + len(self.names)
        self.first, self.gram = np.zeros(size), np.zeros((size, size))

    def add(self, part: Part, *, cropped: int, columns: Mapping[str, Array]) -> None:
        """Add some sequences; `columns` has (sequences,) values, nats per residue, for every name."""
        lengths = part.residues
        own = [columns[name][:, None] for name in self.names]
        rows = np.concatenate([part.by_bin, part.drawn, np.ones((len(lengths), 1)), *own], 1) * lengths[:, None]
        variance = mask_variance(part)
        self.sequences += len(lengths)
        self.residues += float(lengths.sum())
        self.cropped += cropped
        self.trained += float(lengths @ part.trained)
        self.mask_variance += float(lengths**2 @ variance)
        self.single += float(lengths @ variance)
        self.square += float(lengths @ part.values.mean(1) ** 2)
        self.first += rows.sum(0)
        self.gram += rows.T @ rows

    @property
    def nats(self) -> float:
        """The bound, nats per residue."""
        return float(self.first[:BINS].sum() / self.residues)

    def mean(self, name: str) -> float:
        """Mean of a further column over residues."""
        return float(self.first[self._place(name)] / self.residues)

    def less(self, name: str) -> tuple[float, float]:
        """The bound less a further column, and the standard error of that over sequences: both are of the same ones."""
        gap = self.nats - self.mean(name)
        weights = self._bound(gap)
        weights[self._place(name)] = -1.0
        return gap, self._stderr(weights)

    @property
    def spread(self) -> float:
        """Variance of the bounds of sequences, weighted by residues, masks included; nan for a single one."""
        if self.sequences < 2:
            return math.nan
        return max(0.0, self.square / self.residues - self.nats**2) * self.sequences / (self.sequences - 1)

    def between(self, low: float, high: float) -> tuple[float, float]:
        """Mean and standard error of the integrand between two edges of mask rate; nan where nothing was drawn."""
        first, last = (int(np.argmin(np.abs(EDGES - end))) for end in (low, high))
        drawn = float(self.first[BINS + first : BINS + last].sum())
        if drawn <= 0.0:
            return math.nan, math.nan
        mean = float(self.first[first:last].sum()) / drawn
        weights = np.zeros(len(self.first))
        weights[first:last], weights[BINS + first : BINS + last] = 1.0, -mean
        return mean, self._stderr(weights) * self.residues / drawn

    def bound(self) -> Bound:
        """As `Estimator` gives it."""
        parts, drawn = self.first[:BINS], self.first[BINS : 2 * BINS]
        known = drawn > 0
        profile = np.divide(parts, drawn, out=np.zeros(BINS), where=known)
        upper = np.tri(BINS)  # row b: every bin up to b
        rest = np.zeros((BINS, len(self.first) - 2 * BINS))
        up_to = np.concatenate([upper, -upper * profile, rest], 1)
        return Bound(
            nats=self.nats,
            stderr=self._stderr(self._bound(self.nats)),
            trained=self.trained / self.residues,
            sequences=self.sequences,
            residues=int(self.residues),
            cropped=self.cropped,
            profile=tuple(float(p) if there else None for p, there in zip(profile, known, strict=True)),
            up_to=tuple(np.cumsum(profile * np.diff(EDGES)).tolist()),
            up_to_stderr=tuple(self._stderr(row) for row in up_to),
        )

    def _place(self, name: str) -> int:
        return 2 * BINS + 1 + self.names.index(name)

    def _bound(self, mean: float) -> Array:
        """Coefficients of a sequence's bound less `mean`."""
        weights = np.zeros(len(self.first))
        weights[:BINS], weights[2 * BINS] = 1.0, -mean
        return weights

    def _stderr(self, weights: Array) -> float:
        if self.sequences < 2:
            return math.inf
        return math.sqrt(max(0.0, float(weights @ self.gram @ weights))) / self.residues
