"""The loss curve of another program, of which only steps and losses are known: is it the curriculum or the model?

Without the loss by mask rate nothing can be attributed. But the loss of an untrained model is known in closed form at
every step, for two kinds of trainer (`docs/explanation/curricula.md`):

    consistent    corrupts, conditions and weights with the same noise:   integral of P(m) dm up to m(d sigma_max)
    mismatched    corrupts with d sigma, conditions and weights with sigma:
                  integral of P(m) m(d sigma) / m(sigma) dm up to m(sigma_max)

The hypothesis with the smaller standard deviation of log(loss / hypothesis) is chosen. The verdict follows from how
this ratio changes along the curve.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sedd.diagnosis import remedies
from sedd.diagnosis.alarms import Alarm, Cause, Severity
from sedd.diagnosis.curve import Curve
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.predictors import Array, Predictor
from sedd.diagnosis.rises import RISE_STEPS
from sedd.diagnosis.verdict import Verdict
from sedd.diffusion.loss_profile import mask_range
from sedd.plugins.contracts import Curriculum, checked_difficulty
from sedd.plugins.curricula import Exponential

Trainer = Literal["consistent", "mismatched"]
Learnt = Literal["more", "frequencies", "nothing visible"]
"""`more` than the token frequencies, the token `frequencies` alone, or `nothing visible` in the curve."""

RATES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Rates of the exponential ramp that are tried where the configuration does not state one."""
MAX_SCATTER_RATIO = 0.8
"""Scatter of another hypothesis over that of the default one below which the other one is chosen."""
LOG_GROWTH_ON_RAMP = math.log(1.5)
"""Growth of log(loss / hypothesis) that is a divergence while the difficulty still climbs."""
LOG_GROWTH_AT_FULL = math.log(1.1)
"""Growth that is a divergence at full difficulty, where no curriculum explains it, if it exceeds `Z_GROWTH` errors."""
Z_GROWTH = 5.0
"""Standard errors from which growth at full difficulty is significant."""
MIN_RELATIVE_LEARNING = 0.03
"""Relative decrease of the loss from which learning is visible."""
MIN_POINTS = 4
"""Points below which a curve is inconclusive."""

_TRAINERS = {
    "consistent": "a trainer that corrupts, conditions and weights with one and the same noise",
    "mismatched": "a trainer that corrupts with d·σ but weights and conditions with σ",
}
_LEARNT: dict[Learnt, str] = {
    "more": "The model learns: its last losses are below those of the token frequencies alone (unigram model).",
    "frequencies": "The model has learnt the token frequencies; whether it learns more is not clear yet.",
    "nothing visible": "Whether the model learns is not clear from this curve.",
}


@dataclass(frozen=True, eq=False)
class ExternalCurveFit:
    """A curve and the hypothesis that fits it best. Arrays are (points,); losses are nats per residue."""

    curve: Curve
    difficulty: Array
    trainer: Trainer
    """The kind of trainer that fits."""
    scatter: Mapping[str, float]
    """Standard deviation of log(loss / hypothesis), for each kind of trainer."""
    rate: float | None
    """Rate of the exponential ramp that fits, where it is not that of the configuration."""
    untrained: Array
    """Loss of an untrained model in such a trainer."""
    unigram: Array
    """Loss of the unigram model in such a trainer."""

    @property
    def over_untrained(self) -> Array:
        """Loss over that of an untrained model."""
        return np.asarray(self.curve.losses / self.untrained)

    @property
    def over_unigram(self) -> Array:
        """Loss over that of the unigram model."""
        return np.asarray(self.curve.losses / self.unigram)

    @property
    def factor(self) -> float:
        """Median of `over_untrained`."""
        ratio = self.over_untrained
        return float(np.exp(np.median(np.log(ratio[np.isfinite(ratio)]))))

    def to_dict(self) -> dict[str, Any]:
        """The fit as plain data; null where a loss is not finite."""
        names = ("difficulty", "untrained", "unigram", "over_untrained", "over_unigram")
        columns = {"loss": self.curve.losses} | {name: getattr(self, name) for name in names}
        return {
            "trainer": self.trainer,
            "scatter": dict(self.scatter),
            "rate": self.rate,
            "factor": self.factor,
            "step": self.curve.steps.tolist(),
            **{name: [float(x) if np.isfinite(x) else None for x in column] for name, column in columns.items()},
        }


