"""The result of `judge`: one row per metric, each for samples, held-out natural sequences and shuffled ones."""

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
    """Human-readable name."""
    unit: str
    """`nats`, `share` (0 to 1) or `of the mean length`."""
    samples: float
    """Value of the metric for the samples."""
    held_out: float
    """Value for natural sequences that are neither in the training set nor in the reference: the best to expect."""
    shuffled: float
    """Value for the held-out sequences with the residues of each in random order."""
    reference: float | None
    """Value for the reference; None for metrics that are distances from the reference."""
    samples_half: float
    held_out_half: float
    shuffled_half: float
    differ: bool
    """Whether held-out and shuffled sequences differ significantly in this metric."""
    against_shuffled: Answer
    """Whether the samples are nearer to the reference than shuffled sequences are."""
    against_held_out: Answer
    """Whether they are nearer to it than held-out sequences are; `cannot tell` is the best to expect."""


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
    """Warnings: what was left out, what is suspicious."""

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
        """A summary in words."""
        telling = [row for row in self.rows if row.differ]
        if not telling:
            return "No metric tells held-out from shuffled sequences: give more sequences."
        beaten = sum(row.against_shuffled == "beats" for row in telling)
        lost = sum(row.against_shuffled == "loses" for row in telling)
        short = sum(row.against_held_out == "loses" for row in self.rows)
        every = len(self.rows)
        return (
            f"Metrics that tell held-out from shuffled sequences: {len(telling)} of {every}. On these the samples beat "
            f"shuffled ones on {beaten} and lose to them on {lost}. Of all {every}, they lose to held-out ones on "
            f"{short}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"sentence": self.sentence}

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: if `data` is not of that form; names the wrong keys.
        """
        return TypeAdapter(cls).validate_python(data)

    def numbers(self) -> dict[str, float]:
        """The numbers alone, for a line of `metrics.jsonl`."""
        numbers: dict[str, float] = {"samples_sequences": self.samples, "samples_residues": self.samples_residues}
        for row in self.rows:
            numbers[f"samples_{row.name}"] = row.samples
            numbers[f"samples_{row.name}_held_out"] = row.held_out
            numbers[f"samples_{row.name}_shuffled"] = row.shuffled
        return numbers
