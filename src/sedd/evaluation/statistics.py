"""Means and standard errors of a bound: the one place where they are computed.

Every reported number is a ratio of two sums over sequences, with l the residues of a sequence and u its columns:

    ratio  =  sum of l (a . u)  /  sum of l (b . u)

Its standard error over sequences is that of the linearised ratio (delta method), with c = a - ratio b:

    stderr  =  sqrt(c' G c)  /  sum of l (b . u),        G = sum of l^2 u u'

So the sum of l u and the matrix G are all that has to be kept, whatever the number of sequences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import BINS, EDGES, widths
from sedd.evaluation.bound import Bound, Contributions
from sedd.files import finite_or_none

Array = NDArray[np.float64]
BY_BIN, DRAWN, ONE = slice(0, BINS), slice(BINS, 2 * BINS), 2 * BINS
"""Columns of u: the integral by bin, the drawn mask rate by bin, the constant 1."""


@dataclass
class BoundStatistics:
    """Sums over the sequences of an evaluation, which may be added in batches."""

    controls: tuple[str, ...] = ()
    """Names of further columns: what each control gives for a sequence, nats per residue."""
    sequences: int = 0
    residues: float = 0.0
    cropped: int = 0
    trained: float = 0.0
    squared_mask_variance: float = 0.0
    """Sum of l^2 v, with v the variance of the bound of a sequence over its masks."""
    mask_variance: float = 0.0
    """Sum of l v."""
    squares: float = 0.0
    """Sum of l times the square of the bound of a sequence."""
    sums: Array = field(init=False)
    """(columns,): sum of l u."""
    products: Array = field(init=False)
    """(columns, columns): G, the sum of l^2 u u'."""

    def __post_init__(self) -> None:
        size = 2 * BINS + 1 + len(self.controls)
        self.sums, self.products = np.zeros(size), np.zeros((size, size))

    @staticmethod
    def of(contributions: Contributions) -> BoundStatistics:
        """Statistics of one batch that holds all sequences."""
        statistics = BoundStatistics()
        statistics.add(contributions)
        return statistics

    def add(self, batch: Contributions, controls: Mapping[str, Array] | None = None) -> None:
        """Add a batch of sequences; `controls` has (sequences,) values, nats per residue, for each control."""
        lengths, variance = batch.residues, mask_variance(batch.values)
        further = [(controls or {})[name] for name in self.controls]
        columns = np.column_stack([batch.by_bin, batch.drawn, np.ones(len(lengths)), *further])
        weighted = lengths[:, None] * columns
        self.sequences += len(lengths)
        self.residues += float(lengths.sum())
        self.cropped += int(batch.cropped.sum())
        self.trained += float(lengths @ batch.trained)
        self.squared_mask_variance += float(lengths**2 @ variance)
        self.mask_variance += float(lengths @ variance)
        self.squares += float(lengths @ batch.values.mean(1) ** 2)
        self.sums += weighted.sum(0)
        self.products += weighted.T @ weighted

    def part(self, low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
        """The part of the integral between two mask rates and its standard error, nats per residue.

        A bin that lies partly in the range counts in proportion.
        """
        return self._ratio(self._weights(by_bin=widths(low, high) / np.diff(EDGES)), self._weights(one=1.0))

    def integrand(self, low: float, high: float) -> tuple[float, float]:
        """Mean of the integrand between two edges of bins and its standard error; nan without a draw in between."""
        inside = (low <= EDGES[:-1]) & (EDGES[1:] <= high)
        return self._ratio(self._weights(by_bin=inside), self._weights(drawn=inside))

    def control(self, name: str) -> float:
        """The value of a control, nats per residue."""
        return float(self.sums[self._column(name)] / self.residues)

    def difference(self, name: str) -> tuple[float, float]:
        """The bound minus a control and its standard error: paired, since both are of the same sequences."""
        weights = self._weights(by_bin=1.0)
        weights[self._column(name)] = -1.0
        return self._ratio(weights, self._weights(one=1.0))

    @property
    def variance(self) -> float:
        """Variance of the bounds of single sequences, weighted by residues, mask variance included; nan for one."""
        if self.sequences < 2:
            return math.nan
        nats, _ = self.part()
        return max(0.0, self.squares / self.residues - nats**2) * self.sequences / (self.sequences - 1)

    def bound(self) -> Bound:
        """The bound of all added sequences."""
        nats, stderr = self.part()
        by_bin, drawn = self.sums[BY_BIN], self.sums[DRAWN]
        known = drawn > 0
        profile = np.divide(by_bin, drawn, out=np.zeros(BINS), where=known)
        # A part of the integral is the profile times the widths of its bins. So it matters to its error only how far a
        # sequence is from the profile at the mask rates that it drew, and not how much it drew in each bin.
        upper = np.tri(BINS)  # row b: all bins up to b
        deviations = [self._weights(by_bin=row, drawn=-row * profile) for row in upper]
        return Bound(
            nats=nats,
            stderr=stderr,
            trained=self.trained / self.residues,
            sequences=self.sequences,
            residues=int(self.residues),
            cropped=self.cropped,
            profile=tuple(float(value) if drew else None for value, drew in zip(profile, known, strict=True)),
            up_to=tuple(np.cumsum(profile * np.diff(EDGES)).tolist()),
            up_to_stderr=tuple(self._norm(weights) / self.residues for weights in deviations),
            profile_stderr=tuple(
                finite_or_none(self._ratio(self._weights(by_bin=row), self._weights(drawn=row))[1])
                for row in np.eye(BINS)
            ),
        )

    def _column(self, name: str) -> int:
        return ONE + 1 + self.controls.index(name)

    def _weights(
        self, *, by_bin: Array | NDArray[np.bool_] | float = 0.0, drawn: Array | NDArray[np.bool_] | float = 0.0,
        one: float = 0.0,
    ) -> Array:  # fmt: skip
        """(columns,): coefficients of the columns of u."""
        weights = np.zeros(len(self.sums))
        weights[BY_BIN], weights[DRAWN], weights[ONE] = by_bin, drawn, one
        return weights

    def _ratio(self, numerator: Array, denominator: Array) -> tuple[float, float]:
        """sum of l (a . u) / sum of l (b . u) and its standard error; nan if the denominator is not positive."""
        total = float(self.sums @ denominator)
        if total <= 0.0:
            return math.nan, math.nan
        ratio = float(self.sums @ numerator) / total
        return ratio, self._norm(numerator - ratio * denominator) / total

    def _norm(self, weights: Array) -> float:
        """sqrt(c' G c); infinite for a single sequence."""
        if self.sequences < 2:
            return math.inf
        return math.sqrt(max(0.0, float(weights @ self.products @ weights)))


def mean_over_residues(values: Array, residues: Array) -> tuple[float, float]:
    """Mean of `values` (sequences,) weighted by `residues` (sequences,), and its standard error over sequences.

    The error is that of a ratio of two sums (delta method), infinite for a single sequence and nan where a value is
    not finite.
    """
    total = float(residues.sum())
    mean = float(residues @ values) / total
    if len(values) < 2:
        return mean, math.inf
    return mean, float(np.linalg.norm(residues * (values - mean))) / total


def mask_variance(values: Array) -> Array:
    """Variance of each sequence's bound over the draw of its masks, (sequences,), (nats per residue)^2.

    There is one draw in each stratum of noise, so neighbouring strata take the role of repeated draws. The mean over
    all sequences is subtracted first: how the integrand changes with noise is much alike for all sequences, and it is
    no Monte Carlo error. What remains of that change is counted as error, so that the variance is rather too large.
    `values` are `Contributions.values`, (sequences, masks); with one mask the variance is NaN.
    """
    sequences, masks = values.shape
    if masks == 1:
        return np.full(sequences, np.nan)
    if sequences > 1:
        values = (values - values.mean(0)) * math.sqrt(sequences / (sequences - 1))
    return np.asarray(pair_variance(values) / masks**2)


def pair_variance(values: Array) -> Array:
    """Variance of the sum of each row if each entry has a variance of its own: from pairs of neighbours, (rows,).

    Pairs, and not all entries against their mean: the first stratum, where few residues are masked, varies far more
    than the others. With an odd number of entries the last three form one group.
    """
    count = values.shape[1]
    cuts = np.arange(2, count - 1, 2)
    variance: Array = np.zeros(len(values))
    for group in np.split(values, cuts, axis=1):
        size = group.shape[1]
        variance += size / (size - 1) * ((group - group.mean(1, keepdims=True)) ** 2).sum(1)
    return variance