def mismatched_loss(predictor: Predictor, difficulty: float, low: float, high: float) -> float:
    """Loss of a fixed predictor in a trainer that corrupts with d sigma, but weights and conditions with sigma.

    With `absorb`; d is the difficulty, `low` and `high` the smallest and the largest mask rate at full difficulty.
    """
    edges = np.linspace(low, high, 2001)
    middle = (edges[1:] + edges[:-1]) / 2
    parts = np.diff(np.interp(edges, predictor.mask_rates, predictor.integral))
    return float(parts @ (-np.expm1(difficulty * np.log1p(-middle)) / middle))


def compare(curve: Curve, forecast: Forecast) -> ExternalCurveFit:
    """The hypothesis that fits the curve best.

    By default the trainer is consistent and the ramp is that of the configuration. Another hypothesis is chosen only if
    its scatter is clearly smaller (`MAX_SCATTER_RATIO`).
    """
    config = forecast.config
    fits = {
        (trainer, ramp): fit
        for trainer in ("consistent", "mismatched")
        for ramp, curriculum in _ramps(config.curriculum).items()
        if (fit := _fit(curve, forecast, curriculum, trainer)) is not None
    }

    def best(trainer: str) -> ExternalCurveFit | None:
        own = {ramp: fit for (kind, ramp), fit in fits.items() if kind == trainer}
        if not own:
            return None
        default, least = own[None], min(own.values(), key=lambda fit: fit.scatter[trainer])
        return least if least.scatter[trainer] < MAX_SCATTER_RATIO * default.scatter[trainer] else default

    consistent, mismatched = best("consistent"), best("mismatched")
    if consistent is None:
        raise ValueError("the hypothesis of a consistent trainer exists for every configuration")
    scatter: dict[str, float] = {
        fit.trainer: fit.scatter[fit.trainer] for fit in (consistent, mismatched) if fit is not None
    }
    better = mismatched is not None and scatter["mismatched"] < MAX_SCATTER_RATIO * scatter["consistent"]
    chosen = mismatched if mismatched is not None and better else consistent
    return replace(chosen, scatter=scatter)


def _ramps(curriculum: Curriculum) -> dict[float | None, Curriculum]:
    """The ramp of the configuration, under None, and exponential ramps of other rates where it leaves the rate open."""
    ramps: dict[float | None, Curriculum] = {None: curriculum}
    if isinstance(curriculum, Exponential) and "rate" not in curriculum.model_fields_set:
        ramps |= {rate: curriculum.model_copy(update={"rate": rate}) for rate in RATES if rate != curriculum.rate}
    return ramps


def _fit(curve: Curve, forecast: Forecast, curriculum: Curriculum, trainer: Trainer) -> ExternalCurveFit | None:
    """The hypothesis of one kind of trainer and one ramp; None where it does not exist."""
    config = forecast.config
    if trainer == "mismatched" and not (config.graph.type == "absorb" and curriculum.mode == "scale"):
        return None
    difficulty = np.array([checked_difficulty(curriculum, int(step)) for step in curve.steps])
    full = mask_range(config.noise, 1.0, curriculum.mode)

    def loss(predictor: Predictor, d: float) -> float:
        if trainer == "mismatched":
            return mismatched_loss(predictor, d, *full)
        return predictor.loss(*mask_range(config.noise, d, curriculum.mode))

    predictors = (forecast.predictors[name] for name in ("untrained", "unigram"))
    untrained, unigram = np.maximum([[loss(predictor, d) for d in difficulty] for predictor in predictors], 1e-12)
    logs = np.log(curve.losses / untrained)
    logs = logs[np.isfinite(logs)]
    scatter = float(logs.std()) if len(logs) else math.inf
    rate = curriculum.rate if isinstance(curriculum, Exponential) and curriculum != config.curriculum else None
    return ExternalCurveFit(curve, difficulty, trainer, {trainer: scatter}, rate, untrained, unigram)


# The verdict ----------------------------------------------------------------------------------------------------------


