"""The loss profile: the loss split by mask rate, in bins that are equal for all runs.

With m = 1 - e^(-sigma) the loss of one residue at difficulty d is

    loss(d) = integral of P(m) dm   from m_low(d) to m_high(d)   =   sum over bins of  w_b(d) P_b

in nats per residue. P is the score entropy per unit of mask rate; for `absorb` with the normalised head it is the
cross-entropy of masked residues. w_b(d), the overlap of bin b with the mask rates at difficulty d, is a pure function
of the configuration. So a change of the loss is a change of w (the curriculum) or of P (the model): see
`sedd.diagnosis.attribution`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from sedd.diffusion.noising import Mode, noise_state
from sedd.plugins.contracts import Noise

Array = NDArray[np.float64]

EDGES: Array = np.concatenate([[0.0, 0.001, 0.0025, 0.005, 0.01], np.arange(1, 41) / 40])
"""Edges of the bins in mask rate: 2.5 % each, finer below that, where `uniform` changes fast and ramps may begin."""
BINS = len(EDGES) - 1
HORIZON = 100
"""Time constant of the exponentially weighted profile, optimizer steps; shorter at the beginning of a run."""


def bin_of(mask_rate: Array) -> NDArray[np.int64]:
    """The index of the bin of each mask rate in [0, 1]."""
    index: NDArray[np.int64] = np.searchsorted(EDGES, mask_rate, side="right").clip(1, BINS) - 1
    return index


def mask_range(noise: Noise, difficulty: float, mode: Mode) -> tuple[float, float]:
    """The least and the largest mask rate that a sequence can draw at this difficulty."""
    ends = noise_state(noise, torch.tensor([0.0, 1.0]), difficulty=difficulty, mode=mode)
    low, high = ends.mask_rate.tolist()
    return low, high


def widths(low: float, high: float) -> Array:
    """(BINS,): the overlap of each bin with the mask rates from `low` to `high`; sums to high - low."""
    overlap: Array = np.clip(np.minimum(EDGES[1:], high) - np.maximum(EDGES[:-1], low), 0.0, None)
    return overlap


def _zeros() -> Array:
    return np.zeros(BINS)


@dataclass(frozen=True, eq=False)
class LossProfile:
    """Sums over optimizer steps, by mask rate; each array is (BINS,)."""

    residues: float = 0.0
    """Residues in the steps, at all mask rates together."""
    loss: Array = field(default_factory=_zeros)
    """Loss summed over residues, nats; the sum over bins is the training loss itself."""
    drawn: Array = field(default_factory=_zeros)
    """Mask rate covered by the draws, summed over residues; its expectation is `expected`."""
    expected: Array = field(default_factory=_zeros)
    """`widths` at the difficulty of each step, summed over residues."""
    corrupted: Array = field(default_factory=_zeros)
    """Residues that the noise changed; the size of the sample behind each bin."""

    def __add__(self, other: LossProfile) -> LossProfile:
        return LossProfile(
            self.residues + other.residues, *(a + b for a, b in zip(self._arrays, other._arrays, strict=True))
        )

    def __sub__(self, other: LossProfile) -> LossProfile:
        return self + other.scaled(-1.0)

    def scaled(self, share: float) -> LossProfile:
        """All sums multiplied by `share`."""
        return LossProfile(self.residues * share, *(array * share for array in self._arrays))

    def ema_update(self, other: LossProfile, step: int) -> LossProfile:
        """Exponentially weighted sums after optimizer step number `step`, whose sums are `other`."""
        horizon = min(HORIZON, max(1.0, step / 4))
        return self.scaled(1.0 - 1.0 / horizon) + other

    @property
    def values(self) -> Array:
        """P of each bin, nats per unit of mask rate; NaN where no mask rate was drawn."""
        values: Array = np.divide(self.loss, self.drawn, out=np.full(BINS, np.nan), where=self.drawn > 0)
        return values

    @property
    def _arrays(self) -> tuple[Array, Array, Array, Array]:
        return self.loss, self.drawn, self.expected, self.corrupted

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LossProfile):
            return NotImplemented
        same = (np.array_equal(a, b) for a, b in zip(self._arrays, other._arrays, strict=True))
        return self.residues == other.residues and all(same)

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back, bit for bit."""
        names = ("loss", "drawn", "expected", "corrupted")
        return {"residues": self.residues} | {
            name: array.tolist() for name, array in zip(names, self._arrays, strict=True)
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote. Raises ValueError if it has other bins."""
        arrays = [np.array(data[name]) for name in ("loss", "drawn", "expected", "corrupted")]
        if any(array.shape != (BINS,) for array in arrays):
            raise ValueError(f"a loss profile has {BINS} bins, got {[array.shape for array in arrays]}")
        return cls(data["residues"], *arrays)


def rounded(array: Sequence[float | None] | Array, digits: int = 7) -> list[float | None]:
    """Values for JSON: `digits` significant digits, None where not finite, trailing zeros dropped."""
    values = [None if value is None or not np.isfinite(value) else float(f"{value:.{digits}g}") for value in array]
    while values and not values[-1]:
        values.pop()
    return values
