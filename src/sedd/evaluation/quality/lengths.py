"""Distance of two length distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sedd.evaluation.quality.packed import Packed
from sedd.evaluation.quality.statistic import Floats


@dataclass(frozen=True, eq=False)
class LengthDistance:
    """Wasserstein-1 distance of the lengths to those of a reference, as a share of the reference's mean length.

    That is the area between the two cumulative distributions: how many residues an average sequence must gain or lose
    to turn one set into the other.
    """

    sequences: Packed
    reference: Packed

    def __call__(self, weights: Floats, /) -> Floats:
        longest = int(max(self.sequences.lengths.max(), self.reference.lengths.max()))
        reference = np.cumsum(np.bincount(self.reference.lengths, minlength=longest + 1)) / len(self.reference)
        by_length = np.stack([np.bincount(self.sequences.lengths, row, minlength=longest + 1) for row in weights])
        sequences = np.cumsum(by_length, 1) / weights.sum(1, keepdims=True)
        return np.asarray(np.abs(sequences - reference).sum(1) / self.reference.lengths.mean())