def judge(fit: ExternalCurveFit, forecast: Forecast) -> Verdict:
    """The verdict on the curve, with the rules of `monitoring` that it breaks."""
    broken = _not_finite(fit)
    if broken is not None:
        answer = f"The run broke: {broken.message}. A curve of losses alone does not show why."
        return Verdict("instability", answer, sentence=f"Something is wrong: {broken.message}.", alarms=(broken,))
    worse = _divergence(fit)
    alarms = (*([] if worse is None else [worse]), *_rules(fit, forecast, diverges=worse is not None))
    if worse is not None:
        answer = (
            f"The model got worse: since step {worse.numbers['since']:,.0f} the loss grew "
            f"{worse.numbers['growth']:.2f} times more than the curriculum explains. Go back to a checkpoint from "
            "before, with a lower learning rate."
        )
        sentence = f"Something is wrong, and it is the model, not the curriculum: {worse.message}."
        return Verdict("learning", answer, sentence=sentence, alarms=alarms)
    count, standing = len(fit.curve), _standing(fit)
    if count < MIN_POINTS:
        few = f"{count} losses are too few"
        answer = f"It is not clear yet whether anything is wrong: {few}. Give at least {MIN_POINTS}."
        sentence = f"Inconclusive: {few}; give at least {MIN_POINTS}. {standing}"
        return Verdict("inconclusive", answer, sentence=sentence, alarms=alarms)
    if any(alarm.cause == "curriculum" for alarm in alarms):
        opening = "Nothing is wrong: the loss rises because the curriculum gets harder."
        answer = "The loss rises because the task gets harder: the loss of an untrained model rises in the same way."
        return Verdict(
            "curriculum", f"{answer} {_LEARNT[learnt(fit)]}", sentence=f"{opening} {standing}", alarms=alarms
        )
    answer = "Nothing in the curve shows a divergence."
    return Verdict(
        "healthy", f"{answer} {_LEARNT[learnt(fit)]}", sentence=f"Nothing is wrong. {standing}", alarms=alarms
    )


def learnt(fit: ExternalCurveFit) -> Learnt:
    """What the curve shows that the model has learnt."""
    over_unigram = _pooled(np.log(fit.over_unigram))[0]
    fallen, end = float(over_unigram[0] - over_unigram[-1]), math.exp(float(over_unigram[-1]))
    if fallen > MIN_RELATIVE_LEARNING and end < 1.0 - MIN_RELATIVE_LEARNING:
        return "more"
    if fallen > MIN_RELATIVE_LEARNING and end * fit.unigram[-1] < (1.0 - MIN_RELATIVE_LEARNING) * fit.untrained[-1]:
        return "frequencies"
    return "nothing visible"


