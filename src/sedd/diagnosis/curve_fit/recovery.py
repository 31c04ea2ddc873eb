"""A rise of the loss that decayed by itself: nothing is wrong at the end, but a large one is an instability."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit.evidence import Cells
from sedd.diagnosis.curve_fit.points import point
from sedd.diagnosis.curve_fit.shapes import BUMPS, Disturbances
from sedd.diagnosis.curve_fit.ways import Found, Key, Recovery, log_mean
from sedd.diagnosis.hypotheses import DECISIVE, HYPOTHESES, Decision
from sedd.diagnosis.verdict import Kind

SURELY = math.log(0.95 / 0.05)
"""Log odds from which a rise that decayed by itself is mentioned."""
LARGE = math.log(1.1)
"""Rise of the log loss from which on it is an instability."""
LEAST_BLOCKS = 3
"""Blocks of the curve that a rise lasts at least; a shorter one is a spike, see `scatter`."""
LASTS = 0.2
"""Share of its height above which a rise still lasts."""
ONSET_TEMPER = 0.4
"""Exponent of the likelihood of the step at which it began."""


@dataclass(frozen=True)
class Recovered:
    """A rise of the loss that surely was there and decayed."""

    low: float
    high: float
    """95 % interval of its height, in the log of the loss."""
    since: tuple[int, int]
    """95 % interval of the step at which it began."""
    log_odds: float

    @property
    def percent(self) -> str:
        """Its height in words."""
        return f"{100.0 * math.expm1(self.low):.0f} to {100.0 * math.expm1(self.high):.0f} %"


def of(cells: Cells, column: int, harm: Disturbances, log_weight: float) -> Recovery:
    """The evidence under one unit and setting for a decaying rise. `log_weight`: log of its prior odds."""
    lasting = (harm.columns > LASTS).sum(1) >= LEAST_BLOCKS
    bumps = np.flatnonzero(harm.among(BUMPS))
    logs = np.where(lasting[bumps], np.logaddexp(*cells.disturbed[:2, bumps, column]), -np.inf)
    calm = float(np.logaddexp(*cells.calm[:2, column]))
    return Recovery(log_mean(logs) + log_weight - calm, int(bumps[int(logs.argmax())]), _since(harm.since[bumps], logs))


def _since(starts: NDArray[np.float64], logs: NDArray[np.float64]) -> tuple[int, int]:
    """The 95 % interval, widened to the next steps that were tried."""
    at = np.unique(starts)
    if not np.isfinite(logs).any():
        return int(at[0]), int(at[-1])
    by_step = np.array([np.logaddexp.reduce(logs[starts == step]) for step in at])
    weights = np.exp(ONSET_TEMPER * (by_step - by_step.max()))
    low, high = np.searchsorted(np.cumsum(weights) / weights.sum(), [0.025, 0.975])
    return int(at[max(low - 1, 0)]), int(at[min(high + 1, len(at) - 1)])


def recovered(found: Found, key: Key) -> Recovered | None:
    """The rise that decayed, if it surely was there."""
    recovery = found.recovered.get(key)
    if recovery is None or not recovery.log_odds > SURELY:
        return None
    likeliest = point(found.white, found.ways[key].unit, key[1], recovery.disturbance)
    half = 1.96 * likeliest.change_error
    if likeliest.change < half:
        return None
    return Recovered(likeliest.change - half, likeliest.change + half, recovery.since, recovery.log_odds)


def as_instability(decision: Decision, rise: Recovered | None) -> Decision:
    """What was healthy is an instability where a large rise decayed."""
    if rise is None or rise.low < LARGE or decision.likeliest != "healthy":
        return decision
    moved = decision.probabilities.get("healthy", 0.0) / (1.0 + math.exp(-rise.log_odds))
    changed: dict[Kind, float] = dict(decision.probabilities)
    changed["healthy"] -= moved
    changed["instability"] = changed.get("instability", 0.0) + moved
    action = HYPOTHESES["instability"].action
    alike = {hypothesis.kind for hypothesis in HYPOTHESES.values() if hypothesis.action == action}
    sure = sum(value for kind, value in changed.items() if kind in alike) >= DECISIVE
    order = sorted(changed, key=lambda kind: -changed[kind])
    return replace(
        decision,
        kind="instability" if sure else "inconclusive",
        likeliest="instability",
        probability=changed["instability"],
        runner_up=next((kind for kind in order if kind != "instability"), None),
        probabilities=changed,
    )
