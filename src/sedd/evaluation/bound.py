"""The evaluation metric: an upper bound on -log p(x), nats per residue, that does not depend on the curriculum.

For `absorb`, with k uniform in 1..L and S a uniform subset of k positions,

    -log p(x) / L  <=  E_k E_S [ (1/k) sum over i in S of -log p(x_i | x without S) ]

(Uria et al. 2014; Ou et al. 2024): no noise schedule and no cut-off. For `uniform` it is the integral over sigma of
the score entropy, plus the prior term (Lou et al. 2024, theorem 3.6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sedd.evaluation.intervals import half_width

Array = NDArray[np.float64]
MOST_BY_SEQUENCE = 4096
"""Sequences up to which a bound keeps the value of each sequence."""


@dataclass(frozen=True)
class Bound:
    """A bound on the negative log-likelihood of a set of sequences."""

    nats: float
    """Upper bound on -log p(x), nats per residue."""
    stderr: float
    """Standard error over sequences, nats per residue; infinite for a single sequence."""
    trained: float
    """The part of the integral within the range of noise that the model was trained on, nats per residue."""
    sequences: int
    """Number of evaluated sequences."""
    residues: int
    """Number of evaluated residues."""
    cropped: int
    """Number of sequences longer than `model.length`: only a part of each was evaluated."""
    profile: tuple[float | None, ...] = field(default=(), repr=False)
    """The integrand by mask rate, in the bins of `sedd.diffusion.loss_profile`; None for bins without a draw."""
    up_to: tuple[float, ...] = field(default=(), repr=False)
    """The part of the integral up to the end of each bin, nats per residue; it compares runs with different noise."""
    up_to_stderr: tuple[float, ...] = field(default=(), repr=False)
    """Standard error of each value of `up_to` over sequences."""
    profile_stderr: tuple[float | None, ...] = field(default=(), repr=False)
    """Standard error of each value of `profile` over sequences; None where it is unknown."""
    by_sequence: tuple[float, ...] = field(default=(), repr=False)
    """Bound of each evaluated sequence, mean over its masks, nats per residue, in the order of the data; empty above
    `MOST_BY_SEQUENCE` sequences. Two bounds on the same sequences can be compared pair by pair with it."""

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of `nats` over sequences, nats per residue; infinite below three sequences."""
        return half_width(self.stderr, self.sequences)

    @property
    def bits(self) -> float:
        """Bits per residue."""
        return self.nats / math.log(2.0)

    @property
    def perplexity(self) -> float:
        """e^nats: the number of equally likely symbols with this entropy."""
        return math.exp(self.nats)


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each evaluated sequence contributes to a bound, in the order of the data."""

    items: NDArray[np.int64]
    """(sequences,): indices into the data, ascending."""
    residues: Array
    """(sequences,): evaluated residues."""
    cropped: NDArray[np.bool_]
    """(sequences,): whether the sequence was longer than `model.length`."""
    values: Array
    """(sequences, masks): an unbiased estimate of the bound from each stratum of noise, nats per residue."""
    by_bin: Array
    """(sequences, BINS): the part of the integral in each bin of mask rate, nats per residue of that sequence."""
    drawn: Array
    """(sequences, BINS): the mask rate that was drawn in each bin; each row sums to 1 on average."""
    trained: Array
    """(sequences,): the part within the range of noise that the model was trained on, nats per residue."""

    def minus(self, other: Contributions) -> Contributions:
        """The difference from another model's contributions on the same sequences; `drawn` stays that of `self`."""
        values, by_bin = self.values - other.values, self.by_bin - other.by_bin
        return replace(self, values=values, by_bin=by_bin, trained=self.trained - other.trained)
