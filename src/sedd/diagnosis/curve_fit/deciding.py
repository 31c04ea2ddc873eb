"""The probabilities of the hypotheses on a curve, and what the likeliest one says in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve import Unit as Named
from sedd.diagnosis.curve_fit import evidence
from sedd.diagnosis.curve_fit.evidence import NOTHING
from sedd.diagnosis.curve_fit.judging import MOST_EVIDENCE, TEMPER, reweigh
from sedd.diagnosis.curve_fit.points import Point
from sedd.diagnosis.curve_fit.points import point as likeliest_point
from sedd.diagnosis.curve_fit.recovery import Recovered, as_instability, recovered
from sedd.diagnosis.curve_fit.shapes import EXPLOSIONS, LASTING, disturbances
from sedd.diagnosis.curve_fit.ways import Found, Key, Way, log_sum, prior_of, state_prior
from sedd.diagnosis.hypotheses import DECISIVE, HYPOTHESES, Decision, decide
from sedd.diagnosis.verdict import Kind

Array = NDArray[np.float64]

SMOOTHED = 0.45
"""Factor on the exponent of the evidence where a log was smoothed: the kind and strength of smoothing are a guess."""
COMMON = ("level", "linear", "easing")
"""The usual forms of a disturbance: a jump, and a loss that grows evenly."""
USUAL, RARE = 0.25, 0.0125
"""Prior weights of a usual form and of another one, for the step at which a disturbance began."""
BEGINNING = (*LASTING, *EXPLOSIONS)
"""The forms that are compared for that step."""
ONSET_TEMPER = 0.8
"""Exponent of the likelihood of the step at which a disturbance began."""
MAY_HAVE_GROWN = 0.03
"""Probability of a divergence from which the step of its beginning is of interest where a run broke later."""
WRONG = ("divergence", "instability", "overfitting", "leak")
"""States of the model that are wrong in any unit."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the evidence says on the model, given a unit and settings."""

    decision: Decision
    key: Key
    way: Way
    point: Point
    since: tuple[int, int] | None
    grew: tuple[int, int] | None
    """95 % interval of the step at which the loss began to grow, if it may have: `since` or a less likely one."""
    change: float
    """Size of the disturbance at the end, in the log of the loss."""
    change_error: float
    """Its standard error, for a disturbance of the likeliest form."""
    recovered: Recovered | None
    """A rise of the loss that surely was there, and decayed by itself."""


def judgement(found: Found, held: Mapping[str, float]) -> Judgement:
    """The decision between all hypotheses.

    Args:
        held: log-likelihoods that held-out losses add to hypotheses, by name.
    """
    named = found.case.named
    agreeing = {key: way for key, way in found.ways.items() if way.agrees(named)}
    configured = {key: way for key, way in agreeing.items() if way.setting.as_configured}
    logs = _by_state(found, configured, named)
    for name, others in (
        ("unit", {key: way for key, way in found.ways.items() if key not in agreeing}),
        ("configuration", {key: way for key, way in agreeing.items() if key not in configured}),
    ):
        if others:
            logs[name] = log_sum([prior_of(way, named) + _all_states(found, key) for key, way in others.items()])
    return _decided(found, logs, held, found.ways, named)


