"""The report of one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sedd.diffusion.loss_profile import LossProfile
from sedd.evaluation.bound import Bound
from sedd.files import finite_or_none


@dataclass(frozen=True)
class StepReport:
    """One optimizer step, in plain numbers."""

    step: int
    """Optimizer steps tried, this one included."""
    loss: float
    """Training loss under the curriculum, nats per residue."""
    difficulty: float
    """Difficulty in [0, 1] that this step trained at."""
    mask_rate: float
    """Share of residues that the noise changed."""
    mask_rate_max: float
    """Largest mask rate that this step could draw, 1 - e^(-sigma) at the end of the noise path."""
    grad_norm: float
    """Norm of the gradient before clipping."""
    lr: float
    """Learning rate of this step."""
    residues: int
    """Number of residues in the step."""
    residues_per_second: float
    """Residues per second of this step alone, data loading included."""
    skipped: bool
    """Whether loss or gradient was not finite: weights, moments and EMA did not change. All clocks moved on."""
    skipped_total: int
    """Skipped steps since the run began."""
    bins: LossProfile = field(default_factory=LossProfile, repr=False)
    """The loss by mask rate, as sums over the residues of the step; empty for a skipped step."""
    token_counts: tuple[int, ...] = field(default=(), repr=False)
    """How often each token occurs in the step; empty for very large alphabets."""
    bound: Bound | None = None
    """Held-out bound at evaluation steps, otherwise None."""
    probe: Bound | None = None
    """Bound on a fixed choice of training sequences at evaluation steps, with the EMA weights; None if it is off."""
    probe_raw: Bound | None = None
    """The same with the trained weights, before averaging."""
    batch_mixing: float | None = None
    """How much the output for a sequence changes with the others of its batch, in standard deviations, at evaluation
    steps; None where it was not tested. See `sedd.evaluation.batch_mixing`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back, bit for bit, without the evaluations."""
        parts = {"bins": self.bins.to_dict(), "token_counts": self.token_counts}
        return {name: getattr(self, name) for name in _NUMBERS} | {
            "loss": finite_or_none(self.loss), "grad_norm": finite_or_none(self.grad_norm), **parts,
        }  # fmt: skip

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> StepReport:
        """Read what `to_dict` wrote; what was not finite is NaN."""
        numbers: dict[str, Any] = {name: math.nan if data[name] is None else data[name] for name in _NUMBERS}
        bins, counts = LossProfile.from_dict(data["bins"]), tuple(data["token_counts"])
        return StepReport(**numbers, bins=bins, token_counts=counts)


_OTHERS = ("bins", "token_counts", "bound", "probe", "probe_raw", "batch_mixing")
_NUMBERS = tuple(item.name for item in fields(StepReport) if item.name not in _OTHERS)
