"""The record of the optimizer and the learning-rate schedule that a `Trainer` was given as objects.

They cannot be built from a run file. Their record is part of the configuration all the same, so that the run shows what
trained it, and is not resumed with another one.
"""

from __future__ import annotations

from typing import Annotated, Any

from sedd.config.section import Section
from sedd.plugins.effects import Effect


def check_described(name: str, own: Section | None, argument: str) -> None:
    """Raise ValueError unless a part of the name `own` is described, and no other one."""
    if (name == "own") != (own is not None):
        raise ValueError(
            f"`own` and its description belong together, and Trainer({argument}=...) writes both; choose another, and "
            "own: null"
        )


class OwnOptimizer(Section):
    """The optimizer that `Trainer(optimizer=...)` was given. Written by the `Trainer`, not by you."""

    name: str
    """Name of its class."""
    module: Annotated[str | None, Effect.NONE] = None
    """Where the class was found; it may move."""
    groups: tuple[dict[str, Any], ...] = ()
    """The hyperparameters of each parameter group."""

    def __str__(self) -> str:
        groups = (", ".join(f"{key}={value!r}" for key, value in group.items()) for group in self.groups)
        return f"{self.name}({'; '.join(groups)})"


class OwnSchedule(Section):
    """The schedule that `Trainer(lr_schedule=...)` was given. Written by the `Trainer`, not by you."""

    name: Annotated[str, Effect.NONE]
    """Name of the function or class; it may move. The factors tell one schedule from another."""
    steps: tuple[int, ...]
    """Some optimizer steps, 0 the first."""
    factors: tuple[float, ...]
    """What the schedule returns at these steps, nine significant digits."""

    def factor(self, step: int) -> float:
        """The factor at a step, interpolated between the recorded ones: for forecasts, not for training."""
        later = next((i for i, recorded in enumerate(self.steps) if recorded >= step), len(self.steps) - 1)
        low, high = self.steps[max(later - 1, 0)], self.steps[later]
        if step >= high or low == high:
            return self.factors[later]
        share = (step - low) / (high - low)
        return self.factors[later - 1] * (1.0 - share) + self.factors[later] * share
