"""The verdict on a run or a curve: its kind, its probability, what else it could be, and what to do, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sedd.diagnosis.alarms import Alarm

Kind = Literal[
    "healthy", "curriculum", "plateau", "inconclusive", "learning", "instability", "data", "overfitting", "leak",
    "averages", "held_out", "config", "unit",
]  # fmt: skip
"""`healthy`; `curriculum`: healthy, and the loss rose only because the curriculum got harder; `plateau`: nothing
diverges, but the model does not improve; `inconclusive`: the data do not decide; `learning`: the model diverges;
`instability`: spikes, oscillation or values that are not finite; `data`: the training sequences changed; `overfitting`:
held-out data get worse while training data get better; `leak`: the training loss uses what it must not see; `averages`:
the averaged weights do not follow the trained ones; `held_out`: the held-out data are of another kind; `config`: the
configuration does not fit the curve; `unit`: the losses are not nats per residue of a weighted loss."""
WENT_WRONG: frozenset[Kind] = frozenset(
    {"learning", "instability", "data", "overfitting", "leak", "averages", "held_out"}
)
"""Kinds that call for action."""
UNDECIDED: frozenset[Kind] = frozenset({"inconclusive", "config", "unit"})
"""Kinds that say that the input does not allow a judgement of the model."""


@dataclass(frozen=True)
class Remedy:
    """One thing to do, as a consequence of a verdict."""

    text: str
    """What to do; a setting as `key=value`."""
    effect: str = ""
    """What is expected of it, with numbers where they are known; empty if it is part of `text`."""
    tried: bool | None = None
    """Whether this run has shown that the value works; None where there is no value."""

    def __str__(self) -> str:
        note = {None: "", True: "this run has used it", False: "a guess: this run has not tried it"}[self.tried]
        further = "; ".join(part for part in (self.effect, note) if part)
        return f"{self.text} ({further})" if further else self.text

    @property
    def sentence(self) -> str:
        """The remedy as a sentence; a setting keeps its small letters."""
        text, first = str(self), self.text.split(" ", 1)[0]
        return f"Set {text}." if "=" in first else f"{text[:1].upper()}{text[1:]}."

    def to_dict(self) -> dict[str, Any]:
        """The remedy as plain data."""
        return {"text": self.text, "effect": self.effect, "tried": self.tried}


@dataclass(frozen=True)
class Verdict:
    """The state of a run or a curve."""

    kind: Kind
    """What it is, see `Kind`."""
    answer: str
    """The answer in one plain sentence."""
    reason: str = ""
    """Why, in quantities that a person can picture."""
    advice: str = ""
    """What to do first."""
    certainty: str = ""
    """The certainty of this, and what else it could be."""
    probability: float = 1.0
    """Of `kind`; of the likeliest kind where the verdict is inconclusive."""
    runner_up: Kind | None = None
    """The second likeliest kind; None if there is no other."""
    since: tuple[int, int] | None = None
    """95 % interval of the optimizer step at which it began; None where nothing began."""
    hypothesis: str = ""
    """Name of the hypothesis, which says more than the kind: a row of `sedd.diagnosis.hypotheses.HYPOTHESES`."""
    probabilities: Mapping[Kind, float] = field(default_factory=dict)
    """Of each kind; they add up to 1."""
    log_bayes_factor: float = 0.0
    """Log of the probability of the input under `hypothesis` over that under `healthy`."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The numbers of its evidence: `effect`, and the ends `low` and `high` of its 95 % interval, where it has one."""
    sentence: str = ""
    """How the loss and the bound moved, in numbers."""
    remedies: tuple[Remedy, ...] = ()
    """What to do, the first one first."""
    alarms: tuple[Alarm, ...] = ()
    """What a person should know of, in the order of steps."""
    conditional: Verdict | None = None
    """With `unit` and `config`: the verdict if the unit or the settings are what fits best."""

    @property
    def summary(self) -> str:
        """The answer and the reason, in plain sentences."""
        return f"{self.answer} {self.reason}".strip()

    @property
    def lead(self) -> str:
        """Answer, reason and advice: what is said first wherever a verdict is shown."""
        return f"{self.summary} {self.advice}".rstrip()

    @property
    def began(self) -> tuple[int, int] | None:
        """`since`, or that of `conditional`."""
        return self.conditional.began if self.since is None and self.conditional is not None else self.since

    @property
    def went_wrong(self) -> bool:
        """Whether something other than the curriculum needs attention."""
        return self.kind in WENT_WRONG

    @property
    def undecided(self) -> bool:
        """Whether the input does not allow a judgement of the model."""
        return self.kind in UNDECIDED

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "verdict": self.kind,
            "went_wrong": self.went_wrong,
            "probability": self.probability,
            "runner_up": self.runner_up,
            "since": None if self.since is None else list(self.since),
            "hypothesis": self.hypothesis,
            "probabilities": dict(self.probabilities),
            "log_bayes_factor": self.log_bayes_factor,
            "numbers": {name: value for name, value in self.numbers.items() if math.isfinite(value)},
            "answer": self.answer,
            "reason": self.reason,
            "advice": self.advice,
            "certainty": self.certainty,
            "summary": self.summary,
            "sentence": self.sentence,
            "remedies": [remedy.to_dict() for remedy in self.remedies],
            "alarms": [alarm.to_dict() for alarm in self.alarms],
            "conditional": None if self.conditional is None else self.conditional.to_dict(),
        }
