"""How sure a bound is: what the draw of masks contributes, and the factor of a 95 % interval."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sedd.evaluation.bound import Part

Array = NDArray[np.float64]
Z95 = 1.959964


def mask_variance(part: Part) -> Array:
    """Variance of each sequence's bound over the draw of its masks, (sequences,), (nats per residue)^2.

    There is one draw in each stratum of noise. So neighbouring strata stand in for repeated draws, after the mean over
    all sequences is taken out of each: how the integrand changes with noise is much the same for every sequence, and no
    noise. What is left of that change is counted as noise, so that the variance is rather too large. NaN with one mask.
    """
    sequences, masks = part.values.shape
    if masks == 1:
        return np.full(sequences, np.nan)
    left = part.values
    if sequences > 1:
        left = (left - left.mean(0)) * math.sqrt(sequences / (sequences - 1))
    variance: Array = pair_variance(left) / masks**2
    return variance


def pair_variance(values: Array) -> Array:
    """Variance of each row's sum if every entry has a variance of its own: from pairs of neighbours, (rows,).

    Pairs, and not all entries against their mean: the first stratum, where few residues are masked, scatters far more
    than the others. Of an odd number the last three are taken together.
    """
    count = values.shape[1]
    cuts = np.arange(2, count - 1, 2)
    variance: Array = np.zeros(len(values))
    for group in np.split(values, cuts, axis=1):
        size = group.shape[1]
        variance += size / (size - 1) * ((group - group.mean(1, keepdims=True)) ** 2).sum(1)
    return variance


def half_width(stderr: float, sequences: int) -> float:
    """Half of the 95 % interval over `sequences` sequences, from the root mean square about their own mean.

    Student's t (the expansion of Hill, 1970, in 1 / degrees of freedom; within 3 % from two on), and the divisor n - 1.
    Infinite below three sequences.
    """
    freedom = sequences - 1
    if freedom < 2:
        return math.inf
    z, v = Z95, float(freedom)
    student = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    student += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return student * math.sqrt(sequences / freedom) * stderr
