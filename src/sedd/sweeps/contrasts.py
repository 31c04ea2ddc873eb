"""Differences to the run file over several seeds, with 95 % intervals that allow for having looked at many settings.

Settings f and seeds s form a table y(f, s) of bounds. A seed is a block: all settings share its data order and noise.

    y(f, s) = mean(f) + block(s) + e(f, s),     e independent with standard deviation sigma

A difference of two means has the standard error sigma sqrt(2 / S). Sigma is estimated with medians over settings: one
setting that nearly diverges, and varies a hundred times as much, does not hide what the others show. But its own mean
is then far less certain. So each difference is divided by the larger of this error and `OWN` times the error from its
own S paired differences. If all settings are equal, the largest of several such ratios has a distribution of max |T|
that depends on the size of the table alone. It is simulated here with the same estimates: for differences to one
setting (as Dunnett 1955), or for all pairs (as Tukey). The held-out sequences are a sample too. Where all runs share
them, the standard error over sequences is added in quadrature, with the Bonferroni factor of all trials that were
looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.evaluation.paired import paired_difference
from sedd.files import finite_or_none
from sedd.randomness import generator
from sedd.sweeps.tasks import Measurement

Array = NDArray[np.float64]
LEVEL = 0.05
OWN = 1.5
"""Weight of the error of a setting's own differences beside that of the table. With 1, of equal settings of which two
vary ten times as much as five others, 8 % of the sweeps with three seeds name a winner; with 1.5, 5 %; with 0, 45 %.
Where all vary alike, 1.5 makes the intervals 15 % wider, with 3 seeds and 4 settings."""
DRAWS = 20_000
"""Simulated tables: the 95 % quantile is within about 2 %."""
PART = 4_000_000
"""Numbers that a simulation holds at once."""


@dataclass(frozen=True)
class Contrast:
    """One setting against another over the same seeds, nats per residue."""

    number: int
    """Of the trial."""
    other: int
    """Of the trial that it is compared with; 0 is the run file."""
    nats: float
    """Mean difference of the bounds over the seeds; negative where `number` is better."""
    half_width: float
    """Half of the 95 % interval, corrected for the number of settings; infinite for a single seed."""
    seed_error: float
    """Standard error of `nats` from seed to seed."""
    sequence_error: float
    """Standard error of `nats` over the held-out sequences, where all seeds share them; else 0."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `nats`."""
        return self.nats - self.half_width, self.nats + self.half_width

    @property
    def better(self) -> bool:
        """Whether `number` is better, by more than the interval."""
        return self.interval[1] < 0.0

    @property
    def worse(self) -> bool:
        """Whether `number` is worse, by more than the interval."""
        return self.interval[0] > 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        names = ("nats", "half_width", "seed_error", "sequence_error")
        return {
            "trial": self.number,
            "other": self.other,
            **{name: finite_or_none(getattr(self, name)) for name in names},
        }


def contrasts(
    table: Mapping[int, Sequence[Measurement]], *, against: int, looked_at: int, all_pairs: bool, shared_held_out: bool
) -> dict[int, Contrast]:
    """The difference of every setting to one of them.

    Args:
        table: for each trial its measurements, one for each seed in the same order, all finite.
        against: the trial that the others are compared with.
        looked_at: trials from which these were chosen, for the error over sequences.
        all_pairs: whether `against` was itself chosen by these measurements, as the best one is.
        shared_held_out: whether all seeds are evaluated on the same sequences.
    """
    numbers = list(table)
    values = np.array([[one.nats for one in table[number]] for number in numbers])
    origin, groups = numbers.index(against), len(numbers)
    seed_errors, widths = over_seeds(values, origin, all_pairs=all_pairs)
    z = NormalDist().inv_cdf(1.0 - LEVEL / (2.0 * max(looked_at, groups - 1, 1)))
    found = {}
    for index, number in enumerate(numbers):
        if number != against:
            over = _over_sequences(table[number], table[against]) if shared_held_out else 0.0
            nats = float((values[index] - values[origin]).mean())
            half = math.hypot(float(widths[index]), z * over)
            found[number] = Contrast(number, against, nats, half, float(seed_errors[index]), over)
    return found


