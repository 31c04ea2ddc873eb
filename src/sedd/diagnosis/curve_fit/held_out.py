"""What the held-out losses of a log say: they lag behind, they rise, they stay at the uniform predictor.

With t = log(training loss / uniform predictor) and w the same of the held-out loss, each explanation is a linear model
of w with Gaussian coefficients, and its evidence is a Gaussian density:

    the model is as it seems    w = t + b L                  L = -t: what was learnt; b small
    overfitting                 w = t + b L + ramp(s)        a gap that opens from some step on, either evenly, or as
                                                             far as the training loss still falls: ramp = L - L(start)
    leak                        w = t + b L                  b large: most of what was learnt is no learning; where
                                                             t is not too good, L less the token frequencies;
                                or w = t + gap(s)            a large gap that opens from the first step on
    another kind of data        w = t + b L + c phi(s)       a gap that is there as soon as token frequencies are learnt
    averages do not follow      w = -c phi(s)                c below the token frequencies: still untrained; t is not
                                                             too good
    the training data changed   w = t - d + b L              d: the disturbance of the training loss; L without it

The held-out loss is at the difficulty of the step or at full difficulty: other trainers log either. Both are allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit.learning import context_weight
from sedd.diagnosis.curve_fit.points import Point
from sedd.diagnosis.curve_fit.points import point as likeliest_point
from sedd.diagnosis.curve_fit.series import local_scale
from sedd.diagnosis.curve_fit.shapes import LASTING
from sedd.diagnosis.curve_fit.ways import Found, Key, log_mean, log_sum
from sedd.diagnosis.forecast import Forecast

Array = NDArray[np.float64]
Column = tuple[Array, float, float]
"""A curve, and mean and standard deviation of its coefficient."""

LEAST_EVALUATIONS = 5
"""Held-out losses below which they say nothing."""
MOST_EVALUATIONS = 60
"""Held-out losses that enter, at most; more are averaged."""
USUAL_GAP = (0.05, 0.07)
"""Mean and standard deviation of what a healthy model has learnt of training data only, as a share of L."""
MISFIT = 0.008
"""Standard deviation of slow differences that no explanation has."""
MISFIT_OF_GAP = 0.01
"""Further slow differences, as a share of the gap that is to be explained."""
NO_SCATTER = 0.003
"""Least relative scatter of a held-out loss."""
USUAL_SCATTER = 0.015
"""Relative scatter of a held-out loss that is expected before seeing any."""
AS_IT_SEEMS = (
    "healthy",
    "uniform plateau",
    "unigram plateau",
    "late plateau",
    "configuration",
    "unit",
    "divergence",
    "instability",
)
"""Hypotheses under which a held-out loss follows the training loss."""
UNLIKELY = -3.0
"""Log of the weight of a leak through which no more is learnt than the best models learn, and of averages beside a
training loss that is better than that."""
LARGE_GAP = 1.5
"""Standard deviation of the gap through a leak or by memorising: of the log of held-out over training loss."""
DEPTHS = (0.1, 0.7, 0.9, 0.97)
"""Shares of the training loss that vanish exponentially through a leak."""
UNSURE = 0.1
"""Standard deviation of a disturbance that was fitted, as a share of it."""


@dataclass(frozen=True)
class HeldOut:
    """What the held-out losses say."""

    evidence: Mapping[str, float]
    """Log-likelihoods that they add, by hypothesis."""
    gap: float
    """log(held-out / training loss) in the last third."""
    level: float
    """log(held-out loss / uniform predictor) in the last third."""
    rise: float
    """Log of the last held-out losses over the least ones, at equal difficulty."""
    best_step: int
    """Step of the least held-out loss, at equal difficulty."""
    full: bool
    """Whether they were computed at full difficulty."""


@dataclass(frozen=True, eq=False)
class _Pair:
    """Held-out and training losses over the uniform predictor. Arrays are (evaluations,)."""

    steps: Array
    held: Array
    """w."""
    trained: Array
    """t."""
    variance: Array
    disturbance: Array
    """d: what disturbs the training loss; 0 without."""
    allowance: Array
    """What a model at the difficulty of the step has learnt more of than one at full difficulty."""

    @property
    def learnt(self) -> Array:
        """L."""
        return np.maximum(-self.trained, 0.0)


def judge_held_out(curve: Curve, found: Found, key: Key, point: Point, forecast: Forecast) -> HeldOut | None:
    """Judge the held-out losses beside the likeliest explanation of the training losses; None if there are too few."""
    usable = np.isfinite(curve.held_out) & (curve.held_out > 0)
    if usable.sum() < LEAST_EVALUATIONS:
        return None
    steps, logs = _pooled(curve.held_out_steps[usable].astype(np.float64), np.log(curve.held_out[usable]))
    pairs = {full: _pair(steps, logs, found, key, point, forecast, full=full) for full in (False, True)}
    said = {full: _explanations(pair, found) for full, pair in pairs.items()}
    names = said[True].keys()
    total = {name: log_sum([said[False][name], said[True][name]]) - math.log(2.0) for name in names}
    full = max(said, key=lambda name: max(said[name].values()))
    held, trained = pairs[full].held, pairs[full].trained
    third = max(2, len(steps) // 3)
    smooth = np.convolve(held, np.full(3, 1 / 3), "valid")
    best = int(smooth.argmin())
    return HeldOut(
        evidence=total,
        gap=float((held - trained)[-third:].mean()),
        level=float(held[-third:].mean()),
        rise=float(smooth[-1] - smooth[best]),
        best_step=int(steps[best + 1]),
        full=full,
    )


def _pooled(steps: Array, logs: Array) -> tuple[Array, Array]:
    if len(steps) <= MOST_EVALUATIONS:
        return steps, logs
    parts = np.array_split(np.arange(len(steps)), MOST_EVALUATIONS)
    return np.array([steps[part].mean() for part in parts]), np.array([logs[part].mean() for part in parts])


def _pair(steps: Array, logs: Array, found: Found, key: Key, point: Point, forecast: Forecast, *, full: bool) -> _Pair:
    setting, series, harm = found.ways[key].setting, found.series, found.white.disturbances
    own = setting.log_loss(steps)
    base = np.full(len(steps), float(setting.log_loss(np.array([1e12]))[0])) if full else own
    held = logs - base - point.log_factor
    ratio = series.mean - setting.log_loss(series.at) - point.log_factor
    # The fit, corrected by running means of what it leaves, where these are more than scatter.
    fitted = point.mean(found.learning, harm) - point.log_factor
    width = max(1, len(ratio) // 8)
    kernel = np.ones(width)
    number = np.convolve(np.ones(len(ratio)), kernel, "same")
    left = np.convolve(ratio - fitted, kernel, "same") / number
    spread = np.convolve(series.variance, kernel, "same") / number**2
    left = left * np.maximum(0.0, 1.0 - 4.0 * spread / np.maximum(left**2, 1e-12))
    trained = np.interp(steps, series.at, fitted + left)
    error = np.interp(steps, series.at, np.sqrt(spread))
    scale = local_scale(held, expected=USUAL_SCATTER)
    disturbance = np.zeros(len(steps))
    state = found.states[key]
    if state["divergence"] > max(state["healthy"], state["uniform plateau"]):
        chosen = int(np.flatnonzero(harm.among(LASTING))[int(found.onset[key][1].argmax())])
        size = likeliest_point(found.white, found.ways[key].unit, key[1], chosen).change
        disturbance = size * np.interp(steps, series.at, harm.columns[chosen])
    context = context_weight(setting, steps, forecast)
    allowance = (context - 1.0) * np.maximum(-trained, 0.0) if full else np.zeros(len(steps))
    variance = np.maximum(scale, NO_SCATTER) ** 2 + error**2
    return _Pair(steps, held, trained, variance, disturbance, allowance)


def _explanations(pair: _Pair, found: Found) -> dict[str, float]:
    """Log-likelihoods of the held-out losses by hypothesis."""
    one, learnt = np.ones(len(pair.steps)), pair.learnt
    usual: list[Column] = [(learnt, *USUAL_GAP), (pair.allowance, 0.5, 0.5), (one, 0.0, 0.005)]
    rest = usual[1:]
    as_it_seems = _evidence(pair, pair.trained, usual)[0]
    too_good = float(learnt[-max(2, len(learnt) // 3) :].mean()) > found.case.floor
    said = dict.fromkeys(AS_IT_SEEMS, as_it_seems)
    said["data change"] = _other_data(pair)
    said["overfitting"] = log_mean(np.array(list(_opening(pair, usual))))
    # A network whose training loss is not too good still has gradients: it has really learnt the token frequencies.
    leaked = learnt if too_good else np.maximum(learnt - found.case.frequencies, 0.0)
    leak, coefficients = _evidence(pair, pair.trained, [(leaked, 0.6, 0.3), *rest])
    leaks = [leak if coefficients[0] > 0.15 else -math.inf]
    kinds, still = [], []
    if too_good:
        leaks.append(log_mean(np.array(list(_from_the_start(pair, usual)))))
    for phi in _early(pair.steps):
        value, coefficients = _evidence(pair, pair.trained, [(phi, 0.0, 0.3), *usual])
        kinds.append(value if coefficients[0] > 0.0 else -math.inf)
        few = (0.15 * found.case.frequencies, 0.15 * found.case.frequencies)
        still.append(_evidence(pair, np.zeros(len(phi)), [(-phi, *few), rest[1]])[0])
    said["leak"] = log_sum(leaks) + (0.0 if too_good else UNLIKELY)
    said["held-out kind"] = log_mean(np.array(kinds)) + math.log(2.0)
    said["averages"] = log_mean(np.array(still)) + (UNLIKELY if too_good else 0.0)
    return said


def _from_the_start(pair: _Pair, usual: list[Column]) -> Iterator[float]:
    """Evidence of large gaps that open from the first step on, in some time."""
    last = max(float(pair.steps[-1]), 1.0)
    for share in (0.01, 0.03, 0.1, 0.3, 1.0):
        learnt = -np.expm1(-pair.steps / (share * last))
        for depth in DEPTHS:
            gap = np.log1p(-depth * learnt) / math.log1p(-depth)
            value, coefficients = _evidence(pair, pair.trained, [(gap, 0.0, LARGE_GAP), *usual])
            yield value + math.log(2.0) if coefficients[0] > 0.0 else -math.inf


def _other_data(pair: _Pair) -> float:
    """Evidence of a model that goes on as if nothing had disturbed its training loss."""
    calm = pair.trained - pair.disturbance
    # Evaluations beside a jump lie before or after it.
    jump = np.abs(np.gradient(pair.disturbance)) if len(calm) > 1 else np.zeros(len(calm))
    rest = replace(pair, variance=pair.variance + jump**2)
    usual: list[Column] = [
        (np.maximum(-calm, 0.0), *USUAL_GAP),
        (pair.allowance, 0.5, 0.5),
        (np.ones(len(calm)), 0.0, 0.005),
    ]
    return _evidence(rest, calm, [*usual, (pair.disturbance, 0.0, UNSURE)])[0]


def _early(steps: Array) -> Iterator[Array]:
    """What opens as soon as token frequencies are learnt: at once, or within some steps."""
    yield np.ones(len(steps))
    last = max(float(steps[-1]), 1.0)
    for share in (0.01, 0.03, 0.1, 0.25, 0.7):
        yield -np.expm1(-steps / (share * last))


def _opening(pair: _Pair, usual: list[Column]) -> Iterator[float]:
    """Evidence of gaps that open from some step on."""
    steps = pair.steps
    for start in np.quantile(steps, np.linspace(0.05, 0.9, 14)):
        x = np.clip((steps - start) / max(float(steps[-1] - start), 1.0), 0.0, 1.0)
        slowing = -np.expm1(-3.0 * x) / -math.expm1(-3.0)
        value, coefficients = _evidence(pair, pair.trained, [(x, 0.0, 0.4), (slowing, 0.0, LARGE_GAP), *usual])
        yield value + math.log(2.0) if coefficients[0] + coefficients[1] > 0.0 else -math.inf
        gained = np.maximum(pair.learnt - np.interp(start, steps, pair.learnt), 0.0)
        value, coefficients = _evidence(pair, pair.trained, [(gained, 1.0, 0.3), (x, 0.0, 0.4), *usual])
        yield value + math.log(2.0) if coefficients[0] > 0.5 else -math.inf


def _evidence(pair: _Pair, offset: Array, columns: list[Column]) -> tuple[float, Array]:
    """Log density of the held-out losses around `offset`, and the likeliest coefficients of the columns."""
    count = len(pair.steps)
    ranks = np.arange(count)
    size = MISFIT + MISFIT_OF_GAP * np.abs(pair.held - pair.trained)
    slow = size[:, None] * size * np.exp(-np.abs(ranks[:, None] - ranks) / max(count / 6.0, 1.0))
    design = np.stack([column for column, _, _ in columns], 1)
    means = np.array([mean for _, mean, _ in columns])
    spreads = np.array([spread for _, _, spread in columns])
    noise = np.diag(pair.variance) + slow
    whole = noise + (design * spreads**2) @ design.T
    left = pair.held - offset - design @ means
    lower = np.linalg.cholesky(whole)
    z = np.linalg.solve(lower, left)
    value = -0.5 * float(z @ z) - float(np.log(np.diag(lower)).sum()) - 0.5 * count * math.log(2 * math.pi)
    found: Array = means + spreads**2 * (design.T @ np.linalg.solve(lower.T, z))
    return value, found
