"""The rules of `monitoring` on a curve: alarms where something is wrong, or where a person should know."""

from __future__ import annotations

import numpy as np

from sedd.diagnosis import remedies
from sedd.diagnosis.alarms import Alarm, Cause, Severity
from sedd.diagnosis.curve_fit.result import ExternalCurveFit
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.rises import RISE_STEPS
from sedd.diagnosis.verdict import Kind, Verdict

_CAUSES: dict[Kind, Cause] = {"learning": "learning", "instability": "instability", "data": "data"}
"""The cause of an alarm, by the kind of a verdict that something went wrong."""
SURE = 4.0
"""Errors of its two ends by which a climb must exceed its limit: Monte Carlo error alone is no alarm."""


def alarms(fit: ExternalCurveFit, forecast: Forecast, kind: Kind, verdict: Verdict | None = None) -> tuple[Alarm, ...]:
    """The alarms on a curve with a verdict of that kind, in the order of steps."""
    cause = _CAUSES.get(kind)
    found = []
    if cause is not None and verdict is not None:
        step = int(fit.curve.steps[-1]) if verdict.since is None else verdict.since[1]
        numbers = {} if verdict.since is None else {"since": float(verdict.since[0])}
        advice = tuple(str(remedy) for remedy in verdict.remedies) or (verdict.advice,)
        found.append(Alarm(step, verdict.hypothesis or kind, cause, "critical", verdict.answer, numbers, advice))
    found += _climbs(fit, forecast, cause)
    found += _limit(fit, forecast, cause)
    return tuple(sorted(found, key=lambda alarm: alarm.step))


def _climbs(fit: ExternalCurveFit, forecast: Forecast, cause: Cause | None) -> list[Alarm]:
    """The loss climbs faster than `max_rise`. Without a fault only what the curriculum explains is worth knowing."""
    limit = forecast.config.monitoring.max_rise * max(fit.factor, 1e-12)
    over = [climb for climb in _stretches(fit) if climb[2] - SURE * climb[4] > limit]
    if not over:
        return []
    first, last, per_1000, expected, _ = max(over, key=lambda climb: climb[2])
    if cause is None and expected < 0.5 * per_1000:
        return []
    severity: Severity = "info" if cause is None else "warning"
    unit = "nats" if fit.factor == 1.0 or fit.unit == "residue" else "units of the log"
    message = (
        f"the loss climbs by more than {limit:.3g} {unit} per 1,000 steps in {len(over)} stretches, at most by "
        f"{per_1000:.2f} (steps {first:,} to {last:,}), where that of an untrained model climbs by {expected:.2f}"
    )
    rise = remedies.of_rise(forecast.config, _within(fit, forecast.preschool_time)) if cause is None else ()
    advice = tuple(str(remedy) for remedy in rise)
    numbers = {"per_1000": per_1000, "expected": expected}
    return [Alarm(over[0][1], "max_rise", cause or "curriculum", severity, message, numbers, advice)]


def _within(fit: ExternalCurveFit, step: int | None) -> int | None:
    """A step that the log reaches; longer runs than this one are not advised."""
    return step if step is not None and step <= fit.curve.steps[-1] else None


def _limit(fit: ExternalCurveFit, forecast: Forecast, cause: Cause | None) -> list[Alarm]:
    """A loss above `max_loss`, where something is wrong anyway."""
    limit = forecast.config.monitoring.max_loss * max(fit.factor, 1e-12)
    high = np.flatnonzero(fit.curve.losses > limit)
    if cause is None or not len(high):
        return []
    loss, untrained = float(fit.curve.losses[high[0]]), float(fit.untrained[high[0]])
    message = f"the loss is {loss:.3g} (limit {limit:.3g}); that of an untrained model is {untrained:.3g}"
    numbers = {"loss": loss, "untrained": untrained}
    return [Alarm(int(fit.curve.steps[high[0]]), "max_loss", cause, "warning", message, numbers)]


def _stretches(fit: ExternalCurveFit) -> list[tuple[int, int, float, float, float]]:
    """First and last step of every stretch of about 1,000 steps; climbs of loss and forecast per 1,000; the error."""
    usable = np.flatnonzero(np.isfinite(fit.curve.losses))
    steps, losses, untrained = fit.curve.steps[usable], fit.curve.losses[usable], fit.untrained[usable]
    if len(steps) < 2:
        return []
    ends = np.maximum(np.searchsorted(steps, steps + RISE_STEPS), np.arange(len(steps)) + 1)
    starts = np.flatnonzero(ends < len(steps))
    if not len(starts):
        starts, ends = np.array([0]), np.array([len(steps) - 1])
    scatter = 0.0 if np.isnan(fit.scatter) else fit.scatter
    found = []
    for a in starts:
        b = int(ends[a])
        per = RISE_STEPS / float(steps[b] - steps[a])
        error = scatter * float(np.hypot(losses[a], losses[b])) * per
        climb, expected = float(losses[b] - losses[a]) * per, float(untrained[b] - untrained[a]) * per
        found.append((int(steps[a]), int(steps[b]), climb, expected, error))
    return found
