"""Held-out losses beside each way in which the training losses may have come about.

What a held-out loss says depends on the unit and the settings: under another ramp the same loss is far from the uniform
predictor or near it. So it is judged under the likeliest way of three kinds: as configured, with other settings, in
another unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit.held_out import HeldOut, judge_held_out
from sedd.diagnosis.curve_fit.points import Point, point
from sedd.diagnosis.curve_fit.shapes import LASTING
from sedd.diagnosis.curve_fit.ways import Found, Key, log_sum, prior_of, state_prior
from sedd.diagnosis.forecast import Forecast

OPEN = ("unit", "configuration")
"""Hypotheses under which the training losses came about in another way than configured."""


@dataclass(frozen=True, eq=False)
class HeldOuts:
    """What the held-out losses say, under each kind of way."""

    found: Found
    likeliest: Mapping[str, tuple[Key, HeldOut]]
    """The likeliest way of each kind of `OPEN`, and of the configuration (empty), and what is said under it."""

    @property
    def evidence(self) -> dict[str, float]:
        """Log-likelihoods that they add, by hypothesis."""
        said = dict(self.likeliest[""][1].evidence) if "" in self.likeliest else {}
        # In another way nothing else is wrong: two faults at once are rarer than one that fits badly.
        return said | {kind: self.likeliest[kind][1].evidence["healthy"] for kind in OPEN if kind in self.likeliest}

    def given(self, key: Key) -> HeldOut | None:
        """What they say under the kind of way that `key` is of."""
        entry = self.likeliest.get(kind_of(self.found, key))
        return None if entry is None else entry[1]


def judge_held_outs(curve: Curve, found: Found, forecast: Forecast) -> HeldOuts | None:
    """Judge the held-out losses under the likeliest way of each kind; None if there are too few."""
    said: dict[str, tuple[Key, HeldOut]] = {}
    for kind, key in _likeliest(found).items():
        held = judge_held_out(curve, found, key, _point(found, key), forecast)
        if held is None:
            return None
        said[kind] = (key, held)
    return HeldOuts(found, said)


def kind_of(found: Found, key: Key) -> str:
    """`unit`, `configuration`, or empty for the way of the configuration."""
    way = found.ways[key]
    if not way.agrees(found.case.named):
        return "unit"
    return "" if way.setting.as_configured else "configuration"


def _likeliest(found: Found) -> dict[str, Key]:
    best: dict[str, tuple[float, Key]] = {}
    for key, way in found.ways.items():
        states = [state_prior(name) + value for name, value in found.states[key].items()]
        weight, kind = prior_of(way, found.case.named) + log_sum(states), kind_of(found, key)
        if math.isfinite(weight) and weight > best.get(kind, (-math.inf, key))[0]:
            best[kind] = (weight, key)
    return {kind: key for kind, (_, key) in best.items()}


def _point(found: Found, key: Key) -> Point:
    """The likeliest model under one way, with a disturbance if the training losses have one that lasts."""
    states = found.states[key]
    worse = states["divergence"] > max(states["healthy"], states["uniform plateau"])
    onset = found.onset[key][1]
    disturbance = int(np.flatnonzero(found.white.disturbances.among(LASTING))[int(onset.argmax())]) if worse else None
    return point(found.white, found.ways[key].unit, key[1], disturbance)
