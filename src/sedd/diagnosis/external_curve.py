"""The loss curve of another program, of which only steps and losses are known: is it the curriculum or the model?

Without the loss by mask rate nothing can be attributed. But what a model that learns nothing would show is known in
closed form at every step, for two kinds of trainer (`docs/explanation/curricula.md`):

    consistent    corrupts, conditions and weights with the same noise:   integral of P(m) dm up to m(d sigma_max)
    mismatched    corrupts with d sigma, conditions and weights with sigma:
                  integral of P(m) m(d sigma) / m(sigma) dm up to m(sigma_max)

The one from which the logarithm of the losses scatters less is taken. What is left is how the ratio moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis import remedies
from sedd.diagnosis.alarms import Alarm, Cause, Severity, Verdict
from sedd.diagnosis.curve_file import Curve
from sedd.diagnosis.forecast import CLOCK, Forecast
from sedd.diagnosis.predictors import Predictor
from sedd.diffusion.loss_profile import mask_range
from sedd.plugins.contracts import Curriculum, checked_difficulty
from sedd.plugins.curricula import Exponential

Array = NDArray[np.float64]
Trainer = Literal["consistent", "mismatched"]

RATES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Rates of the exponential ramp that are tried where the configuration does not state one."""
BETTER = 0.8
"""A hypothesis that is not the first choice must scatter less than the first choice by this factor."""
GROWTH = math.log(1.5)
"""While the difficulty still climbs, growth against the hypothesis that is called a divergence."""
GROWTH_AT_FULL = math.log(1.1)
"""The same at full difficulty, where no curriculum can explain it; and five times the noise."""
SEEN = 0.03
"""Share of the loss that must be gone before learning is seen."""
LEAST = 4
"""Points without which nothing is said."""
ENOUGH = 10
"""Points from which an oscillation is judged."""

_TRAINERS = {
    "consistent": "a trainer that corrupts, conditions and weights with one and the same noise",
    "mismatched": "a trainer that corrupts with d·σ but weights and conditions with σ",
}


@dataclass(frozen=True, eq=False)
class ExternalCurveFit:
    """A curve against the hypothesis that fits it best. Arrays are (points,); losses are nats per residue."""

    curve: Curve
    difficulty: Array
    trainer: Trainer
    """Which kind of trainer fits."""
    scatter: Mapping[str, float]
    """Standard deviation of log(loss / hypothesis), for each kind of trainer."""
    rate: float | None
    """Rate of the exponential ramp that fits, where it is not that of the configuration."""
    untrained: Array
    """What a model that knows nothing has in such a trainer."""
    unigram: Array
    """What one that knows the letters has."""

    @property
    def over_untrained(self) -> Array:
        """Loss over that of a model that knows nothing."""
        return np.asarray(self.curve.losses / self.untrained)

    @property
    def over_unigram(self) -> Array:
        """Loss over that of a model that knows the letters."""
        return np.asarray(self.curve.losses / self.unigram)

    @property
    def factor(self) -> float:
        """Typical ratio to a model that knows nothing."""
        ratio = self.over_untrained
        return float(np.exp(np.median(np.log(ratio[np.isfinite(ratio)]))))

    def to_json(self) -> dict[str, Any]:
        """Plain data; null where a loss is not finite."""
        columns = {
            "loss": self.curve.losses,
            "difficulty": self.difficulty,
            "untrained": self.untrained,
            "unigram": self.unigram,
            "over_untrained": self.over_untrained,
            "over_unigram": self.over_unigram,
        }
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

    Args:
        predictor: loss per unit of mask rate, with `absorb`.
        difficulty: d.
        low: least mask rate at full difficulty.
        high: largest one.
    """
    edges = np.linspace(low, high, 2001)
    middle = (edges[1:] + edges[:-1]) / 2
    parts = np.diff(np.interp(edges, predictor.mask_rates, predictor.integral))
    return float(parts @ (-np.expm1(difficulty * np.log1p(-middle)) / middle))


def compare(curve: Curve, forecast: Forecast) -> ExternalCurveFit:
    """Which hypothesis fits the curve best.

    A trainer is taken for consistent, and its ramp for that of the configuration, unless another hypothesis scatters
    clearly less.
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
        least = min(own, key=lambda ramp: own[ramp].scatter[trainer])
        return own[least] if own[least].scatter[trainer] < BETTER * own[None].scatter[trainer] else own[None]

    consistent, mismatched = best("consistent"), best("mismatched")
    if consistent is None:
        raise ValueError("a consistent trainer can always be compared with")
    found = {each.trainer: each.scatter[each.trainer] for each in (consistent, mismatched) if each is not None}
    better = mismatched is not None and found["mismatched"] < BETTER * found["consistent"]
    chosen = mismatched if mismatched is not None and better else consistent
    return ExternalCurveFit(**{**vars(chosen), "scatter": found})


