"""The evidence of all units, settings and states of the model on a curve."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit import evidence, learning, recovery, units
from sedd.diagnosis.curve_fit.evidence import Cells, Whitened
from sedd.diagnosis.curve_fit.filters import Filter
from sedd.diagnosis.curve_fit.points import point as likeliest_point
from sedd.diagnosis.curve_fit.scatter import Scatter, scatter
from sedd.diagnosis.curve_fit.series import Series, prepare, running_median
from sedd.diagnosis.curve_fit.settings import Setting, as_configured, plausible, sharpest_falls
from sedd.diagnosis.curve_fit.shapes import BUMPS, LASTING, STRETCHES, Disturbances, Learning, between, disturbances
from sedd.diagnosis.curve_fit.units import Unit
from sedd.diagnosis.curve_fit.unknown import unknown
from sedd.diagnosis.curve_fit.ways import Case, Found, Key, Recovery, Way, log_mean, log_sum, prior_of
from sedd.diagnosis.forecast import Forecast

Array = NDArray[np.float64]

TEMPER = 1.0
"""Exponent of the likelihoods: models are never quite true, so that their evidence is worth less than it seems."""
MOST_EVIDENCE = 14.0
"""Largest log-likelihood ratio that is believed."""
LEAST_POINTS = 5
"""Usable losses below which a curve decides nothing."""
KEPT = 16
"""Settings that enter the second, finer comparison."""
STARTS = (8, 30)
"""Steps at which a disturbance may begin, in the first and in the second comparison."""
JUMPS = 6
"""Largest jumps of the loss, at each of which a disturbance may begin, too."""
BESIDE = 5
"""Blocks on each side of a jump."""
RECOVERED = math.log(0.02)
"""Log of the weight of a disturbance that decays, within the healthy curves."""
ODD = 8.0
"""Log-likelihood by which a calm curve must be worse than the best explanation to look for disturbances of no known
form."""
BAD_FIT = 1.4
"""Sum of squares per block above which even the best explanation fits badly."""
UNNAMED = 2.0
"""Log of the odds against a disturbance of no known form, within the disturbances."""
PLATEAU_STEPS = 3000
"""Optimizer steps at the full learning rate after which a uniform predictor is a network that does not learn."""


def weigh(curve: Curve, forecast: Forecast, filter_: Filter | None = None) -> Found:
    """Compare all units, settings and states of the model; `filter_` is what the log was smoothed with, if known."""
    steps = curve.steps.astype(np.float64)
    series = prepare(curve, as_configured(forecast).log_loss(steps), filter_)
    case = Case(series, forecast, curve.unit, len(curve.held_out) > 0)
    settings = plausible(forecast, series.steps, sharpest_falls(series.steps, series.slow))
    shapes = learning.under(settings[0], series.at, forecast)
    return _compared(case, _finalists(case, settings, shapes), case.units, shapes)


def reweigh(found: Found, key: Key) -> Found:
    """The evidence under the unit and the setting of `key` alone, with learning as it shows at its difficulties."""
    way, case = found.ways[key], found.case
    alike = [unit for unit in case.units if (unit.name, unit.is_residue) == (way.unit.name, way.unit.is_residue)]
    shapes = learning.under(way.setting, case.series.at, case.forecast)
    return _compared(case, [way.setting], alike, shapes)


def _compared(case: Case, settings: list[Setting], all_units: list[Unit], shapes: Learning) -> Found:
    series = case.series
    jumps = _jumps(case, settings[0])
    starts = np.concatenate([np.quantile(series.at, np.linspace(0.02, 0.97, STARTS[1])), jumps])
    harm = disturbances(series.at, np.unique(starts)) + between(series.at, jumps)
    white = evidence.whiten(series, settings, shapes, harm)
    states: dict[Key, dict[str, float]] = {}
    ways: dict[Key, Way] = {}
    onset: dict[Key, tuple[Array, Array]] = {}
    recovered: dict[Key, Recovery] = {}
    firsts = _firsts(series, settings)
    for u, unit in enumerate(all_units):
        chosen = _feasible(case, firsts, settings, unit)
        if not chosen:
            continue
        cells = evidence.cells(white.among(chosen), unit, case.floor, case.frequencies)
        for column, s in enumerate(chosen):
            ways[u, s] = Way(unit, settings[s])
            states[u, s], onset[u, s] = _states(cells, column, harm, case)
            recovered[u, s] = recovery.of(cells, column, harm, RECOVERED)
    if len(settings) > 1:
        _add_unknown(states, ways, white, case, shapes)
    best = max(states, key=lambda key: max(states[key].values()) + prior_of(ways[key], case.named))
    shaking = _scatter(case, white, ways[best], best[1], onset[best], states[best])
    for values in states.values():
        steady = log_sum([values["healthy"], values["uniform plateau"], values["divergence"] - 1.0])
        values["instability"] = steady + shaking.log_likelihood
    return Found(case, shapes, white, ways, states, onset, recovered, shaking)


def _jumps(case: Case, setting: Setting) -> Array:
    """Steps at which the log loss over the forecast jumps most, up or down, from the blocks before to those after."""
    series = case.series
    left = series.mean - setting.log_loss(series.at)
    count = len(left)
    if count < 4 * BESIDE:
        return np.zeros(0)
    total = np.concatenate([[0.0], np.cumsum(left)])
    at = np.arange(BESIDE, count - BESIDE + 1)
    jump = np.abs(total[at + BESIDE] - 2 * total[at] + total[at - BESIDE])
    found = []
    for _ in range(JUMPS):
        best = int(jump.argmax())
        found.append(float(series.at[at[best]]))
        jump[max(0, best - BESIDE) : best + BESIDE + 1] = -1.0
    return np.array(found)


def _add_unknown(
    states: dict[Key, dict[str, float]], ways: dict[Key, Way], white: Whitened, case: Case, shapes: Learning
) -> None:
    """Where no calm curve of the configuration fits well: disturbances of no known form, under the configuration."""
    configured = [key for key, way in ways.items() if way.agrees(case.named) and way.setting.as_configured]
    calm = max((max(states[key]["healthy"], states[key]["uniform plateau"]) for key in configured), default=-math.inf)
    tops = {key: max(values.values()) + prior_of(ways[key], case.named) for key, values in states.items()}
    top, inside = max(tops.values()), max((tops[key] for key in configured), default=-math.inf)
    if not configured or calm > top - ODD or (inside >= top and white.misfit_per_block(top) < BAD_FIT):
        return
    for u in sorted({key[0] for key in configured}):
        keys = [key for key in configured if key[0] == u]
        settings, unit = [ways[key].setting for key in keys], ways[keys[0]].unit
        found = unknown(case.series, settings, unit, shapes, case.floor, case.frequencies)
        for column, key in enumerate(keys):
            rises, falls = found.rises[:, column] - UNNAMED, found.falls[:, column] - UNNAMED
            states[key]["divergence"] = log_sum([states[key]["divergence"], log_mean(rises)])
            for state in ("overfitting", "leak"):
                states[key][state] = log_sum([states[key][state], log_mean(falls) - 1.0])


def _scatter(
    case: Case, white: Whitened, way: Way, setting: int, onset: tuple[Array, Array], states: Mapping[str, float]
) -> Scatter:
    """The scatter around the likeliest fit."""
    harm, series = white.disturbances, case.series
    worse = states["divergence"] > max(states["healthy"], states["uniform plateau"])
    likeliest = int(np.flatnonzero(harm.among(LASTING))[int(onset[1].argmax())]) if worse else None
    point = likeliest_point(white, way.unit, setting, likeliest)
    fitted = way.setting.log_loss(series.at) + point.mean(white.learning, harm)
    # What is left slowly is misfit, not oscillation.
    left = series.mean - fitted
    fitted = fitted + running_median(left, 31) if len(left) > 62 else fitted
    residuals = series.logs - np.interp(series.steps, series.at, fitted)
    start, full = case.forecast.scatter["start"], case.forecast.scatter["full"]
    return scatter(series, residuals, full / start if start > 0 else 1.0)


def _states(found: Cells, column: int, harm: Disturbances, case: Case) -> tuple[dict[str, float], tuple[Array, Array]]:
    """Log-likelihoods of the states of the model for one unit and setting, and those of the onset of a disturbance."""
    none, usual, beyond = (float(value) for value in found.calm[:, column])
    disturbed = np.logaddexp(*found.disturbed[:2, :, column])
    lasting, stretch, level = harm.among(LASTING), harm.among(STRETCHES), harm.among(("level",))
    too_good = log_sum([beyond, log_mean(found.disturbed[2, :, column]) - 3.0])
    recovered = log_mean(disturbed[harm.among(BUMPS)]) + RECOVERED
    fallen = found.fallen[:, column]
    changed = [log_mean(fallen[level]), log_mean(disturbed[stretch])]
    memorised = log_sum([too_good, log_mean(fallen[harm.among(("slowing",))]) - 1.0])
    # Only held-out losses tell harder data from a model that got worse.
    changed.append(log_mean(disturbed[level]) if case.validated else -math.inf)
    long = learning.effective(case.series.at[-1:], case.forecast)[0] >= PLATEAU_STEPS
    values = {
        "healthy": log_sum([usual, recovered, *([] if long else [none])]),
        "uniform plateau": none if long else -math.inf,
        "divergence": log_mean(disturbed[lasting]),
        "overfitting": memorised,
        # Without held-out losses a leak looks like memorising, also one that opens later.
        "leak": too_good if case.validated else memorised,
        "data change": log_sum(changed) - math.log(3.0),
    }
    return values, (harm.since[lasting], disturbed[lasting])


def _feasible(case: Case, firsts: Array, settings: list[Setting], unit: Unit) -> list[int]:
    """The settings under which the first losses, over those of the uniform predictor, allow this unit."""
    series = case.series
    margin = 0.15 + 4 * unit.spread + 4 * float(series.scale.max())
    learnt = case.floor + (1.0 if series.at[0] > 0 else 0.3)
    # Nothing explains losses above those of the uniform predictor but a unit; a leak makes them as low as it likes.
    low_enough = unit.is_residue | (unit.log_factor <= firsts + learnt + margin)
    fits = (firsts - margin <= unit.log_factor) & low_enough
    return [int(i) for i in np.flatnonzero(fits) if units.allowed(settings[i].trainer, unit, case.named)]


def _firsts(series: Series, settings: list[Setting]) -> Array:
    """(settings,): mean of the first log losses over those of the uniform predictor."""
    early = max(1, min(3, len(series.at) // 8))
    at = series.at[:early]
    return np.array([float((series.mean[:early] - setting.log_loss(at)).mean()) for setting in settings])


def _finalists(case: Case, settings: list[Setting], shapes: Learning) -> list[Setting]:
    """The settings that a coarse comparison leaves, and those of the configuration."""
    at = case.series.at
    starts = np.unique(np.quantile(at, np.linspace(0.05, 0.9, STARTS[0])))
    white = evidence.whiten(case.series, settings, shapes, disturbances(at, starts, ("level", "linear")))
    best, firsts = np.full(len(settings), -np.inf), _firsts(case.series, settings)
    for unit in case.units:
        chosen = _feasible(case, firsts, settings, unit)
        if not chosen:
            continue
        found = evidence.cells(white.among(chosen), unit, case.floor, case.frequencies)
        top = np.maximum(found.calm.max(0), found.disturbed.max((0, 1)) - 4.0)
        priors = [prior_of(Way(unit, settings[s]), case.named) for s in chosen]
        best[chosen] = np.maximum(best[chosen], top + np.array(priors))
    order = np.argsort(-best)[:KEPT]
    kept = {*order.tolist(), *(i for i, setting in enumerate(settings) if setting.as_configured)}
    return [settings[i] for i in sorted(kept)]
