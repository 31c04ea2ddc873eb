"""What the fit of a curve found, as numbers: settings, unit, ratios to fixed predictors, what was learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit.trainers import Trainer

Array = NDArray[np.float64]
Learnt = Literal["more", "frequencies", "nothing visible"]
"""`more` than the token frequencies, the token `frequencies` alone, or `nothing visible` in the curve."""
Z95 = 1.96
"""Standard errors of half a 95 % interval."""


@dataclass(frozen=True, eq=False)
class ExternalCurveFit:
    """A curve and the explanation that fits it best. Arrays are (points,); losses are in the unit of the curve."""

    curve: Curve
    difficulty: Array
    """Difficulty at each step, under the settings that fit."""
    trainer: Trainer
    """The kind of trainer that fits."""
    changes: Mapping[str, str]
    """Keys of the configuration with other values than configured, under which the curve fits; empty: as configured."""
    restart: int | None
    """Step at which the clock of the curriculum began again; None: it did not."""
    unit: str
    """The unit that fits: `residue`, `bits`, `sequence`, `positions`, `batches` or `bits of sequences`."""
    unit_words: str
    """The same in words."""
    factor: float
    """The losses over nats per residue in such a trainer."""
    factor_interval: tuple[float, float]
    """95 % interval of `factor`."""
    untrained: Array
    """Loss of an untrained model in such a trainer, in the unit of the curve."""
    unigram: Array
    """Loss of the unigram model in such a trainer, in the unit of the curve."""
    learnt: float
    """Learning at the last step: log of the loss of an untrained model over that of this one, at equal difficulty."""
    learnt_error: float
    """Its standard error."""
    frequencies: float
    """The same for the unigram model."""
    scatter: float
    """Median relative scatter of one line."""
    smoothed: str
    """What the log was smoothed with, in words; empty if it was not."""
    notes: tuple[str, ...] = field(default=())
    """What else a person should know, one sentence each."""

    @property
    def over_untrained(self) -> Array:
        """Loss over that of an untrained model."""
        return np.asarray(self.curve.losses / self.untrained)

    @property
    def over_unigram(self) -> Array:
        """Loss over that of the unigram model."""
        return np.asarray(self.curve.losses / self.unigram)

    @property
    def learnt_interval(self) -> tuple[float, float]:
        """95 % interval of `learnt`, not below 0."""
        half = Z95 * self.learnt_error
        return max(self.learnt - half, 0.0), max(self.learnt + half, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """The fit as plain data; null where a loss is not finite."""
        names = ("difficulty", "untrained", "unigram", "over_untrained", "over_unigram")
        columns = {"loss": self.curve.losses} | {name: getattr(self, name) for name in names}
        return {
            "trainer": self.trainer,
            "changes": dict(self.changes),
            "clock_restarted_at": self.restart,
            "unit": self.unit,
            "factor": self.factor,
            "factor_interval": list(self.factor_interval),
            "learnt": self.learnt,
            "learnt_interval": list(self.learnt_interval),
            "learnt_by_unigram": self.frequencies,
            "scatter": self.scatter,
            "smoothed": self.smoothed or None,
            "notes": list(self.notes),
            "step": self.curve.steps.tolist(),
            **{name: [float(x) if np.isfinite(x) else None for x in column] for name, column in columns.items()},
        }


def learnt(fit: ExternalCurveFit) -> Learnt:
    """What the curve shows, with 95 % certainty, that the model has learnt."""
    low, high = fit.learnt_interval
    if low > 1.15 * fit.frequencies:
        return "more"
    if low > 0.3 * fit.frequencies and high > 0.7 * fit.frequencies:
        return "frequencies"
    return "nothing visible"


def percent_below(logs: float) -> str:
    """A log of a ratio as the percentage by which the smaller one is below the larger one."""
    share = 100.0 * -math.expm1(-logs)
    return f"{share:.0f} %" if share >= 9.5 else f"{share:.1f} %"
