"""An S-shaped curriculum for sedd."""

import math
from typing import Annotated, Literal

from annotated_types import Interval
from pydantic import FiniteFloat

import sedd


class Sigmoid(sedd.Ramp):
    """Difficulty on a logistic curve, rescaled to be exactly 0 at 0 and 1 at 1."""

    difficulty_ramp: Literal["sigmoid"] = "sigmoid"
    steepness: Annotated[FiniteFloat, Interval(ge=1.0, le=100.0)] = 10.0
    """Slope of the logistic function in its argument, progress: the higher, the faster the middle of the ramp."""

    def shape(self, progress: float) -> float:
        # The logistic function is a shifted tanh. tanh is odd, so one factor makes both ends exact.
        half = 0.5 * self.steepness
        return 0.5 + 0.5 * math.tanh(half * (progress - 0.5)) / math.tanh(half * 0.5)


@sedd.hookimpl
def sedd_curricula() -> list[type[sedd.Curriculum]]:
    return [Sigmoid]
