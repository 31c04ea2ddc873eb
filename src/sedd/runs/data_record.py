"""The records of a metrics file about its data: the training and held-out set, and the sequences that are evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sedd.config.config import Config
from sedd.data import Dataset, Sequences
from sedd.data.statistics import mean_length, share_longer
from sedd.evaluation.controls import smoothed
from sedd.evaluation.estimator import chosen_items
from sedd.evaluation.evaluated import EvaluatedSequences
from sedd.evaluation.probe import PROBE_SEED, probe_sequences


@dataclass(frozen=True)
class DataRecord:
    """The data of a run, written once at step 0: enough to forecast its loss without them."""

    kind: ClassVar[str] = "data"
    token_counts: tuple[int, ...]
    """How often each token occurs in the training set."""
    mean_length: float
    """Mean length of the training sequences after cropping, residues."""
    sequences: int
    """Number of training sequences."""
    cropped: float | None = None
    """Share of the training sequences that are longer than `model.length` and cropped; None in old runs."""
    held_out_token_counts: tuple[int, ...] = ()
    """How often each token occurs in the held-out set, or in the evaluated part of it if the set does not record its
    counts; empty in old runs."""
    held_out_mean_length: float | None = None
    """Mean length of the held-out sequences after cropping, residues; None in old runs."""
    held_out_sequences: int | None = None
    """Number of held-out sequences, evaluated or not; None in old runs."""

    @classmethod
    def of(cls, config: Config, data: Dataset, evaluated: EvaluatedRecord) -> DataRecord:
        """Describe the data of a run with this configuration."""
        longest = config.model.length
        counts = getattr(data.valid, "token_counts", None)
        held_out = evaluated.held_out.token_counts if counts is None else np.asarray(counts)
        return cls(
            token_counts=tuple(data.token_counts.tolist()),
            mean_length=mean_length(data.train, longest=longest),
            sequences=len(data.train),
            cropped=share_longer(data.train, longest=longest),
            held_out_token_counts=tuple(held_out.tolist()),
            held_out_mean_length=mean_length(data.valid, longest=longest),
            held_out_sequences=len(data.valid),
        )

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data."""
        data = {"kind": self.kind, "step": 0, "letter_counts": list(self.token_counts)}
        data |= {"mean_length": self.mean_length, "sequences": self.sequences}
        if self.held_out_token_counts:
            data["held_out_token_counts"] = list(self.held_out_token_counts)
        numbers = {
            "cropped": self.cropped,
            "held_out_mean_length": self.held_out_mean_length,
            "held_out_sequences": self.held_out_sequences,
        }
        return data | {name: value for name, value in numbers.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DataRecord:
        """Read a line."""
        return cls(
            tuple(data["letter_counts"]),
            data["mean_length"],
            data["sequences"],
            data.get("cropped"),
            tuple(data.get("held_out_token_counts", ())),
            data.get("held_out_mean_length"),
            data.get("held_out_sequences"),
        )


@dataclass(frozen=True, eq=False)
class EvaluatedRecord:
    """The sequences that every evaluation of a run uses; written at the start, and again if others are chosen."""

    kind: ClassVar[str] = "evaluated"
    step: int
    """Optimizer steps done when it was written; it holds for evaluations after that."""
    held_out: EvaluatedSequences
    probe: EvaluatedSequences | None = None
    """The training sequences of the probe; None if it is off."""

    @classmethod
    def of(cls, config: Config, data: Dataset, step: int) -> EvaluatedRecord:
        """Describe the sequences that a run with this configuration evaluates, from its optimizer step `step` on."""
        options, frequencies = config.evaluation, smoothed(data.token_counts)

        def described(source: Sequences, *, count: int, seed: int) -> EvaluatedSequences:
            chosen = chosen_items(len(source), count=count, seed=seed)
            return EvaluatedSequences.of(source, chosen, frequencies, seed=seed, max_length=config.model.length)

        held_out = described(data.valid, count=options.sequences, seed=0)
        count = options.train_sequences
        probe = described(probe_sequences(data.train, count), count=count, seed=PROBE_SEED) if count else None
        return cls(step, held_out, probe)

    def same_sequences(self, other: EvaluatedRecord) -> bool:
        """Whether both describe the same sequences."""
        return self.to_dict() | {"step": 0} == other.to_dict() | {"step": 0}

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data."""
        data = {"kind": self.kind, "step": self.step, "held_out": self.held_out.to_dict()}
        return data | ({} if self.probe is None else {"probe": self.probe.to_dict()})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EvaluatedRecord:
        """Read a line."""
        probe = EvaluatedSequences.from_dict(data["probe"]) if "probe" in data else None
        return cls(data["step"], EvaluatedSequences.from_dict(data["held_out"]), probe)