def given(found: Found, key: Key, held: Mapping[str, float]) -> tuple[Found, Judgement]:
    """The decision on the model, if the unit and the settings are those of `key`; and its evidence."""
    inside = reweigh(found, key)
    logs = _by_state(inside, inside.ways, found.case.named)
    return inside, _decided(inside, logs, held, inside.ways, found.case.named)


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
        if "leak" in held:  # a leak need not make the training loss better than the best models can be
            logs["leak"] = log_sum([logs.get("leak", -math.inf), healthy + held["leak"]])
    top = max(logs.values())
    temper = TEMPER * (SMOOTHED if found.series.smoothed else 1.0)
    tempered = {name: max(temper * (value - top), -MOST_EVIDENCE) for name, value in logs.items()}
    decision = _whatever_the_unit(decide(tempered), found, ways, named)
    key = _likeliest_way(found, decision.likeliest, ways, named)
    way = found.ways[key]
    # Under settings that are a guess themselves, a rise may be their misfit.
    rise = recovered(found, key) if way.setting.as_configured else None
    calm = decision.likeliest
    decision = as_instability(decision, rise)
    if decision.likeliest in ("unit", "configuration"):
        state = max(found.states[key], key=lambda name: found.states[key][name] + state_prior(name))
    else:
        state = decision.likeliest
    since, disturbance, harm = None, None, found.white.disturbances
    if state == "divergence":
        since, disturbance = _onset(found, key)
    elif state == "instability":
        since = rise.since if calm == "healthy" and rise else found.scatter.since
    settled = "uniform plateau" in found.states[key] and math.isfinite(found.states[key]["uniform plateau"])
    least = NOTHING * found.case.frequencies if settled and state == "healthy" else 0.0
    point = likeliest_point(found.white, way.unit, key[1], disturbance, least)
    end = 0.0 if disturbance is None else float(harm.columns[disturbance, -1])
    grew = since if state == "divergence" else None
    if grew is None and decision.probabilities.get("learning", 0.0) > MAY_HAVE_GROWN:
        grew = _onset(found, key)[0]
    return Judgement(decision, key, way, point, since, grew, point.change * end, point.change_error * end, rise)


def _whatever_the_unit(decision: Decision, found: Found, ways: Mapping[Key, Way], named: Named | None) -> Decision:
    """A fault of the model in every unit and under all settings that compete is named, although these are open."""
    open_ = decision.probabilities.get("unit", 0.0) + decision.probabilities.get("config", 0.0)
    sure = decision.kind not in ("inconclusive", "unit", "config") or open_ >= DECISIVE
    if sure or open_ < 1.0 - DECISIVE:
        return decision
    total = dict.fromkeys(WRONG, 0.0)
    open_kinds: tuple[tuple[Kind, str], ...] = (("unit", "unit"), ("config", "configuration"))
    for kind, name in open_kinds:
        inside = [key for key, way in ways.items() if _is_of(way, name, named)]
        if not inside:
            continue
        logs = {key: prior_of(ways[key], named) + _all_states(found, key) for key in inside}
        whole = log_sum(list(logs.values()))
        for state in WRONG:
            part = log_sum([prior_of(ways[k], named) + state_prior(state) + found.states[k][state] for k in inside])
            total[state] += decision.probabilities.get(kind, 0.0) * math.exp(part - whole)
    for state in WRONG:
        total[state] += decision.probabilities.get(HYPOTHESES[state].kind, 0.0)
    state = max(total, key=lambda name: total[name])
    action = sum(total[name] for name in WRONG if HYPOTHESES[name].action == HYPOTHESES[state].action)
    if action < DECISIVE:
        return decision
    return replace(decision, kind=HYPOTHESES[state].kind, likeliest=state, probability=min(total[state], 1.0))


def _is_of(way: Way, hypothesis: str, named: Named | None) -> bool:
    """Whether a unit and a setting belong to `unit` or to `configuration`."""
    agrees = way.agrees(named)
    return not agrees if hypothesis == "unit" else agrees and not way.setting.as_configured


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
    fine = disturbances(series.at, series.at[1:], BEGINNING)
    white = evidence.whiten(series, [way.setting], found.learning, fine)
    cells = evidence.cells(white, way.unit, found.case.floor, found.case.frequencies)
    values = np.logaddexp(*cells.disturbed[:2, :, 0])
    if not np.isfinite(values).any():
        step = int(starts[int(logs.argmax())])
        return (step, step), coarse
    prior = np.log([USUAL if kind in COMMON else RARE for kind in BEGINNING])
    by_step = np.logaddexp.reduce(ONSET_TEMPER * values.reshape(-1, len(BEGINNING)) + prior, axis=1)
    weights = np.exp(by_step - by_step.max())
    reach = np.cumsum(weights) / weights.sum()
    low, high = np.searchsorted(reach, [0.025, 0.975])
    at = series.at
    # It begins between the last line before and the first line after; `fine` begins at the second block.
    return (int(at[max(low - 1, 0)]), int(at[min(high + 2, len(at) - 1)])), coarse
