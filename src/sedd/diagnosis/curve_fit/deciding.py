"""The probabilities of the hypotheses on a curve, and what the likeliest one says in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve import Unit as Named
from sedd.diagnosis.curve_fit import evidence
from sedd.diagnosis.curve_fit.judging import MOST_EVIDENCE, TEMPER, Found, Key, Way, log_sum, prior_of, state_prior
from sedd.diagnosis.curve_fit.points import Point
from sedd.diagnosis.curve_fit.points import point as likeliest_point
from sedd.diagnosis.curve_fit.shapes import LASTING, disturbances
from sedd.diagnosis.hypotheses import Decision, decide

Array = NDArray[np.float64]

ONSET_TEMPER = 0.5
"""Exponent of the likelihood of the step at which a disturbance began."""
LEAK_SHARE = 0.1
"""Share of the run before which a loss that is too good to be true is a leak rather than overfitting."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the evidence says on the model, given a unit and settings."""

    decision: Decision
    key: Key
    way: Way
    point: Point
    since: tuple[int, int] | None
    change: float
    """Size of the disturbance at the end, in the log of the loss."""


def judgement(found: Found, named: Named | None, held: Mapping[str, float]) -> Judgement:
    """The decision between all hypotheses.

    Args:
        held: log-likelihoods that held-out losses add to hypotheses, by name.
    """
    asked = {key: way for key, way in found.ways.items() if way.agrees(named)}
    configured = {key: way for key, way in asked.items() if way.setting.as_configured}
    logs = _by_state(found, configured, named)
    for name, others in (
        ("unit", {key: way for key, way in found.ways.items() if key not in asked}),
        ("configuration", {key: way for key, way in asked.items() if key not in configured}),
    ):
        if others:
            logs[name] = log_sum([prior_of(way, named) + _all_states(found, key) for key, way in others.items()])
    return _decided(found, logs, held, found.ways, named)


def given(found: Found, key: Key, named: Named | None, held: Mapping[str, float]) -> Judgement:
    """The decision on the model, if the unit and the settings are those of `key`."""
    way = found.ways[key]
    same = {
        other: candidate
        for other, candidate in found.ways.items()
        if candidate.unit.name == way.unit.name
        and candidate.setting.trainer == way.setting.trainer
        and candidate.setting.changes.keys() == way.setting.changes.keys()
        and (candidate.setting.restart is None) == (way.setting.restart is None)
    }
    return _decided(found, _by_state(found, same, named), held, same, named)


def _by_state(found: Found, ways: Mapping[Key, Way], named: Named | None) -> dict[str, float]:
    names = {name for key in ways for name in found.states[key]}
    return {
        name: log_sum([prior_of(way, named) + found.states[key][name] for key, way in ways.items()]) for name in names
    }


def _all_states(found: Found, key: Key) -> float:
    return log_sum([state_prior(name) + value for name, value in found.states[key].items()])


def _decided(
    found: Found, logs: dict[str, float], held: Mapping[str, float], ways: Mapping[Key, Way], named: Named | None
) -> Judgement:
    logs = {name: value + held.get(name, 0.0) for name, value in logs.items()}
    if "healthy" in logs:
        # These show in the held-out losses alone.
        healthy = logs["healthy"] - held.get("healthy", 0.0)
        logs |= {name: healthy + value for name, value in held.items() if name in ("averages", "held-out kind")}
    top = max(logs.values())
    tempered = {name: max(TEMPER * (value - top), -MOST_EVIDENCE) for name, value in logs.items()}
    decision = decide(tempered)
    key = _likeliest_way(found, decision.likeliest, ways, named)
    way = found.ways[key]
    if decision.likeliest in ("unit", "configuration"):
        state = max(found.states[key], key=lambda name: found.states[key][name] + state_prior(name))
    else:
        state = decision.likeliest
    since, disturbance, harm = None, None, found.white.disturbances
    if state == "divergence":
        since, disturbance = _onset(found, key)
    elif state == "instability":
        since = found.scatter.since
    point = likeliest_point(found.white, way.unit, key[1], disturbance)
    change = 0.0 if disturbance is None else point.change * float(harm.columns[disturbance, -1])
    return Judgement(decision, key, way, point, since, change)


def _likeliest_way(found: Found, hypothesis: str, ways: Mapping[Key, Way], named: Named | None) -> Key:
    """The unit and the setting that have most of the probability of a hypothesis."""

    def weight(key: Key) -> float:
        way = ways[key]
        inside = way.agrees(named) and way.setting.as_configured
        match hypothesis:
            case "unit":
                return -math.inf if way.agrees(named) else prior_of(way, named) + _all_states(found, key)
            case "configuration":
                fits = way.agrees(named) and not inside
                return prior_of(way, named) + _all_states(found, key) if fits else -math.inf
        value = found.states[key].get(hypothesis, found.states[key]["healthy"])
        return prior_of(way, named) + value - (0.0 if inside else 5.0)

    return max(ways, key=weight)


def _onset(found: Found, key: Key) -> tuple[tuple[int, int], int]:
    """95 % interval of the step at which a disturbance began, and the likeliest one of the coarse comparison."""
    series, way = found.series, found.ways[key]
    starts, logs = found.onset[key]
    coarse = int(np.flatnonzero(found.white.disturbances.among(LASTING))[int(logs.argmax())])
    fine = disturbances(series.at, series.at[1:], LASTING)
    white = evidence.whiten(series, [way.setting], found.learning, fine)
    cells = evidence.cells(white, way.unit, found.floor, found.frequencies)
    values = np.logaddexp(*cells.disturbed[:2, :, 0])
    if not np.isfinite(values).any():
        step = int(starts[int(logs.argmax())])
        return (step, step), coarse
    by_step = values.reshape(-1, len(LASTING))
    by_step = np.logaddexp.reduce(by_step, axis=1)
    weights = np.exp(ONSET_TEMPER * (by_step - by_step.max()))
    reach = np.cumsum(weights) / weights.sum()
    low, high = np.searchsorted(reach, [0.025, 0.975])
    at = series.at
    # It begins between the last line before and the first line after.
    return (int(at[max(low - 1, 0)]), int(at[min(high + 1, len(at) - 1)])), coarse


def too_early(found: Found, judged: Judgement) -> bool:
    """Whether a loss that is too good to be true was so from the start of the run on."""
    point, learning = judged.point, found.learning
    learnt = point.log_factor - point.mean(learning, found.white.disturbances)
    beyond = np.flatnonzero(learnt > found.floor)
    return bool(len(beyond)) and found.series.at[beyond[0]] < LEAK_SHARE * found.series.at[-1]
