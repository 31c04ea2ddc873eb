"""The unit of work of a sweep: one run up to one optimizer step, and what was measured there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.evaluation.evaluated import six_digits
from sedd.evaluation.paired import Paired, paired_difference
from sedd.files import finite_or_none
from sedd.sweeps.space import Changes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Train one setting with one seed up to one rung."""

    number: int
    """Of the trial; 0 is the run file itself."""
    changes: Changes
    seed: int
    rung: int
    """Index into the optimizer steps at which trials are compared."""

    @property
    def run(self) -> str:
        """Name of the run directory, which all rungs of a trial and seed share."""
        return f"{self.number:03d}-seed-{self.seed}"

    @property
    def name(self) -> str:
        """Name of the file of its measurement."""
        return f"{self.run}-rung-{self.rung}"


@dataclass(frozen=True, eq=False)
class Measurement:
    """The held-out bound of a run over the mask rates that all trials share, nats per residue."""

    nats: float
    """Infinite where the run failed."""
    stderr: float
    """Standard error over sequences; infinite where unknown."""
    step: int
    """Optimizer steps done."""
    residues: int
    """Training residues seen."""
    full_range: bool
    """Whether the curriculum has reached the end of its ramp: before that a bound says little about the end."""
    kind: str = "healthy"
    """The verdict of the monitor."""
    verdict: str = ""
    """It in one sentence; or the error that ended the run."""
    went_wrong: bool = False
    """Whether the verdict calls for action."""
    by_sequence: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    """(sequences,): the bound of each held-out sequence; empty where unknown."""
    lengths: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    """(sequences,): its residues."""

    @property
    def finite(self) -> bool:
        """Whether there is a bound."""
        return math.isfinite(self.nats)

    def minus(self, other: Measurement) -> Paired:
        """The difference to another measurement: sequence by sequence where both are of the same sequences."""
        if len(self.by_sequence) and np.array_equal(self.lengths, other.lengths):
            return paired_difference(self.by_sequence, other.by_sequence, self.lengths)
        return Paired(self.nats - other.nats, math.hypot(self.stderr, other.stderr), max(len(self.lengths), 3))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the file of a measurement."""
        return {
            "nats": finite_or_none(self.nats),
            "stderr": finite_or_none(self.stderr),
            **{
                name: getattr(self, name)
                for name in ("step", "residues", "full_range", "kind", "verdict", "went_wrong")
            },
            "by_sequence": six_digits(self.by_sequence),
            "lengths": self.lengths.astype(int).tolist(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Measurement:
        """Read what `to_dict` wrote."""
        numbers = {name: math.inf if data[name] is None else float(data[name]) for name in ("nats", "stderr")}
        arrays = {name: np.array(data[name], np.float64) for name in ("by_sequence", "lengths")}
        return Measurement(**{**data, **numbers, **arrays})


Measure = Callable[[Sequence[Task]], Sequence[Measurement]]
"""Carries out tasks, in any order and at once if it can, and returns their measurements in the order of the tasks."""
