"""The section `monitoring` of a run file."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Interval
from pydantic import FiniteFloat

from sedd.config.section import Count, Section


class Monitoring(Section):
    """When `fit` and `sedd diagnose` raise an alarm, and what follows a divergence. Losses are in nats per residue."""

    max_rise: Annotated[FiniteFloat, Interval(gt=0.0, le=100.0)] = 0.1
    """Largest rise of the training loss, in nats per residue per 1,000 optimizer steps."""
    max_loss: Annotated[FiniteFloat, Interval(gt=0.0, le=1000.0)] = 5.0
    """Largest training loss, in nats per residue."""
    max_oscillation: Annotated[FiniteFloat, Interval(gt=0.0, le=10.0)] = 0.2
    """Largest scatter of the loss between lines of the metrics file, as a fraction of the loss."""
    patience: Count = 50_000
    """Optimizer steps within which the held-out bound must improve."""
    on_divergence: Literal["warn", "stop", "rollback"] = "warn"
    """If the model itself gets worse: warn, stop, or return to the last good checkpoint with a lower learning rate. A
    loss that rises with the difficulty of the curriculum is no divergence."""
    rollback_lr: Annotated[FiniteFloat, Interval(gt=0.0, lt=1.0)] = 0.5
    """With `rollback`: the factor by which the learning rate is multiplied."""
    max_rollbacks: Count = 3
    """With `rollback`: the number of rollbacks; the next divergence stops the run."""
