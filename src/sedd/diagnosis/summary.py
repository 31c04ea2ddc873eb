"""The answer on a run in two plain sentences: why the training loss moves, and whether the model gets better.

Every sentence follows from a test. Why the loss moves: the attribution, against its Monte Carlo error. Whether the
model gets better: held-out bounds, against their standard errors. Where neither is significant, it cannot be told.
"""

from __future__ import annotations

import math

from sedd.diagnosis.alarms import Alarm, Verdict, rollbacks_of, worst_alarm
from sedd.diagnosis.attribution import Attribution, between
from sedd.errors import DataError
from sedd.evaluation.statistics import Z95
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord


def summary(history: History, verdict: Verdict, *, noise: float) -> str:
    """The verdict in two plain sentences.

    Args:
        history: of the run.
        verdict: on it.
        noise: standard deviation of one line's loss per unit of mask rate, infinite while unknown.
    """
    if not history.lines and not history.bounds and not verdict.went_wrong:
        return "Nothing was logged yet, so nothing can be told. Wait for the first logged step (training.log_every)."
    worst = worst_alarm(history, verdict.alarms)
    if worst is not None:
        return f"{_wrong(worst)} {_model(history)}"
    rollbacks = rollbacks_of(history)
    if rollbacks:
        last = rollbacks[-1]
        opening = f"The run diverged at step {last['from_step']:,} and was set back to step {last['step']:,}"
        return f"{opening}; nothing has gone wrong since. {_model(history)}"
    if verdict.kind == "little signal":
        return f"It cannot be told yet whether anything is wrong: {_why_inconclusive(noise)}. {_model(history)}"
    if verdict.kind == "plateau":
        return f"{_loss(history, verdict, noise)} {_plateau(verdict)}"
    return f"{_loss(history, verdict, noise)} {_model(history)}"


def _wrong(alarm: Alarm) -> str:
    """What went wrong, from the alarm of a rule."""
    numbers = alarm.numbers
    if alarm.rule == "profile" and "worse" in numbers:
        share = numbers["worse"] / max(numbers["level"], 1e-12)
        worse = f"on equally hard data its loss is {share:.0%} higher than around step {numbers['since']:,.0f}"
    elif "over_untrained" in numbers:
        worse = f"its loss is {numbers['over_untrained']:.2f} times that of an untrained model"
    else:
        worse = alarm.message
    match alarm.cause:
        case "data":
            return f"The training data changed around step {alarm.step:,}: neither model nor curriculum is to blame."
        case "instability":
            return f"Training is unstable, and the curriculum is not the reason: {worse}."
        case _:
            verb = "Training diverges" if alarm.severity == "critical" else "The model is getting worse"
            return f"{verb}, and the curriculum is not the reason: {worse}."


def _why_inconclusive(noise: float) -> str:
    return "the logged losses scatter too much" if math.isfinite(noise) else "too few steps were logged"


def _loss(history: History, verdict: Verdict, noise: float) -> str:
    """Why the training loss moved from the first logged step to the last."""
    try:
        split = between(history.lines, history.lines[0].step, history.lines[-1].step)
    except DataError:
        return "The log does not show why the training loss moves."
    error = _learning_error(history, split, noise)
    rose_by_curriculum = any((a.rule, a.cause) == ("max_rise", "curriculum") for a in verdict.alarms)
    if split.change > 0:
        if split.difficulty > max(split.learning, split.draw, error):
            return "The training loss rises because the task gets harder."
        if split.learning > error:
            return "The training loss rose; whether by chance or because the model got worse cannot be told yet."
        return "The training loss has moved by no more than chance (Monte Carlo error)."
    if split.learning < min(split.difficulty, split.draw, -error):
        if rose_by_curriculum:
            return "The training loss rose for a while because the task got harder, and fell because the model learns."
        return "The training loss falls because the model learns."
    if split.difficulty < min(split.draw, -error):
        return "The training loss falls because the task gets easier."
    return "The training loss has moved by no more than chance (Monte Carlo error)."


def _learning_error(history: History, split: Attribution, noise: float) -> float:
    """Half of the 95 % interval of the learning part, nats per residue.

    The learning part is sum_b (w_b + w_b') / 2 (P_b' - P_b): with an error `noise` of P per line, and the mean of the
    mask rates drawn as its weight.
    """
    first, last = history.lines[0].bins, history.lines[-1].bins
    weight = (first.drawn.sum() / first.residues + last.drawn.sum() / last.residues) / 2.0
    half_window = (split.last - split.first) / 40.0
    counts = [sum(abs(line.step - step) <= half_window for line in history.lines) for step in (split.first, split.last)]
    return float(Z95 * noise * weight * math.sqrt(sum(1.0 / max(count, 1) for count in counts)))


def _plateau(verdict: Verdict) -> str:
    """Where the model stopped improving."""
    alarm = next(a for a in reversed(verdict.alarms) if a.rule in ("patience", "letters_only"))
    since = f"since step {alarm.numbers['since']:,.0f}"
    if alarm.rule == "patience":
        best = f"{alarm.numbers['best']:.4f} nats per residue"
        return f"The model has stopped getting better: on data it never saw, {best} {since} is still its best."
    return f"The model has learnt how often each residue occurs and nothing more, and {since} it does not improve."


def _model(history: History) -> str:
    """Whether the model itself gets better: its first, best and last held-out bounds."""
    bounds = [bound for bound in history.bounds if math.isfinite(bound.nats)]
    if not bounds:
        return "Whether the model itself gets better cannot be told: no held-out bound was logged yet."
    if len(bounds) == 1:
        return (
            "Whether the model itself gets better cannot be told yet: there is only one held-out bound, "
            f"{bounds[0].nats:.2f} nats per residue at step {bounds[0].step:,}."
        )
    first, last, best = bounds[0], bounds[-1], min(bounds, key=lambda bound: bound.nats)
    digits = 2 if abs(last.nats - first.nats) >= 0.1 else 4
    change = f"from {first.nats:.{digits}f} to {last.nats:.{digits}f} nats per residue"
    if _higher(last, best):
        return (
            f"The model itself is getting worse: on data it never saw it had {best.nats:.{digits}f} nats per residue "
            f"at step {best.step:,} and now has {last.nats:.{digits}f}."
        )
    if _higher(first, last):
        return f"The model itself is getting better: on data it never saw it improved {change}."
    return (
        f"Whether the model itself gets better cannot be told yet: on data it never saw it went {change}, a difference "
        "within its error."
    )


def _higher(a: BoundRecord, b: BoundRecord) -> bool:
    """Whether bound `a` is significantly higher (worse) than `b`, their errors taken as independent."""
    return a.nats - b.nats > Z95 * math.hypot(a.stderr, b.stderr)
