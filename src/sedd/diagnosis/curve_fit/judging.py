"""From the evidence of all models to the probabilities of the hypotheses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve import Unit as Named
from sedd.diagnosis.curve_fit import evidence, trainers, units
from sedd.diagnosis.curve_fit.evidence import Cells, Whitened
from sedd.diagnosis.curve_fit.points import point as likeliest_point
from sedd.diagnosis.curve_fit.scatter import Scatter, scatter
from sedd.diagnosis.curve_fit.series import Series, prepare, running_median
from sedd.diagnosis.curve_fit.settings import WEIGHTED, Setting, as_configured, plausible, sharpest_falls
from sedd.diagnosis.curve_fit.shapes import LASTING, PASSING, Disturbances, Learning, disturbances, learning
from sedd.diagnosis.curve_fit.units import Unit
from sedd.diagnosis.curve_fit.unknown import unknown
from sedd.diagnosis.forecast import BEST_KNOWN, Forecast
from sedd.diagnosis.hypotheses import HYPOTHESES
from sedd.diffusion.loss_profile import mask_range

Array = NDArray[np.float64]
Key = tuple[int, int]
"""Indices of a unit and a setting."""

TEMPER = 1.0
"""Exponent of the likelihoods: models are never quite true, so that their evidence is worth less than it seems."""
MOST_EVIDENCE = 14.0
"""Largest log-likelihood ratio that is believed."""
LEAST_POINTS = 5
"""Usable losses below which a curve decides nothing."""
KEPT = 24
"""Settings that enter the second, finer comparison."""
STARTS = (10, 36)
"""Steps at which a disturbance may begin, in the first and in the second comparison."""
BOTH_ODD = math.log(0.05)
"""Log of the weight of other settings where the unit is another one, too."""
RECOVERED = math.log(0.02)
"""Log of the weight of a disturbance that decays, within the healthy curves."""
CONTEXT = 1.5
"""Exponent of the share of the residues that are not masked in what they tell of the masked ones."""
ODD = 8.0
"""Log-likelihood by which a calm curve must be worse than the best explanation to look for disturbances of no known
form."""
BAD_FIT = 1.4
"""Sum of squares per block above which even the best explanation fits badly."""
UNNAMED = 2.0
"""Log of the odds against a disturbance of no known form, within the disturbances."""
PLATEAU_STEPS = 5000
"""Optimizer steps after which a network that is no better than the uniform predictor does not learn."""


@dataclass(frozen=True)
class Way:
    """One unit and one setting: how the losses may have come about."""

    unit: Unit
    setting: Setting

    def agrees(self, named: Named | None) -> bool:
        """Whether the unit is what the user takes it for."""
        return units.agrees(self.setting.trainer, self.unit, named)


@dataclass(frozen=True, eq=False)
class Found:
    """The evidence on a curve."""

    series: Series
    learning: Learning
    floor: float
    frequencies: float
    """Learning of the unigram model, in the log of the loss."""
    states: Mapping[Key, Mapping[str, float]]
    """Log-likelihood of each state of the model, for each unit and setting (their indices)."""
    ways: Mapping[Key, Way]
    scatter: Scatter
    onset: Mapping[Key, tuple[Array, Array]]
    """Steps at which a disturbance may have begun, and their log-likelihoods."""
    white: Whitened
    best: Key
    """The likeliest unit and setting."""


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


def floor_of(forecast: Forecast) -> float:
    """Learning of the best known model, in the log of the loss over that of the uniform predictor."""
    full = forecast.full
    untrained = full.untrained / max(full.mask_rate_max - full.mask_rate_min, 1e-12)
    protein = forecast.config.graph.type == "absorb" and forecast.config.data.alphabet != "text"
    least = BEST_KNOWN if protein else 0.3 * min(untrained, 3.0)
    return max(math.log(untrained / least), 0.1)


def weigh(curve: Curve, forecast: Forecast) -> Found:
    """Compare all units, settings and states of the model."""
    steps = curve.steps.astype(np.float64)
    series = prepare(curve, as_configured(forecast).log_loss(steps))
    settings = plausible(forecast, series.steps, sharpest_falls(series.steps, series.slow))
    shapes = _learning(series, settings[0], forecast)
    floor = floor_of(forecast)
    frequencies = max(math.log(forecast.full.untrained / forecast.full.unigram), 0.01)
    named = curve.unit
    all_units = units.plausible(forecast.statistics.length, forecast.config.model.length, named)
    settings = _finalists(series, settings, all_units, shapes, floor, frequencies, named)
    starts = np.unique(np.quantile(series.at, np.linspace(0.02, 0.97, STARTS[1])))
    harm = disturbances(series.at, starts)
    white = evidence.whiten(series, settings, shapes, harm)
    states: dict[Key, dict[str, float]] = {}
    ways: dict[Key, Way] = {}
    onset: dict[Key, tuple[Array, Array]] = {}
    firsts = _firsts(series, settings)
    for u, unit in enumerate(all_units):
        chosen = _feasible(series, firsts, settings, unit, named, floor)
        if not chosen:
            continue
        found = evidence.cells(white.among(chosen), unit, floor, frequencies)
        for column, s in enumerate(chosen):
            key = (u, s)
            ways[key] = Way(unit, settings[s])
            states[key], onset[key] = _states(found, column, harm, series, forecast, validated=len(curve.held_out) > 0)
    _add_unknown(states, ways, white, series, shapes, floor, frequencies, named)
    best = max(states, key=lambda key: max(states[key].values()) + prior_of(ways[key], named))
    spread = _scatter(series, white, ways[best], best[1], onset[best], states[best], forecast)
    for values in states.values():
        values["instability"] = (
            log_sum([values["healthy"], values["uniform plateau"], values["divergence"] - 1.0]) + spread.log_likelihood
        )
    return Found(series, shapes, floor, frequencies, states, ways, spread, onset, white, best)


def _add_unknown(
    states: dict[Key, dict[str, float]],
    ways: dict[Key, Way],
    white: Whitened,
    series: Series,
    shapes: Learning,
    floor: float,
    frequencies: float,
    named: Named | None,
) -> None:
    """Where no calm curve of the configuration fits well: disturbances of no known form, under the configuration."""
    configured = [key for key, way in ways.items() if way.agrees(named) and way.setting.as_configured]
    calm = max((max(states[key]["healthy"], states[key]["uniform plateau"]) for key in configured), default=-math.inf)
    top = max(max(values.values()) + prior_of(ways[key], named) for key, values in states.items())
    inside = max((max(states[key].values()) + prior_of(ways[key], named) for key in configured), default=-math.inf)
    if not configured or calm > top - ODD or (inside >= top and white.misfit_per_block(top) < BAD_FIT):
        return
    for u in sorted({key[0] for key in configured}):
        keys = [key for key in configured if key[0] == u]
        found = unknown(series, [ways[key].setting for key in keys], ways[keys[0]].unit, shapes, floor, frequencies)
        for column, key in enumerate(keys):
            rises, falls = found.rises[:, column] - UNNAMED, found.falls[:, column] - UNNAMED
            states[key]["divergence"] = log_sum([states[key]["divergence"], log_mean(rises)])
            states[key]["overfitting"] = log_sum([states[key]["overfitting"], log_mean(falls) - 1.0])


def _learning(series: Series, setting: Setting, forecast: Forecast) -> Learning:
    """The curves of learning under the configuration."""
    at = series.at
    ends = _ends(forecast)
    both = [forecast.predictors[name] for name in ("untrained", "unigram")]
    ratio = np.array([math.log(max(both[0].loss(*e), 1e-12) / max(both[1].loss(*e), 1e-12)) for e in ends])
    frequencies = np.interp(setting.difficulty(at), trainers.GRID, ratio / max(ratio[-1], 1e-6))
    return learning_at(at, frequencies, context_weight(setting, at, forecast), forecast)


def _ends(forecast: Forecast) -> Array:
    """(difficulties, 2): the least and the largest mask rate at each tabulated difficulty."""
    config = forecast.config
    return np.array([mask_range(config.noise, float(d), config.curriculum.mode) for d in trainers.GRID])


def context_weight(setting: Setting, steps: Array, forecast: Forecast) -> Array:
    """How much a model gains from the other residues at the difficulty of each step, over that at full difficulty.

    It is more the fewer residues are masked: the mean of (1 - m)^`CONTEXT` over the mask rates m.
    """
    ends, power = _ends(forecast), CONTEXT + 1.0
    rest = (1.0 - ends) ** power / power
    context = (rest[:, 0] - rest[:, 1]) / np.maximum(ends[:, 1] - ends[:, 0], 1e-9)
    found: Array = np.interp(setting.difficulty(steps), trainers.GRID, context / max(float(context[-1]), 1e-6))
    return found


def learning_at(steps: Array, of_frequencies: Array, of_context: Array, forecast: Forecast) -> Learning:
    """The curves of learning at optimizer steps, of which those in the warm-up count less."""
    warmup = max(forecast.config.optim.warmup, 1)
    effective = np.where(steps < warmup, steps**2 / (2 * warmup), steps - warmup / 2)
    return learning(effective, of_frequencies, of_context)


def _scatter(
    series: Series,
    white: Whitened,
    way: Way,
    setting: int,
    onset: tuple[Array, Array],
    states: Mapping[str, float],
    forecast: Forecast,
) -> Scatter:
    """The scatter around the likeliest fit."""
    harm = white.disturbances
    worse = states["divergence"] > max(states["healthy"], states["uniform plateau"])
    likeliest = int(np.flatnonzero(harm.among(LASTING))[int(onset[1].argmax())]) if worse else None
    point = likeliest_point(white, way.unit, setting, likeliest)
    fitted = way.setting.log_loss(series.at) + point.mean(white.learning, harm)
    # What is left slowly is misfit, not oscillation.
    left = series.mean - fitted
    fitted = fitted + running_median(left, 31) if len(left) > 62 else fitted
    residuals = series.logs - np.interp(series.steps, series.at, fitted)
    start, full = forecast.scatter["start"], forecast.scatter["full"]
    return scatter(series, residuals, full / start if start > 0 else 1.0)


def prior_of(way: Way, named: Named | None) -> float:
    """Log of the weight of a unit and a setting within its hypothesis: healthy, `unit` or `configuration`."""
    unit, setting = way.unit, way.setting
    if way.agrees(named):
        return unit.log_prior + setting.log_prior
    weight = math.log(0.6) if setting.trainer in WEIGHTED else math.log(0.4) + (0.0 if unit.is_residue else -1.5)
    return weight + unit.log_prior + setting.log_prior + (0.0 if setting.as_configured else BOTH_ODD)


def _states(
    found: Cells, column: int, harm: Disturbances, series: Series, forecast: Forecast, *, validated: bool
) -> tuple[dict[str, float], tuple[Array, Array]]:
    """Log-likelihoods of the states of the model for one unit and setting, and those of the onset of a disturbance."""
    none, usual, beyond = (float(value) for value in found.calm[:, column])
    disturbed = np.logaddexp(*found.disturbed[:2, :, column])
    lasting, passing = harm.among(LASTING), harm.among(PASSING)
    stretch, level = harm.among(("short stretch", "stretch")), harm.among(("level",))
    too_good = log_sum([beyond, log_mean(found.disturbed[2, :, column]) - 3.0])
    recovered = log_mean(disturbed[passing & ~stretch]) + RECOVERED
    fallen = found.fallen[:, column]
    changed = [log_mean(fallen[level]), log_mean(disturbed[stretch])]
    memorised = log_mean(fallen[harm.among(("slowing",))]) - 1.0
    # Only held-out losses tell harder data from a model that got worse.
    changed.append(log_mean(disturbed[level]) if validated else -math.inf)
    long = series.at[-1] >= max(PLATEAU_STEPS, forecast.config.optim.warmup)
    values = {
        "healthy": log_sum([usual, recovered, *([] if long else [none])]),
        "uniform plateau": none if long else -math.inf,
        "divergence": log_mean(disturbed[lasting]),
        "overfitting": log_sum([too_good, memorised]),
        "leak": too_good,
        "data change": log_sum(changed) - math.log(3.0),
    }
    return values, (harm.since[lasting], disturbed[lasting])


def _feasible(
    series: Series, firsts: Array, settings: list[Setting], unit: Unit, named: Named | None, floor: float
) -> list[int]:
    """The settings under which the first losses, over those of the uniform predictor, allow this unit."""
    margin = 0.15 + 4 * unit.spread + 4 * float(series.scale.max())
    learnt = floor + (1.0 if series.at[0] > 0 else 0.3)
    fits = (firsts - margin <= unit.log_factor) & (unit.log_factor <= firsts + learnt + margin)
    return [int(i) for i in np.flatnonzero(fits) if units.allowed(settings[i].trainer, unit, named)]


def _firsts(series: Series, settings: list[Setting]) -> Array:
    """(settings,): mean of the first log losses over those of the uniform predictor."""
    early = max(1, min(3, len(series.at) // 8))
    at = series.at[:early]
    return np.array([float((series.mean[:early] - setting.log_loss(at)).mean()) for setting in settings])


def _finalists(
    series: Series,
    settings: list[Setting],
    all_units: list[Unit],
    shapes: Learning,
    floor: float,
    frequencies: float,
    named: Named | None,
) -> list[Setting]:
    """The settings that a coarse comparison leaves, and those of the configuration."""
    starts = np.unique(np.quantile(series.at, np.linspace(0.05, 0.9, STARTS[0])))
    white = evidence.whiten(series, settings, shapes, disturbances(series.at, starts, ("level", "linear")))
    best = np.full(len(settings), -np.inf)
    firsts = _firsts(series, settings)
    for unit in all_units:
        chosen = _feasible(series, firsts, settings, unit, named, floor)
        if not chosen:
            continue
        found = evidence.cells(white.among(chosen), unit, floor, frequencies)
        top = np.maximum(found.calm.max(0), found.disturbed.max((0, 1)) - 4.0)
        priors = [prior_of(Way(unit, settings[s]), named) for s in chosen]
        best[chosen] = np.maximum(best[chosen], top + np.array(priors))
    order = np.argsort(-best)[:KEPT]
    kept = {*order.tolist(), *(i for i, setting in enumerate(settings) if setting.as_configured)}
    return [settings[i] for i in sorted(kept)]
