"""The paired difference of two evaluations of the same sequences with the same masks.

Most of the standard error of a bound is the variance between sequences that are easy or hard for every model. It is the
same in both evaluations and cancels in their difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.errors import DataError
from sedd.evaluation.intervals import half_width
from sedd.evaluation.statistics import mean_over_residues

Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """The mean difference over residues, nats per residue."""

    nats: float
    """First minus second; negative where the first is better."""
    stderr: float
    """Standard error over sequences; infinite for a single one."""
    sequences: int
    """Number of sequences."""

    @staticmethod
    def mean(values: Values, residues: Values) -> Paired:
        """The mean of `values` (sequences,) over all `residues` (sequences,), and its standard error."""
        return paired_difference(values, np.zeros(len(values)), residues)

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval of `nats` (Student's t); infinite below three sequences."""
        return half_width(self.stderr, self.sequences)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `nats`."""
        return self.nats - self.half_width, self.nats + self.half_width


def paired_difference(first: Values, second: Values, residues: Values) -> Paired:
    """The mean of `first` - `second` over all residues, and its standard error.

    It compares a later evaluation with an earlier one, averaged weights with raw ones, or a bound with a control.

    Args:
        first: (sequences,), nats per residue of each sequence, such as `Bound.by_sequence`.
        second: (sequences,), of the same sequences in the same order, with the same masks.
        residues: (sequences,), residues of each.

    Raises:
        DataError: if there are no sequences, or the three differ in number.
    """
    a, b, lengths = (np.asarray(values, np.float64) for values in (first, second, residues))
    if not len(a) or not len(a) == len(b) == len(lengths):
        raise DataError(
            f"a paired difference of {len(a)} and {len(b)} sequences with {len(lengths)} lengths: give values of the "
            "same sequences, at least one"
        )
    return Paired(*mean_over_residues(a - b, lengths), len(a))
