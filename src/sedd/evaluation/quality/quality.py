"""The outcome: one row per metric, each for samples, held-out natural sequences and shuffled ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from pydantic import TypeAdapter

Answer = Literal["beats", "loses", "cannot tell"]


@dataclass(frozen=True)
class Row:
    """One metric. Intervals are half widths at 95 %, from the bootstrap over sequences."""

    name: str
    """A key, such as `low_complexity`."""
    title: str
    """For people."""
    unit: str
    """`nats`, `share` (0 to 1) or `of the mean length`."""
    samples: float
    held_out: float
    """The same for natural sequences that neither training nor the reference has: as good as it gets."""
    shuffled: float
    """The same for those sequences with the residues of each in random order."""
    reference: float | None
    """The same for the reference; None for metrics that are distances from the reference themselves."""
    samples_half: float
    held_out_half: float
    shuffled_half: float
    differ: bool
    """Whether held-out and shuffled sequences can be told apart by this metric."""
    against_shuffled: Answer
    """Whether the samples are nearer to the reference than shuffled sequences are."""
    against_held_out: Answer
    """Whether they are nearer to it than other natural sequences are; `cannot tell` is the best to hope for."""


@dataclass(frozen=True)
class Quality:
    """How good samples are; made by `judge`."""

    rows: tuple[Row, ...]
    samples: int
    """Samples judged."""
    samples_residues: int
    held_out: int
    """Sequences of the held-out half."""
    held_out_residues: int
    reference: int
    """Sequences of the other half, which distances are measured from."""
    training: int | None
    """Training sequences searched for neighbours; None if there was no training set."""
    notes: tuple[str, ...]
    """What a reader must know besides: what was left out, what is suspicious."""

    def row(self, name: str) -> Row:
        """One metric.

        Raises:
            KeyError: if it was left out.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @property
    def sentence(self) -> str:
        """What it comes to, in words."""
        telling = [row for row in self.rows if row.differ]
        if not telling:
            return "No metric tells held-out from shuffled sequences here: give more sequences."
        beaten = sum(row.against_shuffled == "beats" for row in telling)
        lost = sum(row.against_shuffled == "loses" for row in telling)
        short = sum(row.against_held_out == "loses" for row in self.rows)
        every = len(self.rows)
        return (
            f"Metrics that tell held-out from shuffled sequences: {len(telling)} of {every}. There the samples beat "
            f"shuffled ones on {beaten} and lose to them on {lost}. Of all {every}, they lose to held-out ones on "
            f"{short}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"sentence": self.sentence}

    @classmethod
    def from_dict(cls, found: Any) -> Self:
        """What `to_dict` made, read from a file.

        Raises:
            ValueError: if it is something else; names what is wrong.
        """
        return TypeAdapter(cls).validate_python(found)

    def numbers(self) -> dict[str, float]:
        """Numbers only, for a line of `metrics.jsonl`."""
        found: dict[str, float] = {"samples_sequences": self.samples, "samples_residues": self.samples_residues}
        for row in self.rows:
            found[f"samples_{row.name}"] = row.samples
            found[f"samples_{row.name}_held_out"] = row.held_out
            found[f"samples_{row.name}_shuffled"] = row.shuffled
        return found
