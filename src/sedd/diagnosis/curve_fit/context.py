"""What the sentences of a verdict are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sedd.diagnosis.curve_fit.deciding import Judgement
from sedd.diagnosis.curve_fit.held_out import HeldOut
from sedd.diagnosis.curve_fit.result import ExternalCurveFit
from sedd.diagnosis.curve_fit.ways import Found
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.verdict import Remedy


@dataclass(frozen=True)
class Words:
    """What a verdict says."""

    answer: str
    reason: str
    advice: str
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, eq=False)
class Context:
    """What the sentences are made of."""

    fit: ExternalCurveFit
    found: Found
    judged: Judgement
    held: HeldOut | None
    forecast: Forecast

    @property
    def last(self) -> int:
        """The last step with a usable loss."""
        return int(self.found.series.steps[-1])


def middle(since: tuple[int, int]) -> int:
    """A step in an interval, as round as the interval is wide."""
    middle, width = (since[0] + since[1]) / 2, max(since[1] - since[0], 1)
    unit = 10 ** max(0, math.floor(math.log10(width / 2)) if width > 2 else 0)
    return int(round(middle / unit) * unit)
