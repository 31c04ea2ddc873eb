"""What is true of a case, what the judge answered, and when an answer is right."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sedd.diagnosis.verdict import UNDECIDED, WENT_WRONG, Kind, Verdict

FINE: frozenset[Kind] = frozenset({"healthy", "curriculum"})
DECIDES = 6.0
"""z from which the evidence decides: a likelihood ratio of e^18 against the best explanation without the fault."""
GROSS = 0.2
"""Relative effect on the loss from which a fault is gross, where its z is at least twice `DECIDES`."""
Stream = Literal["tune", "judge"]
STREAMS: dict[Stream, int] = {"tune": 0, "judge": 9_000_000}
"""First seed of each stream. Constants of the judge are set on `tune`; what is published is measured on `judge`."""


def seeds(stream: Stream, count: int, first: int = 0) -> range:
    """The seeds of `count` cases of a stream; streams have none in common.

    Raises:
        ValueError: if the seeds leave the stream.
    """
    if not 0 <= first <= first + count <= STREAMS["judge"]:
        raise ValueError(f"seeds {first} to {first + count}: a stream has {STREAMS['judge']:,} seeds")
    return range(STREAMS[stream] + first, STREAMS[stream] + first + count)


@dataclass(frozen=True)
class Truth:
    """What is true of a case."""

    seed: int
    name: str
    """Of the planted fault; `healthy` and its variants without one."""
    accepted: tuple[Kind, ...]
    """Kinds that are right, the wanted one first."""
    forbidden: tuple[Kind, ...]
    """Kinds that would do harm."""
    conditional: tuple[Kind, ...] = ()
    """Kinds that are right for `Verdict.conditional`; empty: those of `accepted`."""
    onset: tuple[int, int] | None = None
    """Optimizer steps between which it began: two neighbouring lines of the log. None where nothing began."""
    severity: float = 0.0
    """Effect of the fault, as a fraction of the loss (curves) or in nats per residue (runs)."""
    z: float = 0.0
    """Distance of the noiseless curve from the best explanation without the fault, in standard errors."""
    faultless: bool = False
    """Whether there is nothing that calls for action, whatever was planted."""
    facts: dict[str, Any] = field(default_factory=dict)
    """How the case was made, for a person who looks at it."""

    @property
    def wanted(self) -> Kind:
        """The kind that a judge who knows everything gives."""
        return self.accepted[0]

    @property
    def decides(self) -> bool:
        """Whether the evidence decides in principle."""
        return self.z > DECIDES

    @property
    def gross(self) -> bool:
        """Whether it is a fault of the training that no judge may miss."""
        return self.wanted in WENT_WRONG and self.z > 2.0 * DECIDES and self.severity >= GROSS

    def to_dict(self) -> dict[str, Any]:
        """The truth as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Truth:
        """Read what `to_dict` wrote."""
        lists = {name: tuple(data[name]) for name in ("accepted", "forbidden", "conditional")}
        onset = None if data["onset"] is None else tuple(data["onset"])
        return cls(**(data | lists | {"onset": onset}))


@dataclass(frozen=True)
class Answer:
    """A case with what the judge said about it."""

    truth: Truth
    kind: Kind
    probability: float
    likeliest: Kind
    """The kind of the largest probability, which an inconclusive verdict does not name."""
    since: tuple[int, int] | None
    conditional: Kind | None
    text: str
    seconds: float
    alarms: tuple[str, ...] = ()
    """Rule and step of each alarm about something that went wrong."""

    @classmethod
    def of(cls, truth: Truth, verdict: Verdict, seconds: float) -> Answer:
        """The answer that a verdict gives."""
        named = [kind for kind in verdict.probabilities if kind != "inconclusive"]
        likeliest = max(named, key=lambda kind: verdict.probabilities[kind], default=verdict.kind)
        alarms = tuple(f"{alarm.rule}@{alarm.step}" for alarm in verdict.alarms if alarm.severity != "info")
        return cls(
            truth, verdict.kind, verdict.probability, likeliest, verdict.since,
            None if verdict.conditional is None else verdict.conditional.kind,
            f"{verdict.summary} {verdict.certainty}".strip(), seconds, alarms,
        )  # fmt: skip

    @property
    def right(self) -> bool:
        """Whether the kind is one of the right ones, and the conditional verdict, if any, does not contradict it."""
        if self.kind not in self.truth.accepted:
            return False
        state = self.truth.conditional or self.truth.accepted
        return self.conditional is None or self.conditional in (*state, *UNDECIDED)

    @property
    def named_right(self) -> bool:
        """Whether the answer is right and commits itself."""
        return self.right and (self.kind != "inconclusive" or self.truth.wanted == "inconclusive")

    @property
    def false_alarm(self) -> bool:
        """Whether something is called wrong that is not."""
        accused = {self.kind, self.conditional} & WENT_WRONG
        return self.truth.faultless and not accused <= {*self.truth.accepted, *self.truth.conditional}

    @property
    def harmful(self) -> bool:
        """Whether the kind is one that would do harm."""
        return self.kind in self.truth.forbidden

    @property
    def missed_gross(self) -> bool:
        """Whether a gross fault is called fine."""
        return self.truth.gross and self.kind in FINE

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data."""
        return asdict(self) | {"right": self.right}
