"""One word and one sentence on a whole run, from what its monitor saw."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from sedd.diagnosis.alarms import Alarm, Cause, Kind, Verdict
from sedd.diagnosis.attribution import between
from sedd.errors import DataError
from sedd.runs.history import History
from sedd.runs.metrics import RollbackRecord

TOLD = 0.02
"""A change of the loss at fixed mask rate by this share must be told from luck, or there is too little signal."""

_WRONG = {
    "learning": "the model, not the curriculum",
    "instability": "unstable training, not the curriculum",
    "data": "the data, neither the curriculum nor the model",
}


def verdict(
    history: History, alarms: Sequence[Alarm], noise: float, *, firing: Collection[tuple[str, Cause]]
) -> Verdict:
    """What the run is, so far.

    Args:
        history: of the run.
        alarms: all that its monitor raised.
        noise: standard deviation of one line's loss per unit of mask rate, infinite while unknown.
        firing: rules, with their causes, that fire at the end.
    """
    back = history.rollbacks
    serious = [a for a in alarms if a.severity != "info" and a.rule != "patience" and a.cause in _WRONG]
    open_ones = [alarm for alarm in serious if not any(_undone(alarm, event) for event in back)]
    if open_ones:
        worst = _worst(open_ones)
        sentence = f"Something is wrong, and it is {_WRONG[worst.cause]}. Step {worst.step:,}: {worst.message}."
        return Verdict(_kind(worst), sentence, tuple(alarms))
    stalled = [a for a in alarms if a.rule in ("patience", "letters_only") and (a.rule, a.cause) in firing]
    kind, said = _calm(history, alarms, noise, stalled)
    undone = "".join(
        f" It diverged at step {event.from_step:,} and went back to step {event.step:,} with the learning rate "
        f"times {event.lr_scale:g}; since then it has been well."
        for event in back
    )
    return Verdict(kind, f"{said}{undone} {_story(history)}", tuple(alarms))


def _undone(alarm: Alarm, event: RollbackRecord) -> bool:
    """Whether a rollback took back what the alarm was about."""
    return bool(event.step < alarm.step <= event.from_step)


def _calm(history: History, alarms: Sequence[Alarm], noise: float, stalled: list[Alarm]) -> tuple[Kind, str]:
    """Of a run in which nothing is wrong."""
    if _too_little(history, noise):
        return "little signal", "Too little signal yet to tell anything from luck."
    if stalled:
        return "plateau", f"Nothing breaks, but {stalled[-1].message}."
    if any(alarm.cause == "curriculum" for alarm in alarms):
        return "curriculum", "Nothing is wrong: the loss rises because the curriculum gets harder."
    return "healthy", "Nothing is wrong."


def _worst(alarms: list[Alarm]) -> Alarm:
    """The first of the most severe; strange data explain whatever follows them."""
    data = [alarm for alarm in alarms if alarm.cause == "data"]
    critical = [alarm for alarm in alarms if alarm.severity == "critical"]
    if data and (not critical or data[0].step <= critical[0].step):
        return data[0]
    return (critical or alarms)[0]


def _kind(alarm: Alarm) -> Kind:
    return alarm.cause if alarm.cause in ("instability", "data") else "learning"


def _too_little(history: History, noise: float) -> bool:
    """Whether even a change that matters would drown in the noise between lines."""
    if not history.lines or not math.isfinite(noise):
        return True
    last = history.lines[-1].bins
    level = float(last.loss.sum()) / max(float(last.drawn.sum()), 1e-12)
    return noise > TOLD * level * math.sqrt(len(history.lines))


def _story(history: History) -> str:
    """What the loss and the bound did, in numbers."""
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
            f"The held-out bound, which never sees the curriculum, went from {first.nats:.4f} (step {first.step:,}) to "
            f"{last.nats:.4f} ± {last.stderr:.4f} nats per residue; best {best.nats:.4f} at step {best.step:,}."
        )
    return " ".join(parts or ["Nothing was logged yet."])
