"""The error of the losses by mask rate of two groups of lines, from which each part of a change has its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.predictors import Array
from sedd.diagnosis.scatter import Lines
from sedd.diffusion.loss_profile import BINS, EDGES
from sedd.evaluation.intervals import student


@dataclass(frozen=True, eq=False)
class ProfileError:
    """The error of the losses per unit of mask rate of two groups of steps; arrays are (BINS,)."""

    before: Array
    """Variance at the earlier time."""
    after: Array
    """Variance at the later time."""
    both: Array
    """Covariance of the two, from lines that belong to both."""
    early: Array
    """By how much the earlier loss is off because the bin was drawn early or late in its group, nats."""
    late: Array
    """The same of the later one."""
    level: Array
    """Loss per unit of mask rate over the whole run, nats."""
    quantile: float
    """Half of a 95 % interval over its standard error."""

    @classmethod
    def of(cls, lines: Lines, before: NDArray[np.int64], after: NDArray[np.int64]) -> Self | ProfileError:
        """The error of two groups of the lines of a run, given by their indices."""
        if not lines.known:
            return NO_ERROR
        shares = (lines.shares(before), lines.shares(after))
        variance: list[Array] = []
        moved: list[Array] = []
        for pool, share in zip((before, after), shares, strict=True):
            offset = lines.middle[pool] - np.average(lines.middle[pool], weights=lines.residues[pool])
            variance.append((share**2 * lines.variance[pool]).sum(0))
            moved.append((share * offset[:, None]).sum(0) * lines.drift[pool].mean())
        shared, left, right = np.intersect1d(before, after, return_indices=True)
        covariance = (shares[0][left] * shares[1][right] * lines.variance[shared]).sum(0)
        quantile = student(lines.squares / 2)
        return cls(variance[0], variance[1], covariance, moved[0], moved[1], lines.level, quantile)

    def inside(self, e: Array, e_after: Array) -> float:
        """By how much the parts may be off because a bin that is open in part is not like the whole bin, nats.

        `e` and `e_after`, (BINS,), are the mask rates that the two times allow. Between the middles of the two open
        parts the loss per unit of mask rate changes as it does from bin to bin.
        """
        slope = np.gradient(self.level) / np.diff(EDGES)
        both = (e > 0) & (e_after > 0)
        return float(np.abs(slope * (e_after - e) * (e + e_after))[both].sum()) / 4


_UNKNOWN, _NONE = np.full(BINS, np.nan), np.zeros(BINS)
NO_ERROR = ProfileError(_UNKNOWN, _UNKNOWN, _UNKNOWN, _NONE, _NONE, np.ones(BINS), math.nan)
"""Where too few lines tell it."""
