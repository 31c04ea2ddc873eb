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
    """Difficulty grows by the same amount at every step."""

    difficulty_ramp: Literal["linear"] = "linear"

    def shape(self, progress: float) -> float:
        return progress


class Exponential(Ramp):
    """Fast at first, then slower: (1 - e^(-rate p)) / (1 - e^(-rate)), which is exactly 1 at p = 1."""

    difficulty_ramp: Literal["exponential"] = "exponential"
    rate: Annotated[FiniteFloat, Interval(ge=0.01, le=50.0)] = 3.0
    """How much of the climb comes early: half of the ramp does 1 / (1 + e^(-rate/2)) of it, 82 % for 3."""

    def shape(self, progress: float) -> float:
        return math.expm1(-self.rate * progress) / math.expm1(-self.rate)


class Cosine(Ramp):
    """Slow at both ends: (1 - cos(pi p)) / 2."""

    difficulty_ramp: Literal["cosine"] = "cosine"

    def shape(self, progress: float) -> float:
        return 0.5 - 0.5 * math.cos(math.pi * progress)


class Constant(Curriculum):
    """No curriculum: difficulty 1 at every step.

    `preschool_time` and `min_difficulty` are accepted, so that one word turns a curriculum off, and change nothing.
    """

    difficulty_ramp: Literal["constant"] = "constant"

    def difficulty(self, step: int) -> float:
        return 1.0


class Stage(BaseModel):
    """One knot of a piecewise linear curriculum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Steps
    """Optimizer step of the knot."""
    difficulty: Fraction
    """Difficulty there."""


class Stages(Curriculum):
    """Straight lines through knots that you choose; the last knot must be difficulty 1 at `preschool_time`.

    Two knots of the same difficulty hold it; two knots one step apart jump.
    """

    difficulty_ramp: Literal["stages"] = "stages"
    stages: Annotated[tuple[Stage, ...], MinLen(1)] = (Stage(step=0, difficulty=1.0),)
    """The knots, in order of step; before the first one its difficulty holds."""

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
        after = bisect_right([stage.step for stage in self.stages], step)
        if after == 0:
            return self.stages[0].difficulty
        if after == len(self.stages):
            return 1.0
        left, right = self.stages[after - 1], self.stages[after]
        share = (step - left.step) / (right.step - left.step)
        return left.difficulty + share * (right.difficulty - left.difficulty)


@hookimpl
def sedd_curricula() -> list[type[Curriculum]]:
    return [Linear, Exponential, Cosine, Constant, Stages]