def _pooled(values: Array) -> tuple[Array, int]:
    """Running means, and the number of points in each."""
    count = max(1, min(5, len(values) // 8))
    return np.convolve(values, np.full(count, 1.0 / count), "valid"), count


def _noise(values: Array) -> float:
    """Standard deviation of one point around the line between its neighbours."""
    if len(values) < MIN_POINTS:
        return 0.0
    around = values[1:-1] - (values[2:] + values[:-2]) / 2
    return float(around.std() / math.sqrt(1.5))


def _not_finite(fit: ExternalCurveFit) -> Alarm | None:
    not_finite = ~np.isfinite(fit.curve.losses)
    if not not_finite.any():
        return None
    step = int(fit.curve.steps[not_finite.argmax()])
    message = f"the loss is not finite from step {step:,} on"
    remedy = "go back to a checkpoint from before, with gradient clipping and a lower learning rate"
    return Alarm(step, "max_loss", "instability", "critical", message, {}, (remedy,))


def _divergence(fit: ExternalCurveFit) -> Alarm | None:
    """The model got worse: the loss grew more than the hypothesis explains."""
    logs, steps = np.log(fit.over_untrained), fit.curve.steps
    at_full = fit.difficulty >= 1.0
    ratio = fit.over_untrained[-1]
    if at_full.sum() >= MIN_POINTS:
        pooled, count = _pooled(logs[at_full])
        lowest = int(pooled.argmin())
        growth = float(pooled[-1] - pooled[lowest])
        if growth > max(LOG_GROWTH_AT_FULL, Z_GROWTH * _noise(logs[at_full]) / math.sqrt(count)):
            since = int(steps[at_full][lowest])
            message = (
                f"at full difficulty, where no curriculum explains it, the loss grew {math.exp(growth):.2f} times "
                f"since step {since:,}, to {ratio:.2f} times that of an untrained model"
            )
            return _worse(fit, since, growth, message)
    pooled, _ = _pooled(logs)
    growth, since_start = float(pooled[-1] - pooled.min()), float(pooled[-1] - pooled[0])
    if min(growth, since_start) > LOG_GROWTH_ON_RAMP:
        since = int(steps[pooled.argmin()])
        message = (
            f"the loss grew {math.exp(growth):.2f} times more since step {since:,} than the curriculum explains, to "
            f"{ratio:.2f} times that of an untrained model"
        )
        return _worse(fit, since, growth, message)
    return None


def _worse(fit: ExternalCurveFit, since: int, growth: float, message: str) -> Alarm:
    numbers = {"growth": math.exp(growth), "over_untrained": float(fit.over_untrained[-1]), "since": float(since)}
    remedy = f"go back to a checkpoint at or before step {since:,}, with a lower learning rate"
    return Alarm(int(fit.curve.steps[-1]), "profile", "learning", "critical", message, numbers, (remedy,))


def _rules(fit: ExternalCurveFit, forecast: Forecast, *, diverges: bool) -> Iterator[Alarm]:
    """The rules of `monitoring` that a curve alone can break, unless Monte Carlo error explains it."""
    rules, steps, losses = forecast.config.monitoring, fit.curve.steps, fit.curve.losses
    severity: Severity = "warning" if diverges else "info"
    rises = _rises(fit)
    over = [rise for rise in rises if rise[2] > rules.max_rise]
    first, last, per_1000, expected = max(over, key=lambda rise: rise[2], default=(0, 0, 0.0, 0.0))
    if over and (diverges or expected > 0.5 * per_1000):
        cause: Cause = "learning" if diverges else "curriculum"
        message = (
            f"the loss climbs by more than {rules.max_rise:g} nats per 1,000 steps in {len(over)} of {len(rises)} "
            f"stretches, at most by {per_1000:.2f} (steps {first:,} to {last:,}), where that of an untrained model "
            f"climbs by {expected:.2f}"
        )
        advice = (
            tuple(map(str, remedies.of_rise(forecast.config, forecast.preschool_time))) if cause == "curriculum" else ()
        )
        numbers = {"per_1000": per_1000, "expected": expected}
        yield Alarm(over[0][1], "max_rise", cause, severity, message, numbers, advice)
    high = np.flatnonzero(losses > rules.max_loss)
    if len(high) and diverges:
        loss, untrained = float(losses[high[0]]), float(fit.untrained[high[0]])
        message = f"the loss is {loss:.2f} (limit {rules.max_loss:g}); that of an untrained model is {untrained:.2f}"
        numbers = {"loss": loss, "untrained": untrained}
        yield Alarm(int(steps[high[0]]), "max_loss", "learning", severity, message, numbers)


def _rises(fit: ExternalCurveFit) -> list[tuple[int, int, float, float]]:
    """First and last step of every stretch of about 1,000 steps, and the climbs of loss and hypothesis per 1,000."""
    steps, losses = fit.curve.steps, fit.curve.losses
    rises = []
    for a in range(len(steps) - 1):
        b = max(a + 1, int(np.searchsorted(steps, steps[a] + RISE_STEPS)))
        if b >= len(steps):
            if a > 0:
                break
            b = len(steps) - 1
        per_1000 = RISE_STEPS / float(steps[b] - steps[a])
        climb, expected = losses[b] - losses[a], fit.factor * (fit.untrained[b] - fit.untrained[a])
        rises.append((int(steps[a]), int(steps[b]), float(climb) * per_1000, float(expected) * per_1000))
    return rises


def _standing(fit: ExternalCurveFit) -> str:
    """The ratios of the losses to the untrained and the unigram model, in words."""
    ratio, end = fit.over_untrained, math.exp(float(_pooled(np.log(fit.over_unigram))[0][-1]))
    text = f"Compared with {_TRAINERS[fit.trainer]}"
    others = [name for name in fit.scatter if name != fit.trainer]
    if others and fit.scatter[others[0]] != fit.scatter[fit.trainer]:
        text += f" (scatter {fit.scatter[fit.trainer]:.0%}; {others[0]}: {fit.scatter[others[0]]:.0%})"
    text += f", the losses are {ratio.min():.2f} to {ratio.max():.2f} times those of an untrained model. "
    match learnt(fit):
        case "more":
            return text + f"Learning is visible: the last losses are {end:.2f} times those of the unigram model."
        case "frequencies":
            return text + "The model has learnt the token frequencies; more is not visible yet."
    text += "So nothing diverged, and no learning is visible either."
    if end < 1.0 - MIN_RELATIVE_LEARNING and fit.curve.steps[0] > 0:
        text += f" What it learnt before step {fit.curve.steps[0]:,} is not clear from a constant factor."
    elif abs(math.log(fit.factor)) > MIN_RELATIVE_LEARNING:
        text += f" A constant factor of about {fit.factor:.2f} remains."
    return text
