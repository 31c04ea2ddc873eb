"""What the monitor says: alarms with a cause and remedies, and one verdict on the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Cause = Literal["curriculum", "learning", "instability", "data", "little signal"]
"""`curriculum`: the forecast explains it. `learning`: the model got worse at fixed mask rate. `instability`: gradients
explode or steps are skipped. `data`: the sequences changed. `little signal`: it is within what luck does."""
Severity = Literal["info", "warning", "critical"]
"""`info`: nothing is wrong. `warning`: look at it. `critical`: the run diverges."""


@dataclass(frozen=True)
class Alarm:
    """A rule that fired, and why."""

    step: int
    """Optimizer step at which it fired."""
    rule: str
    """`max_rise`, `max_loss`, `max_oscillation` or `patience` (the keys of `monitoring`), `profile` (the model got
    worse at fixed mask rate), `skipped`, `letters` (the data have others) or `letters_only` (the model knows nothing
    else)."""
    cause: Cause
    severity: Severity
    message: str
    """What happened, with the numbers."""
    numbers: Mapping[str, float]
    """The numbers behind it."""
    remedies: tuple[str, ...] = ()
    """What to do, computed for this run; never applied unless `monitoring.on_divergence` asks for it."""

    @property
    def diverging(self) -> bool:
        """Whether the run itself goes wrong: what `monitoring.on_divergence` acts on."""
        return self.severity == "critical" and self.cause in ("learning", "instability")

    def to_json(self) -> dict[str, Any]:
        """A line of the metrics file."""
        return {"kind": "alarm", **asdict(self), "remedies": list(self.remedies)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Alarm:
        """The inverse of `to_json`."""
        data = {name: value for name, value in record.items() if name != "kind"}
        return Alarm(**data | {"remedies": tuple(data["remedies"])})

    def __str__(self) -> str:
        return f"step {self.step:,}: {self.message}" + "".join(f"\n  - {remedy}" for remedy in self.remedies)


Kind = Literal["healthy", "curriculum", "learning", "instability", "data", "plateau", "little signal"]


@dataclass(frozen=True)
class Verdict:
    """What a run is, in one word and one sentence."""

    kind: Kind
    """`healthy`; `curriculum`: healthy, and rules fired only because the curriculum climbs; `plateau`: healthy, but
    it does not improve; `little signal`: nothing can be said yet; otherwise what went wrong."""
    sentence: str
    alarms: tuple[Alarm, ...]

    @property
    def went_wrong(self) -> bool:
        """Whether something other than the curriculum needs attention."""
        return self.kind in ("learning", "instability", "data")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"verdict": self.kind, "sentence": self.sentence, "alarms": [alarm.to_json() for alarm in self.alarms]}
