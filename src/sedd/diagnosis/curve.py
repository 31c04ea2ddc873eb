"""The log of another trainer: losses at optimizer steps, and what else it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Unit = Literal["residue", "masked", "sequence", "bits"]
"""What the losses of a log count: nats per residue, nats per masked residue, nats per sequence, bits per residue."""


def _nothing() -> Array:
    return np.zeros(0)


def _no_steps() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Curve:
    """Losses at some optimizer steps. The held-out losses have steps of their own."""

    steps: NDArray[np.int64]
    """(points,): optimizer steps, increasing."""
    losses: Array
    """(points,): training loss at each step, nats per residue unless `unit` says otherwise; NaN or infinite where the
    run broke."""
    held_out_steps: NDArray[np.int64] = field(default_factory=_no_steps)
    """(evaluations,): optimizer steps, increasing; empty where the log has no validation loss."""
    held_out: Array = field(default_factory=_nothing)
    """(evaluations,): validation loss at each of `held_out_steps`, in the unit of `losses`."""
    lr: Array | None = None
    """(points,): learning rate; NaN where unknown. None where the log has none."""
    grad_norm: Array | None = None
    """(points,): norm of the gradient; NaN where unknown. None where the log has none."""
    epochs: Array | None = None
    """(points,): epochs seen; NaN where unknown. None where the log has none."""
    unit: Unit | None = None
    """The unit of the losses, where the user has named it; None: to be inferred."""
    notes: tuple[str, ...] = ()
    """What the reader found and decided, one sentence each."""

    def __len__(self) -> int:
        return len(self.steps)
