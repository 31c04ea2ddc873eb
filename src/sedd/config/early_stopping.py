"""The section `training.early_stopping` of a run file."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval
from pydantic import FiniteFloat

from sedd.config.section import Count, Section


class EarlyStopping(Section):
    """End the run when the held-out bound no longer improves. Evaluations before the curriculum reaches full difficulty
    do not count, because the bound always covers the full range of noise."""

    patience: Count = 10
    """Number of evaluations in a row without an improvement after which the run ends."""
    min_delta: Annotated[FiniteFloat, Interval(ge=0.0, le=100.0)] = 0.0
    """An improvement is a bound that is lower than the best one by more than this, in nats per residue."""
