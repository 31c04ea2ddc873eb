"""The evaluations of a run as the evidence needs them: which are finite, and how two of them differ, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.bayes import Measured
from sedd.diagnosis.evidence.base import RunFacts
from sedd.evaluation.evaluated import EvaluatedSequences
from sedd.evaluation.paired import paired_difference
from sedd.runs.metrics import BoundRecord, RecordedBound

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """The finite evaluations of one set of sequences with one kind of weights."""

    steps: NDArray[np.int64]
    """(evaluations,): optimizer steps."""
    bounds: Sequence[RecordedBound]
    """The bound at each of them."""
    sequences: EvaluatedSequences | None
    """The sequences; None where the file does not describe them."""

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def nats(self) -> Array:
        """(evaluations,): nats per residue."""
        return np.array([bound.nats for bound in self.bounds])

    @property
    def best(self) -> int:
        """Index of the lowest."""
        return int(self.nats.argmin())

    def at(self, index: int) -> Measured:
        """One bound with its standard error."""
        bound = self.bounds[index]
        return Measured(bound.nats, bound.stderr)

    def minus(self, a: int, b: int) -> Measured:
        """Evaluation `a` less evaluation `b`, nats per residue."""
        return difference(self.bounds[a], self.bounds[b], self.sequences)

    def before(self, step: float) -> int | None:
        """Index of the last evaluation at or before a step; None if there is none."""
        index = int(np.searchsorted(self.steps, step, side="right")) - 1
        return index if index >= 0 else None

    def below(self, index: int, control: str) -> Measured | None:
        """How far a bound lies below the control `unigram` or `composition`, nats per residue; None where unknown."""
        bound, sequences = self.bounds[index], self.sequences
        if sequences is None or not _matches(bound, sequences):
            return None
        found = paired_difference(getattr(sequences, control), bound.by_sequence, sequences.residues)
        return Measured(found.nats, found.stderr)


def held_out(facts: RunFacts) -> Series:
    """The held-out bounds with averaged weights."""
    evaluated = facts.history.evaluated
    return _series(facts, "held_out", None if evaluated is None else evaluated.held_out)


def probe(facts: RunFacts, *, raw: bool = False) -> Series:
    """The bounds on training sequences, with averaged weights or `raw` ones."""
    evaluated = facts.history.evaluated
    return _series(facts, "probe_raw" if raw else "probe", None if evaluated is None else evaluated.probe)


def difference(a: RecordedBound, b: RecordedBound, sequences: EvaluatedSequences | None) -> Measured:
    """`a` less `b`: pair by pair where both have the same sequences, else with independent errors."""
    if sequences is not None and _matches(a, sequences) and _matches(b, sequences):
        found = paired_difference(a.by_sequence, b.by_sequence, sequences.residues)
        return Measured(found.nats, found.stderr)
    return Measured(a.nats, a.stderr) - Measured(b.nats, b.stderr)


def _matches(bound: RecordedBound, sequences: EvaluatedSequences) -> bool:
    return len(bound.by_sequence) == len(sequences.residues) > 1 and bool(np.isfinite(bound.by_sequence).all())


def _series(facts: RunFacts, name: str, sequences: EvaluatedSequences | None) -> Series:
    found: list[tuple[BoundRecord, RecordedBound]] = [
        (record, bound)
        for record in facts.history.bounds
        if (bound := getattr(record, name)) is not None and math.isfinite(bound.nats)
    ]
    steps = np.array([record.step for record, _ in found], np.int64)
    return Series(steps, [bound for _, bound in found], sequences)
