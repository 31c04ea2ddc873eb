"""The verdict on the curve of another trainer, and the numbers behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sedd.diagnosis.alarms import Alarm
from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit import rules, trainers, words
from sedd.diagnosis.curve_fit.context import Context, middle
from sedd.diagnosis.curve_fit.deciding import Judgement, given, judgement
from sedd.diagnosis.curve_fit.held_out_ways import judge_held_outs
from sedd.diagnosis.curve_fit.judging import LEAST_POINTS, weigh
from sedd.diagnosis.curve_fit.result import Z95, Array, ExternalCurveFit
from sedd.diagnosis.curve_fit.settings import Setting, as_configured
from sedd.diagnosis.curve_fit.standstill import standstill
from sedd.diagnosis.curve_fit.ways import Found
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.hypotheses import DECISIVE, Decision, certainty, in_percent
from sedd.diagnosis.verdict import WENT_WRONG, Kind, Verdict

FINE: tuple[Kind, ...] = ("healthy", "plateau")
LEAST_RISE = math.log(1.05)
"""Rise of the loss, as a logarithm, from which `healthy` is called `curriculum`."""
FEW_POINTS = 8
"""Usable losses below which no more can be said than that the curriculum explains a large rise."""
LARGE_RISE = math.log(3.0)
"""A rise that is large."""
FEW_BAD = 3
"""Rows that are not finite from which on they count, if they are more than `SHARE_BAD` of all."""
SHARE_BAD = 0.04
SUSPECT = 0.3
"""Probability that something is wrong from which it matters how the log was smoothed."""


def judge_curve(curve: Curve, forecast: Forecast) -> tuple[ExternalCurveFit, Verdict]:
    """The verdict on a curve, and the explanation that fits it best."""
    usable = np.isfinite(curve.losses) & (curve.losses > 0)
    if usable.sum() < LEAST_POINTS:
        fit = _as_configured(curve, forecast)
        broken = _broken(curve, None)
        return fit, broken or _too_few(int(usable.sum()), rules.alarms(fit, forecast, "inconclusive"))
    found, judged = _weighed(curve, forecast)
    held_outs = judge_held_outs(curve, found, forecast)
    if held_outs is not None:
        judged = judgement(found, held_outs.evidence)
    held = held_outs.given(judged.key) if held_outs is not None else None
    fit = _fit(curve, forecast, found, judged)
    context = Context(fit, found, judged, held, forecast)
    verdict = _verdict(context)
    if verdict.kind in ("unit", "config"):
        evidence, inside = given(found, judged.key, held.evidence if held is not None else {})
        fit = _fit(curve, forecast, evidence, inside)
        conditional = _verdict(Context(fit, evidence, inside, held, forecast), settled=True)
        verdict = _verdict(replace(context, fit=fit))
        verdict = replace(verdict, conditional=conditional, reason=f"{verdict.reason} {_inside(verdict, conditional)}")
    broken = _broken(curve, judged)
    if broken is not None and verdict.kind != "learning":
        verdict = broken
    return fit, replace(verdict, alarms=rules.alarms(fit, forecast, verdict.kind, verdict))


def _weighed(curve: Curve, forecast: Forecast) -> tuple[Found, Judgement]:
    """The evidence of the training losses, and what it says.

    What is wrong counts only if it is there under every filter that the log may have gone through.
    """
    found = weigh(curve, forecast)
    judged = judgement(found, {})
    for filter_ in found.series.other_filters:
        if _harm(judged) < SUSPECT:
            break
        other = weigh(curve, forecast, filter_)
        judged_so = judgement(other, {})
        if _harm(judged_so) < _harm(judged):
            found, judged = other, judged_so
    return found, judged


def _harm(judged: Judgement) -> float:
    """Probability that something is wrong with the model."""
    return sum(value for kind, value in judged.decision.probabilities.items() if kind in WENT_WRONG)


def _inside(verdict: Verdict, conditional: Verdict) -> str:
    condition = "In that unit" if verdict.kind == "unit" else "With those settings"
    return f"{condition} {conditional.answer[0].lower()}{conditional.answer[1:]}"


def _verdict(context: Context, *, settled: bool = False) -> Verdict:
    """The verdict; with `settled` unit and settings are given, and only whether anything is wrong counts."""
    decision = context.judged.decision
    kind: Kind = decision.kind
    if settled and kind == "inconclusive" and _fine(decision) >= DECISIVE:
        kind, decision = "healthy", replace(decision, kind="healthy", probability=_fine(decision))
    if kind == "healthy" and _rises(context, LEAST_RISE):
        kind = "curriculum"
    if len(context.found.series.logs) < FEW_POINTS and not (kind == "curriculum" and _rises(context, LARGE_RISE)):
        kind = "inconclusive"
    if kind in ("healthy", "curriculum") and (stuck := standstill(context)) is not None:
        kind, decision = "plateau", replace(decision, kind="plateau", likeliest="unigram plateau", probability=stuck)
        context = replace(context, judged=replace(context.judged, decision=decision))
    said = words.sentences(kind, context)
    likeliest = f" The likeliest: {certainty(decision)}" if kind == "inconclusive" else certainty(decision)
    return Verdict(
        kind,
        said.answer,
        reason=said.reason,
        advice=said.advice,
        certainty=likeliest.strip(),
        probability=decision.probability,
        runner_up=decision.runner_up,
        since=None if kind == "inconclusive" else context.judged.since,
        hypothesis=decision.likeliest,
        probabilities=_renamed(decision.probabilities, kind),
        sentence=words.numbers(context),
        remedies=said.remedies,
    )


def _fine(decision: Decision) -> float:
    """Probability that nothing is wrong, whether or not the model learns."""
    return min(1.0, sum(decision.probabilities.get(kind, 0.0) for kind in FINE))


def _renamed(probabilities: Mapping[Kind, float], kind: Kind) -> dict[Kind, float]:
    """`healthy` is called `curriculum` where the verdict is."""
    if kind != "curriculum":
        return dict(probabilities)
    return {("curriculum" if name == "healthy" else name): value for name, value in probabilities.items()}


def _rises(context: Context, least: float) -> bool:
    """Whether the loss rose, and most of it is what the task rose."""
    series, setting = context.found.series, context.judged.way.setting
    width = max(1, len(series.mean) // 20)
    smooth = np.convolve(series.mean, np.full(width, 1.0 / width), "valid")
    top = int(smooth.argmax())
    rise = float(smooth[top] - smooth[: top + 1].min())
    explained = np.ptp(setting.log_loss(series.at))
    return rise > least and bool(explained > 0.5 * rise)


def _broken(curve: Curve, judged: Judgement | None) -> Verdict | None:
    """The run broke: losses are not finite to the end, or often."""
    bad = ~np.isfinite(curve.losses)
    if not bad.any() or not (bad[-1] or bad.sum() > max(FEW_BAD, SHARE_BAD * len(bad))):
        return None
    first = int(bad.argmax())
    since = (int(curve.steps[max(first - 1, 0)]), int(curve.steps[first]))
    if judged is not None and judged.grew is not None:
        since = (min(judged.grew[0], since[0]), since[1])
    until = "to the end" if bad[-1] else f"in {int(bad.sum()):,} of {len(bad):,} lines"
    good = f"a checkpoint at or before step {since[0]:,}" if first and since[0] > 0 else "a new start"
    return Verdict(
        "instability",
        f"The run broke: the loss is not finite from step {int(curve.steps[first]):,} on, {until}.",
        reason="A loss that is not a number comes from weights or gradients that overflowed, never from a curriculum.",
        advice=f"Go on from {good}, with gradient clipping and a lower learning rate.",
        certainty=f"Probability that training is unstable: {in_percent(0.995)}.",
        probability=0.995,
        since=since,
        hypothesis="instability",
        probabilities={"instability": 0.995},
        sentence=f"Not finite: {int(bad.sum()):,} of {len(bad):,} losses.",
    )


def _too_few(count: int, alarms: tuple[Alarm, ...]) -> Verdict:
    return Verdict(
        "inconclusive",
        f"It is not clear whether anything is wrong: {count} losses are too few.",
        reason=f"At least {LEAST_POINTS} usable losses are needed; some 50 make a verdict sharp.",
        advice="Give more losses, from the first step on.",
        certainty="No probability can be given.",
        probability=0.0,
        sentence=f"{count} usable losses.",
        alarms=alarms,
    )


def _fit(curve: Curve, forecast: Forecast, found: Found, judged: Judgement) -> ExternalCurveFit:
    way, point = judged.way, judged.point
    half = Z95 * point.log_factor_error
    near = (point.log_factor - half, point.log_factor + half)
    return _described(
        curve,
        forecast,
        way.setting,
        factor=math.exp(point.log_factor),
        factor_interval=(math.exp(near[0]), math.exp(near[1])),
        unit=way.unit.name,
        unit_words=way.words(math.exp(point.log_factor)),
        learnt=point.learnt,
        learnt_error=point.learnt_error,
        scatter=float(np.median(found.series.scale)),
        smoothed=found.series.filter.words,
        notes=(*_notes(curve, found), *_recovered(judged)),
    )


def _notes(curve: Curve, found: Found) -> list[str]:
    notes = list(curve.notes)
    bad = found.series.not_finite
    if len(bad):
        shown = ", ".join(f"{int(step):,}" for step in bad[:3])
        more = ", ..." if len(bad) > 3 else ""
        notes.append(f"{len(bad)} of {len(curve)} losses are not finite (step {shown}{more}) and were left out.")
    if found.series.filter.words:
        notes.append(
            f"The log holds {found.series.filter.words}; this was undone before the curve was judged. A smoothed log "
            "shows trouble late."
        )
    if found.series.dependence.found:
        notes.append(
            "Neighbouring lines depend on each other, as in a log that was smoothed in a way that is not recognised; "
            "errors are wider for it."
        )
    spikes = found.scatter.spikes[found.scatter.spikes > found.series.steps[0]]
    if len(spikes):
        shown = ", ".join(f"{int(step):,}" for step in spikes[:3])
        notes.append(f"Single lines stand far above their neighbours, first at step {shown}.")
    return notes


def _recovered(judged: Judgement) -> list[str]:
    """A rise that decayed by itself is worth knowing where nothing else is."""
    rise = judged.recovered
    if rise is None or judged.decision.likeliest != "healthy":
        return []
    return [
        f"At about step {middle(rise.since):,} the loss rose to {rise.percent} (95 % interval) above what it should "
        "be, and came back by itself."
    ]


def _as_configured(curve: Curve, forecast: Forecast) -> ExternalCurveFit:
    return _described(curve, forecast, as_configured(forecast), notes=curve.notes)


def _described(
    curve: Curve,
    forecast: Forecast,
    setting: Setting,
    *,
    factor: float = 1.0,
    factor_interval: tuple[float, float] = (1.0, 1.0),
    unit: str = "residue",
    unit_words: str = "nats per residue",
    learnt: float = 0.0,
    learnt_error: float = math.inf,
    scatter: float = math.nan,
    smoothed: str = "",
    notes: tuple[str, ...] = (),
) -> ExternalCurveFit:
    steps = curve.steps.astype(np.float64)
    difficulty = setting.difficulty(steps)
    untrained: Array = factor * np.exp(setting.log_loss(steps))
    ratio = _unigram_ratio(forecast, setting, difficulty)
    return ExternalCurveFit(
        curve=curve,
        difficulty=difficulty,
        trainer=setting.trainer,
        changes=setting.changes,
        restart=setting.restart,
        unit=unit,
        unit_words=unit_words,
        factor=factor,
        factor_interval=factor_interval,
        untrained=untrained,
        unigram=untrained * ratio,
        learnt=learnt,
        learnt_error=learnt_error,
        frequencies=math.log(forecast.full.untrained / forecast.full.unigram),
        scatter=scatter,
        smoothed=smoothed,
        notes=notes,
    )


def _unigram_ratio(forecast: Forecast, setting: Setting, difficulty: Array) -> Array:
    """Loss of the unigram model over that of the uniform predictor, by difficulty."""
    config = forecast.config
    logs = trainers.table(
        setting.trainer, forecast.predictors["unigram"], config.noise, config.curriculum.mode
    ) - trainers.table(setting.trainer, forecast.predictors["untrained"], config.noise, config.curriculum.mode)
    return np.asarray(np.exp(trainers.at(logs, difficulty)))
