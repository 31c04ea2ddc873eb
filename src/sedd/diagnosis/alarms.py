"""Alarms of a run, each with a cause and remedies, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Cause = Literal[
    "curriculum", "learning", "instability", "data", "overfitting", "leak", "averages", "held_out", "plateau"
]
"""`curriculum`: the forecast explains it. The others are kinds of a verdict, see `sedd.diagnosis.verdict.Kind`. What
Monte Carlo error explains is no alarm."""
Severity = Literal["info", "warning", "critical"]
"""`info`: nothing is wrong. `warning`: look at it. `critical`: the run diverges."""

_WORDS = {
    "letters": "token frequencies",
    "letters_only": "no better than the unigram model",
}


def in_words(value: str) -> str:
    """The words that are printed for a rule or kind of the metrics file."""
    return _WORDS.get(value, value)


@dataclass(frozen=True)
class Alarm:
    """A rule that fired, and why."""

    step: int
    """Optimizer step at which it fired."""
    rule: str
    """A key of `monitoring` (`max_rise`, `max_loss`, `max_oscillation`), or the name of the hypothesis that the judge
    found (`sedd.diagnosis.hypotheses.HYPOTHESES`)."""
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
        return self.severity == "critical" and self.cause in ("learning", "instability", "overfitting")

    def to_dict(self) -> dict[str, Any]:
        """The alarm as a line of the metrics file."""
        return {"kind": "alarm", **asdict(self), "remedies": list(self.remedies)}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Alarm:
        """The inverse of `to_dict`."""
        data = {name: value for name, value in record.items() if name != "kind"}
        return Alarm(**data | {"remedies": tuple(data["remedies"])})

    def __str__(self) -> str:
        return f"step {self.step:,}: {self.message}" + "".join(f"\n  - {remedy}" for remedy in self.remedies)


def grouped(alarms: Sequence[Alarm]) -> list[tuple[Severity, list[Alarm]]]:
    """Alarms of one rule and cause together, in the order in which they first fired, with their highest severity."""
    groups: dict[tuple[str, str], list[Alarm]] = {}
    for alarm in alarms:
        groups.setdefault((alarm.rule, alarm.cause), []).append(alarm)
    order = get_args(Severity)
    return [(max((alarm.severity for alarm in group), key=order.index), group) for group in groups.values()]
