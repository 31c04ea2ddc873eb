"""Alarms of a run, each with a cause and remedies, and the verdict on the run that follows from them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sedd.diagnosis.attribution import between
from sedd.errors import DataError
from sedd.runs.history import History

Cause = Literal["curriculum", "learning", "instability", "data"]
"""`curriculum`: the forecast explains it. `learning`: the model got worse at fixed mask rate. `instability`: gradients
explode or steps are skipped. `data`: the sequences changed. What Monte Carlo error explains is no alarm."""
Severity = Literal["info", "warning", "critical"]
"""`info`: nothing is wrong. `warning`: look at it. `critical`: the run diverges."""
Kind = Literal["healthy", "curriculum", "learning", "instability", "data", "plateau", "little signal"]

MAX_RELATIVE_NOISE = 0.02
"""Largest Monte Carlo error of the loss at fixed mask rate, relative to the loss, above which a run is inconclusive."""


_WORDS = {
    "little signal": "inconclusive",
    "letters": "token frequencies",
    "letters_only": "no better than the unigram model",
}
_WRONG = {
    "learning": "the model, not the curriculum",
    "instability": "unstable training, not the curriculum",
    "data": "the data, neither the curriculum nor the model",
}


def in_words(value: str) -> str:
    """The rule or kind `value` of the metrics file as it is shown to the user."""
    return _WORDS.get(value, value)


@dataclass(frozen=True)
class Alarm:
    """A rule that fired, and why."""

    step: int
    """Optimizer step at which it fired."""
    rule: str
    """`max_rise`, `max_loss`, `max_oscillation` or `patience` (the keys of `monitoring`), `profile` (the model got
    worse at fixed mask rate), `skipped`, `letters` (the token frequencies of the data changed) or `letters_only` (the
    model is no better than the unigram model)."""
    cause: Cause
    severity: Severity
    message: str
    """What happened, with the numbers."""
    numbers: Mapping[str, float]
    """The numbers behind the message."""
    remedies: tuple[str, ...] = ()
    """What to do, computed for this run; never applied unless `monitoring.on_divergence` is set to do so."""

    @property
    def diverging(self) -> bool:
        """Whether the run itself goes wrong: what `monitoring.on_divergence` acts on."""
        return self.severity == "critical" and self.cause in ("learning", "instability")

    def to_json(self) -> dict[str, Any]:
        """The alarm as a line of the metrics file."""
        return {"kind": "alarm", **asdict(self), "remedies": list(self.remedies)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Alarm:
        """The inverse of `to_json`."""
        data = {name: value for name, value in record.items() if name != "kind"}
        return Alarm(**data | {"remedies": tuple(data["remedies"])})

    def __str__(self) -> str:
        return f"step {self.step:,}: {self.message}" + "".join(f"\n  - {remedy}" for remedy in self.remedies)


@dataclass(frozen=True)
class Verdict:
    """The state of a run: one word, two plain sentences, and the numbers behind them."""

    kind: Kind
    """`healthy`; `curriculum`: healthy, and rules fired only because the curriculum climbs; `plateau`: healthy, but
    it does not improve; `little signal`: inconclusive so far; otherwise the cause of what went wrong."""
    sentence: str
    """The verdict with its numbers."""
    alarms: tuple[Alarm, ...]
    summary: str = ""
    """The answer in two plain sentences."""

    @property
    def went_wrong(self) -> bool:
        """Whether something other than the curriculum needs attention."""
        return self.kind in ("learning", "instability", "data")

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "verdict": self.kind,
            "summary": self.summary,
            "sentence": self.sentence,
            "alarms": [alarm.to_json() for alarm in self.alarms],
        }


def verdict(
    history: History, alarms: Sequence[Alarm], noise: float, *, firing: Collection[tuple[str, Cause]]
) -> Verdict:
    """The verdict on a run so far, without its summary.

    Args:
        history: of the run.
        alarms: all that its monitor raised.
        noise: standard deviation of one line's loss per unit of mask rate, infinite while unknown.
        firing: rules, with their causes, that fire at the end.
    """
    worst = worst_alarm(history, alarms)
    if worst is not None:
        sentence = f"Something is wrong, and it is {_WRONG[worst.cause]}. Step {worst.step:,}: {worst.message}."
        kind: Kind = worst.cause if worst.cause in ("instability", "data") else "learning"
        return Verdict(kind, sentence, tuple(alarms))
    stalled = [a for a in alarms if a.rule in ("patience", "letters_only") and (a.rule, a.cause) in firing]
    kind, opening = _nothing_wrong(history, alarms, noise, stalled)
    rollbacks = "".join(
        f" It diverged at step {event['from_step']:,} and went back to step {event['step']:,} with the learning rate "
        f"times {event['lr_scale']:g}; it has been stable since."
        for event in rollbacks_of(history)
    )
    return Verdict(kind, f"{opening}{rollbacks} {_numbers(history)}", tuple(alarms))


def rollbacks_of(history: History) -> list[Mapping[str, Any]]:
    """The rollback lines of the metrics file."""
    return [event for event in history.events if event["kind"] == "rollback"]


def worst_alarm(history: History, alarms: Sequence[Alarm]) -> Alarm | None:
    """The first of the most severe alarms that no rollback took back; None if nothing is wrong.

    A change of the data explains whatever follows it, so it comes first.
    """
    rollbacks = rollbacks_of(history)
    wrong = [
        alarm
        for alarm in alarms
        if alarm.severity != "info" and alarm.rule != "patience" and alarm.cause in _WRONG
        if not any(event["step"] < alarm.step <= event["from_step"] for event in rollbacks)
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
        return "little signal", "Inconclusive: a change that matters would not exceed its Monte Carlo error yet."
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
