"""The verdict on a run: its kind, two plain sentences, and the sentence with the numbers behind them.

Every sentence follows from a test. Why the loss moves: the attribution, against its Monte Carlo error. Whether the
model gets better: held-out bounds, against their standard errors. Where neither is significant, the verdict says so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from sedd.diagnosis.alarms import Alarm, Cause
from sedd.diagnosis.attribution import Attribution, between
from sedd.diagnosis.verdict import Kind, Verdict
from sedd.errors import DataError
from sedd.evaluation.statistics import Z95
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord

MAX_RELATIVE_NOISE = 0.02
"""Monte Carlo error of the loss at fixed mask rate, relative to the loss, above which a run is inconclusive."""
_WRONG = {
    "learning": "the model, not the curriculum",
    "instability": "unstable training, not the curriculum",
    "data": "the data, neither the curriculum nor the model",
}
_BETTER = "The model itself is getting better: on"
_BY_CHANCE = "The training loss has moved by no more than chance (Monte Carlo error)."


def verdict(
    history: History, alarms: Sequence[Alarm], noise: float, *, firing: Collection[tuple[str, Cause]]
) -> Verdict:
    """The verdict on a run so far.

    Args:
        history: of the run.
        alarms: all that its monitor raised.
        noise: standard deviation of one line's loss per unit of mask rate, infinite while unknown.
        firing: rules, with their causes, that fire at the end.
    """
    worst = _worst(history, alarms)
    if worst is not None:
        sentence = f"Something is wrong, and it is {_WRONG[worst.cause]}. Step {worst.step:,}: {worst.message}."
        # "getting better" beside an alarm about the model would contradict it, though both can be true.
        better = _BETTER if worst.cause == "data" else "From the first evaluation to the last, on"
        return Verdict(
            worst.cause, _wrong(worst), _model(history, better=better), sentence=sentence, alarms=tuple(alarms)
        )
    stalled = [a for a in alarms if a.rule in ("patience", "letters_only") and (a.rule, a.cause) in firing]
    kind, opening = _nothing_wrong(history, alarms, noise, stalled)
    rollbacks = "".join(
        f" It diverged at step {rollback.from_step:,} and went back to step {rollback.step:,} with the learning rate "
        f"times {rollback.lr_scale:g}; it has been stable since."
        for rollback in history.rollbacks
    )
    sentence = f"{opening}{rollbacks} {_numbers(history)}"
    return Verdict(kind, _summary(history, alarms, noise, kind, stalled), sentence=sentence, alarms=tuple(alarms))


def _summary(history: History, alarms: Sequence[Alarm], noise: float, kind: Kind, stalled: Sequence[Alarm]) -> str:
    """Two plain sentences on a run in which nothing is wrong now."""
    if not history.lines and not history.bounds:
        return "Nothing was logged yet. Wait for the first logged step (training.log_every)."
    if history.rollbacks:
        last = history.rollbacks[-1]
        opening = f"The run diverged at step {last.from_step:,} and was set back to step {last.step:,}"
        return f"{opening}; nothing has gone wrong since. {_model(history)}"
    if kind == "inconclusive":
        reason = "the logged losses scatter too much" if math.isfinite(noise) else "too few steps were logged"
        return f"It is not clear yet whether anything is wrong: {reason}. {_model(history)}"
    return f"{_loss(history, alarms, noise)} {_plateau(stalled[-1]) if kind == 'plateau' else _model(history)}"


def _worst(history: History, alarms: Sequence[Alarm]) -> Alarm | None:
    """The first of the most severe alarms that no rollback has undone; None if nothing is wrong.

    A change of the data explains whatever follows it, so it comes first.
    """
    rollbacks = history.rollbacks
    wrong = [
        alarm
        for alarm in alarms
        if alarm.severity != "info" and alarm.rule != "patience" and alarm.cause in _WRONG
        if not any(rollback.step < alarm.step <= rollback.from_step for rollback in rollbacks)
    ]
    if not wrong:
        return None
    data = [alarm for alarm in wrong if alarm.cause == "data"]
    critical = [alarm for alarm in wrong if alarm.severity == "critical"]
    if data and (not critical or data[0].step <= critical[0].step):
        return data[0]
    return (critical or wrong)[0]


def _nothing_wrong(history: History, alarms: Sequence[Alarm], noise: float, stalled: list[Alarm]) -> tuple[Kind, str]:
    """Kind and opening sentence of a run in which no alarm is open."""
    if _inconclusive(history, noise):
        return "inconclusive", "Inconclusive: a change that matters would not exceed its Monte Carlo error yet."
    if stalled:
        return "plateau", f"Nothing diverges, but {stalled[-1].message}."
    if any(alarm.cause == "curriculum" for alarm in alarms):
        return "curriculum", "Nothing is wrong: the loss rises because the curriculum gets harder."
    return "healthy", "Nothing is wrong."


def _inconclusive(history: History, noise: float) -> bool:
    """Whether even a change that matters would not exceed the noise between lines."""
    if not history.lines or not math.isfinite(noise):
        return True
    last = history.lines[-1].bins
    level = float(last.loss.sum()) / max(float(last.drawn.sum()), 1e-12)
    return noise > MAX_RELATIVE_NOISE * level * math.sqrt(len(history.lines))


def _wrong(alarm: Alarm) -> str:
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


def _loss(history: History, alarms: Sequence[Alarm], noise: float) -> str:
    """Why the training loss moved from the first logged step to the last."""
    try:
        split = between(history.lines, history.lines[0].step, history.lines[-1].step)
    except DataError:
        return "The log does not show why the training loss moves."
    error = _learning_error(history, split, noise)
    rose_by_curriculum = any((a.rule, a.cause) == ("max_rise", "curriculum") for a in alarms)
    if split.change > 0:
        if split.difficulty > max(split.learning, split.draw, error):
            return "The training loss rises because the task gets harder."
        if split.learning > error:
            return "The training loss rose; whether by chance or because the model got worse is not clear yet."
        return _BY_CHANCE
    if split.learning < min(split.difficulty, split.draw, -error):
        if rose_by_curriculum:
            return "The training loss rose for a while because the task got harder, and fell because the model learns."
        return "The training loss falls because the model learns."
    if split.difficulty < min(split.draw, -error):
        return "The training loss falls because the task gets easier."
    return _BY_CHANCE


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


def _plateau(alarm: Alarm) -> str:
    since = f"since step {alarm.numbers['since']:,.0f}"
    if alarm.rule == "patience":
        best = f"{alarm.numbers['best']:.4f} nats per residue"
        return f"The model has stopped getting better: on data it never saw, {best} {since} is still its best."
    return f"The model has learnt how often each residue occurs and nothing more, and {since} it does not improve."


def _model(history: History, *, better: str = _BETTER) -> str:
    """Whether the model itself gets better: its first, best and last held-out bounds."""
    bounds = [bound for bound in history.bounds if math.isfinite(bound.nats)]
    if not bounds:
        return "Whether the model itself gets better is not clear: no held-out bound was logged yet."
    if len(bounds) == 1:
        return (
            "Whether the model itself gets better is not clear yet: there is only one held-out bound, "
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
        return f"{better} data it never saw it improved {change}."
    return (
        f"Whether the model itself gets better is not clear yet: on data it never saw it went {change}, a difference "
        "within its error."
    )


def _higher(a: BoundRecord, b: BoundRecord) -> bool:
    """Whether bound `a` is significantly higher (worse) than `b`, their errors taken as independent."""
    return a.nats - b.nats > Z95 * math.hypot(a.stderr, b.stderr)


def _numbers(history: History) -> str:
    """How the loss and the held-out bound changed."""
    parts = []
    if history.lines:
        try:
            parts.append(str(between(history.lines, history.lines[0].step, history.lines[-1].step)))
        except DataError as error:
            parts.append(f"{error}.")
    if len(history.bounds) > 1:
        first, last = history.bounds[0], history.bounds[-1]
        best = min(history.bounds, key=lambda bound: bound.nats)
        parts.append(
            f"The held-out bound, which does not depend on the curriculum, went from {first.nats:.4f} (step "
            f"{first.step:,}) to {last.nats:.4f} ± {last.stderr:.4f} nats per residue; best {best.nats:.4f} at step "
            f"{best.step:,}."
        )
    return " ".join(parts or ["Nothing was logged yet."])