def _ramps(curriculum: Curriculum) -> dict[float | None, Curriculum]:
    """The ramp of the configuration, under None, and those that other programs call by the same name."""
    found: dict[float | None, Curriculum] = {None: curriculum}
    if isinstance(curriculum, Exponential) and "rate" not in curriculum.model_fields_set:
        found |= {rate: curriculum.model_copy(update={"rate": rate}) for rate in RATES if rate != curriculum.rate}
    return found


def _fit(curve: Curve, forecast: Forecast, curriculum: Curriculum, trainer: Trainer) -> ExternalCurveFit | None:
    """The hypothesis of one kind of trainer and one ramp; None where it does not exist."""
    config = forecast.config
    if trainer == "mismatched" and not (config.graph.type == "absorb" and curriculum.mode == "scale"):
        return None
    difficulty = np.array([checked_difficulty(curriculum, int(step)) for step in curve.steps])
    full = mask_range(config.noise, 1.0, curriculum.mode)
    losses = []
    for name in ("untrained", "unigram"):
        predictor = forecast.predictors[name]
        losses.append(
            [
                mismatched_loss(predictor, d, *full)
                if trainer == "mismatched"
                else predictor.loss(*mask_range(config.noise, d, curriculum.mode))
                for d in difficulty
            ]
        )
    untrained, unigram = np.maximum(losses, 1e-12)
    logs = np.log(curve.losses / untrained)
    logs = logs[np.isfinite(logs)]
    scatter = float(logs.std()) if len(logs) else math.inf
    rate = curriculum.rate if isinstance(curriculum, Exponential) and curriculum != config.curriculum else None
    return ExternalCurveFit(curve, difficulty, trainer, {trainer: scatter}, rate, untrained, unigram)


# The verdict ----------------------------------------------------------------------------------------------------------


