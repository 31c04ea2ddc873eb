"""The built-in curricula: `linear`, `exponential`, `cosine`, `constant` and `stages`."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from typing import Annotated, Literal, Self

from annotated_types import Interval, MinLen
from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator

from sedd.plugins.contracts import Curriculum, Fraction, Ramp, Steps
from sedd.plugins.hookspecs import hookimpl


class Linear(Ramp):
    """Difficulty that rises by an equal amount at every step: shape(p) = p."""

    difficulty_ramp: Literal["linear"] = "linear"

    def shape(self, progress: float) -> float:
        return progress


class Exponential(Ramp):
    """Difficulty that rises fast at first, then slower: shape(p) = (1 - e^(-rate p)) / (1 - e^(-rate))."""

    difficulty_ramp: Literal["exponential"] = "exponential"
    rate: Annotated[FiniteFloat, Interval(ge=0.01, le=50.0)] = 3.0
    """Steepness of the start: at p = 1/2, the shape is 1 / (1 + e^(-rate/2)), 0.82 for rate 3."""

    def shape(self, progress: float) -> float:
        return math.expm1(-self.rate * progress) / math.expm1(-self.rate)


class Cosine(Ramp):
    """Difficulty that rises slowly at both ends: shape(p) = (1 - cos(pi p)) / 2."""

    difficulty_ramp: Literal["cosine"] = "cosine"

    def shape(self, progress: float) -> float:
        return 0.5 - 0.5 * math.cos(math.pi * progress)


class Constant(Curriculum):
    """No curriculum: difficulty 1 at every step.

    `preschool_time` and `min_difficulty` are accepted and ignored, so that only the name of a curriculum has to change.
    """

    difficulty_ramp: Literal["constant"] = "constant"

    def difficulty(self, step: int) -> float:
        return 1.0


class Stage(BaseModel):
    """One knot of a piecewise linear curriculum: the difficulty at a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Steps
    """Optimizer step of the knot."""
    difficulty: Fraction
    """Difficulty at that step."""


class Stages(Curriculum):
    """Difficulty on straight lines between given knots; the last knot must have difficulty 1 at `preschool_time`.

    The difficulty is constant between two knots of equal difficulty, and jumps between two knots one step apart.
    """

    difficulty_ramp: Literal["stages"] = "stages"
    stages: Annotated[tuple[Stage, ...], MinLen(1)] = (Stage(step=0, difficulty=1.0),)
    """The knots, by increasing step; before the first knot the difficulty is that of the first."""

    @model_validator(mode="after")
    def _knots_make_a_ramp(self) -> Self:
        steps = [stage.step for stage in self.stages]
        levels = [stage.difficulty for stage in self.stages]
        if any(b <= a for a, b in pairwise(steps)):
            raise ValueError(f"the steps of stages must increase, got {steps}; sort them and remove repeats")
        if any(b < a for a, b in pairwise(levels)):
            raise ValueError(f"the difficulties of stages must not fall, got {levels}")
        if levels[-1] != 1.0:
            raise ValueError(f"the last stage must have difficulty 1, got {levels[-1]}; add a stage with difficulty 1")
        if steps[-1] != self.preschool_time:
            raise ValueError(
                f"the last stage is at step {steps[-1]} but preschool_time is {self.preschool_time}; make them equal"
            )
        return self

    def difficulty(self, step: int) -> float:
        index = bisect_right([stage.step for stage in self.stages], step)
        if index == 0:
            return self.stages[0].difficulty
        if index == len(self.stages):
            return 1.0
        before, after = self.stages[index - 1], self.stages[index]
        progress = (step - before.step) / (after.step - before.step)
        return before.difficulty + progress * (after.difficulty - before.difficulty)


@hookimpl
def sedd_curricula() -> list[type[Curriculum]]:
    return [Linear, Exponential, Cosine, Constant, Stages]
