"""What competes on a curve, and the evidence on it: units, settings, states of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve import Unit as Named
from sedd.diagnosis.curve_fit import units
from sedd.diagnosis.curve_fit.evidence import Whitened
from sedd.diagnosis.curve_fit.scatter import Scatter
from sedd.diagnosis.curve_fit.series import Series
from sedd.diagnosis.curve_fit.settings import WEIGHTED, Setting
from sedd.diagnosis.curve_fit.shapes import Learning
from sedd.diagnosis.curve_fit.units import MASKED, Unit
from sedd.diagnosis.forecast import BEST_KNOWN, Forecast
from sedd.diagnosis.hypotheses import HYPOTHESES

Array = NDArray[np.float64]
Key = tuple[int, int]
"""Indices of a unit and a setting."""

BOTH_ODD = math.log(0.05)
"""Log of the weight of other settings where the unit is another one, too."""
AMINO_ACIDS = 20
"""Tokens among which the uniform predictor guesses a residue."""


@dataclass(frozen=True, eq=False)
class Case:
    """A curve to be judged."""

    series: Series
    forecast: Forecast
    named: Named | None
    """The unit that the user has named."""
    validated: bool
    """Whether there are held-out losses."""

    @cached_property
    def floor(self) -> float:
        """Learning of the best known model, in the log of the loss over that of the uniform predictor."""
        full, config = self.forecast.full, self.forecast.config
        untrained = full.untrained / max(full.mask_rate_max - full.mask_rate_min, 1e-12)
        if config.data.alphabet not in ("protein", "esm"):
            return max(math.log(untrained / (0.3 * min(untrained, 3.0))), 0.1)
        # With `uniform` a model of the same sequences has a larger loss, so that the same share is on the safe side.
        most = untrained if config.graph.type == "absorb" else math.log(AMINO_ACIDS)
        return max(math.log(most / BEST_KNOWN), 0.1)

    @cached_property
    def frequencies(self) -> float:
        """Learning of the unigram model, likewise."""
        return max(math.log(self.forecast.full.untrained / self.forecast.full.unigram), 0.01)

    @cached_property
    def units(self) -> list[Unit]:
        """The units that compete."""
        return units.plausible(self.forecast.statistics.length, self.forecast.config.model.length, self.named)


@dataclass(frozen=True)
class Way:
    """One unit and one setting: how the losses may have come about."""

    unit: Unit
    setting: Setting

    def agrees(self, named: Named | None) -> bool:
        """Whether the unit is what the user takes it for."""
        return units.agrees(self.setting.trainer, self.unit, named)

    def words(self, factor: float) -> str:
        """The unit of the losses in words; `factor` is what they are over nats per residue."""
        words = self.unit.words(factor)
        return words.replace("per residue", "per masked residue") if self.setting.trainer in MASKED else words


@dataclass(frozen=True)
class Recovery:
    """A rise of the loss that decayed by itself."""

    log_odds: float
    """Log of its odds against a curve without one; -inf where the curve was too short to look."""
    disturbance: int
    """Index of the likeliest one among the disturbances."""
    since: tuple[int, int]
    """95 % interval of the step at which it began."""


@dataclass(frozen=True, eq=False)
class Found:
    """The evidence on a curve."""

    case: Case
    learning: Learning
    white: Whitened
    ways: Mapping[Key, Way]
    states: Mapping[Key, Mapping[str, float]]
    """Log-likelihood of each state of the model, for each unit and setting."""
    onset: Mapping[Key, tuple[Array, Array]]
    """Steps at which a disturbance may have begun, and their log-likelihoods."""
    recovered: Mapping[Key, Recovery]
    scatter: Scatter

    @property
    def series(self) -> Series:
        """The curve made ready."""
        return self.case.series


def log_sum(values: Array | list[float]) -> float:
    """Log of the sum of exponentials."""
    found = np.asarray(values, np.float64)
    top = float(found.max()) if found.size else -math.inf
    return top + math.log(float(np.exp(found - top).sum())) if math.isfinite(top) else -math.inf


def log_mean(values: Array) -> float:
    """Log of the mean of exponentials."""
    return log_sum(values) - math.log(max(len(values), 1))


def state_prior(name: str) -> float:
    """Log of the weight of a state of the model, where the unit or the settings are other ones."""
    states = ("healthy", "uniform plateau", "divergence", "instability", "overfitting", "leak", "data change")
    return math.log(HYPOTHESES[name].prior / sum(HYPOTHESES[state].prior for state in states))


def prior_of(way: Way, named: Named | None) -> float:
    """Log of the weight of a unit and a setting within its hypothesis: healthy, `unit` or `configuration`."""
    unit, setting = way.unit, way.setting
    if way.agrees(named):
        return unit.log_prior + setting.log_prior
    weight = math.log(0.6) if setting.trainer in WEIGHTED else math.log(0.4) + (0.0 if unit.is_residue else -1.5)
    return weight + unit.log_prior + setting.log_prior + (0.0 if setting.as_configured else BOTH_ODD)