def judge(found: ExternalCurveFit, forecast: Forecast) -> Verdict:
    """What the curve says, with the rules of `monitoring` that it breaks."""
    broken = _not_finite(found)
    if broken is not None:
        return Verdict("instability", f"Something is wrong: {broken.message}.", (broken,))
    worse = _divergence(found)
    alarms = (*([] if worse is None else [worse]), *_rules(found, forecast, diverges=worse is not None))
    if worse is not None:
        return Verdict(
            "learning",
            f"Something is wrong, and it is the model, not the curriculum. {_capital(worse.message)}.",
            alarms,
        )
    if len(found.curve) < LEAST:
        return Verdict(
            "little signal",
            f"Too little signal: {len(found.curve)} losses say little; give at least {LEAST}. {_standing(found)}",
            alarms,
        )
    rises = any(alarm.cause == "curriculum" for alarm in alarms)
    calm = "Nothing is wrong: the loss rises because the curriculum gets harder." if rises else "Nothing is wrong."
    return Verdict("curriculum" if rises else "healthy", f"{calm} {_standing(found)}", alarms)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pooled(values: Array) -> tuple[Array, int]:
    """Running means, and over how many points each is taken."""
    count = max(1, min(5, len(values) // 8))
    return np.convolve(values, np.full(count, 1.0 / count), "valid"), count


def _noise(values: Array) -> float:
    """Standard deviation of one point around the line between its neighbours."""
    if len(values) < LEAST:
        return 0.0
    around = values[1:-1] - (values[2:] + values[:-2]) / 2
    return float(around.std() / math.sqrt(1.5))


def _not_finite(found: ExternalCurveFit) -> Alarm | None:
    places = np.flatnonzero(~np.isfinite(found.curve.losses))
    if not len(places):
        return None
    step = int(found.curve.steps[places[0]])
    return Alarm(
        step,
        "max_loss",
        "instability",
        "critical",
        f"the loss is not finite from step {step:,} on",
        {},
        ("go back to a checkpoint from before, with gradient clipping and a lower learning rate",),
    )


def _divergence(found: ExternalCurveFit) -> Alarm | None:
    """The model got worse, as far as a curve can tell."""
    logs, steps = np.log(found.over_untrained), found.curve.steps
    at_full = found.difficulty >= 1.0
    ratio = found.over_untrained[-1]
    if at_full.sum() >= LEAST:
        pooled, count = _pooled(logs[at_full])
        lowest = int(pooled.argmin())
        growth = float(pooled[-1] - pooled[lowest])
        if growth > max(GROWTH_AT_FULL, 5.0 * _noise(logs[at_full]) / math.sqrt(count)):
            since = int(steps[at_full][lowest])
            return _worse(
                found,
                since,
                growth,
                f"at full difficulty, where no curriculum explains it, the loss grew {math.exp(growth):.2f} times "
                f"since step {since:,}, to {ratio:.2f} times that of a model that knows nothing",
            )
    pooled, _ = _pooled(logs)
    growth, since_start = float(pooled[-1] - pooled.min()), float(pooled[-1] - pooled[0])
    if min(growth, since_start) > GROWTH:
        since = int(steps[pooled.argmin()])
        return _worse(
            found,
            since,
            growth,
            f"the loss grew {math.exp(growth):.2f} times more since step {since:,} than the curriculum explains, to "
            f"{ratio:.2f} times that of a model that knows nothing",
        )
    return None


def _worse(found: ExternalCurveFit, since: int, growth: float, message: str) -> Alarm:
    return Alarm(
        int(found.curve.steps[-1]),
        "profile",
        "learning",
        "critical",
        message,
        {"growth": math.exp(growth), "over_untrained": float(found.over_untrained[-1]), "since": float(since)},
        (f"go back to a checkpoint at or before step {since:,}, with a lower learning rate",),
    )


def _rules(found: ExternalCurveFit, forecast: Forecast, *, diverges: bool) -> Iterator[Alarm]:
    """The rules of `monitoring` that a curve alone can break."""
    rules, steps, losses = forecast.config.monitoring, found.curve.steps, found.curve.losses
    severity: Severity = "warning" if diverges else "info"
    rises = _rises(found)
    over = [rise for rise in rises if rise[2] > rules.max_rise]
    if over:
        first, last, per_1000, expected = max(over, key=lambda rise: rise[2])
        cause: Cause = "learning" if diverges else "curriculum" if expected > 0.5 * per_1000 else "little signal"
        yield Alarm(
            over[0][1],
            "max_rise",
            cause,
            severity,
            f"the loss climbs by more than {rules.max_rise:g} nats per 1,000 steps in {len(over)} of {len(rises)} "
            f"places, at most by {per_1000:.2f} (steps {first:,} to {last:,}); a model that learns nothing climbs by "
            f"{expected:.2f} there",
            {"per_1000": per_1000, "expected": expected},
            remedies.of_rise(forecast.config, forecast.preschool_time) if cause == "curriculum" else (),
        )
    high = np.flatnonzero(losses > rules.max_loss)
    if len(high):
        loss, nothing = float(losses[high[0]]), float(found.untrained[high[0]])
        yield Alarm(
            int(steps[high[0]]),
            "max_loss",
            "learning" if diverges else "little signal",
            severity,
            f"the loss is {loss:.2f} (limit {rules.max_loss:g}); a model that knows nothing has {nothing:.2f}",
            {"loss": loss, "untrained": nothing},
        )
    scatter = _noise(np.log(found.over_untrained))
    if len(losses) >= ENOUGH and scatter > rules.max_oscillation:
        yield Alarm(
            int(steps[-1]),
            "max_oscillation",
            "little signal",
            "info",
            f"the loss scatters by {scatter:.0%} from point to point (limit {rules.max_oscillation:.0%})",
            {"scatter": scatter},
        )


def _rises(found: ExternalCurveFit) -> list[tuple[int, int, float, float]]:
    """First and last step of every stretch of about 1,000 steps, and the climbs of loss and hypothesis per 1,000."""
    steps, losses = found.curve.steps, found.curve.losses
    rises = []
    for a in range(len(steps) - 1):
        b = max(a + 1, int(np.searchsorted(steps, steps[a] + CLOCK)))
        if b >= len(steps):
            if a > 0:
                break
            b = len(steps) - 1
        per_1000 = CLOCK / float(steps[b] - steps[a])
        climb, expected = losses[b] - losses[a], found.factor * (found.untrained[b] - found.untrained[a])
        rises.append((int(steps[a]), int(steps[b]), float(climb) * per_1000, float(expected) * per_1000))
    return rises


def _standing(found: ExternalCurveFit) -> str:
    """Where the curve lies, in numbers, and whether learning is seen."""
    ratio, letters = found.over_untrained, _pooled(np.log(found.over_unigram))[0]
    low, high = float(ratio.min()), float(ratio.max())
    said = f"Against {_TRAINERS[found.trainer]}"
    others = [name for name in found.scatter if name != found.trainer]
    if others and found.scatter[others[0]] != found.scatter[found.trainer]:
        said += f" (scatter {found.scatter[found.trainer]:.0%}; {others[0]}: {found.scatter[others[0]]:.0%})"
    said += f", the losses are {low:.2f} to {high:.2f} times those of a model that knows nothing. "
    fallen = float(letters[0] - letters[-1])
    end = math.exp(float(letters[-1]))
    if fallen > SEEN and end < 1.0 - SEEN:
        return said + (f"Learning is seen: the last are {end:.2f} times those of a model that knows only the letters.")
    if fallen > SEEN and math.exp(float(letters[-1])) * found.unigram[-1] < (1.0 - SEEN) * found.untrained[-1]:
        return said + "It has learnt the letters, no more is seen yet."
    said += "So nothing diverged, and no learning is seen either."
    if end < 1.0 - SEEN and found.curve.steps[0] > 0:
        said += f" What it had learnt before step {found.curve.steps[0]:,} cannot be told from a constant factor."
    elif abs(math.log(found.factor)) > SEEN:
        said += f" A constant factor of about {found.factor:.2f} remains."
    return said