def over_seeds(values: Array, origin: int, *, all_pairs: bool) -> tuple[Array, Array]:
    """(settings,), (settings,): standard error and half of the 95 % interval of the mean differences to one setting.

    Args:
        values: (settings, seeds): any quantity that all settings have for all seeds.
        origin: row of the setting that the others are compared with.
        all_pairs: whether the intervals allow for all pairs of settings, not only for those with `origin`.
    """
    groups, seeds = values.shape
    if groups < 2 or seeds < 2:
        return np.full(groups, math.inf), np.full(groups, math.inf)
    reference = simulated(groups, seeds)
    pooled, own = reference.pooled(values), paired_errors(values)[origin]
    widths = (reference.all_pairs if all_pairs else reference.to_one) * np.maximum(pooled, OWN * own)
    return np.maximum(pooled, own), widths


@dataclass(frozen=True)
class Reference:
    """What `scale` and max |T| are in tables of one size whose settings are all equal."""

    bias: float
    """The root mean square of `scale` over sigma."""
    to_one: float = math.nan
    """The 95 % quantile of max |T| over the differences to one setting, T as in the head of this file."""
    all_pairs: float = math.nan
    """The same over all pairs of settings."""

    def pooled(self, values: Array) -> Array:
        """Standard error of a difference of two means, for tables (..., settings, seeds)."""
        found: Array = scale(values) / self.bias * math.sqrt(2.0 / values.shape[-1])
        return found


def paired_errors(values: Array) -> Array:
    """(..., settings, settings): standard error of each difference of two means from its paired differences alone.

    Args:
        values: tables (..., settings, seeds), at least 2 seeds.
    """
    seeds = values.shape[-1]
    centred = values - values.mean(-1, keepdims=True)
    products = centred @ centred.swapaxes(-1, -2)
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    sums = squares[..., :, None] + squares[..., None, :] - 2.0 * products
    found: Array = np.sqrt(np.maximum(sums, 0.0) / ((seeds - 1) * seeds))
    return found


def scale(values: Array) -> Array:
    """A robust estimate of sigma up to a factor, for tables (..., settings, seeds).

    It is the root of the median over settings of the mean squared residual; the effect of a seed is its median.
    """
    centred = values - values.mean(-1, keepdims=True)
    residuals = centred - np.median(centred, axis=-2, keepdims=True)
    found: Array = np.sqrt(np.median((residuals**2).mean(-1), axis=-1))
    return found


@lru_cache
def simulated(groups: int, seeds: int) -> Reference:
    """Simulate tables of so many settings and seeds, both at least 2."""
    tables = generator(0, "max-t", groups, seeds).standard_normal((DRAWS, groups, seeds))
    reference = Reference(math.sqrt(float((scale(tables) ** 2).mean())))
    # In parts, since the errors of all pairs take groups^2 numbers per table.
    parts = [_largest(reference, part) for part in np.array_split(tables, -(-DRAWS * groups**2 // PART))]
    to_one, all_pairs = (float(np.quantile(np.concatenate(found), 1.0 - LEVEL)) for found in zip(*parts, strict=True))
    return Reference(reference.bias, to_one, all_pairs)


def _largest(reference: Reference, tables: Array) -> tuple[Array, Array]:
    """(tables,): max |T| over the differences to the first setting, and over all pairs."""
    means = tables.mean(-1)
    errors = np.maximum(reference.pooled(tables)[:, None, None], OWN * paired_errors(tables))
    ratios = np.abs(means[:, :, None] - means[:, None, :]) / errors
    return ratios[:, 0].max(-1), ratios.max((-2, -1))


def _over_sequences(first: Sequence[Measurement], other: Sequence[Measurement]) -> float:
    """Standard error over sequences of the difference of the means over seeds."""
    lengths = first[0].lengths
    known = len(lengths) > 2 and all(
        len(one.by_sequence) and np.array_equal(one.lengths, lengths) for one in (*first, *other)
    )
    if not known:
        return math.hypot(*(float(np.mean([one.stderr for one in part])) for part in (first, other)))
    a, b = (np.mean([one.by_sequence for one in part], axis=0) for part in (first, other))
    return paired_difference(a, b, lengths).stderr
