"""What is constant about the sequences that a run evaluates: lengths, token counts, and what simple predictors have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data import Sequences
from sedd.evaluation.bound import MOST_BY_SEQUENCE
from sedd.evaluation.controls import composition, count_tokens, unigram

Array = NDArray[np.float64]
BY_SEQUENCE = ("residues", "unigram", "composition")
"""Arrays with a value for each sequence."""


@dataclass(frozen=True, eq=False)
class EvaluatedSequences:
    """The evaluated sequences of one set. Arrays are in the order of `Bound.by_sequence`, and empty where that is."""

    sequences: int
    """Number of evaluated sequences."""
    token_counts: NDArray[np.int64]
    """(n,): how often each token occurs in them, after cropping; in the first 4,096 of them where there are more."""
    residues: Array
    """(sequences,): evaluated residues of each."""
    unigram: Array
    """(sequences,): cross-entropy of each under the token frequencies of the training set, nats per residue."""
    composition: Array
    """(sequences,): cross-entropy of each residue given the token counts of the rest of its sequence, nats per
    residue, mean over the sequence; see `sedd.evaluation.controls`."""

    @staticmethod
    def of(
        data: Sequences, items: NDArray[np.int64], frequencies: Array, *, seed: int, max_length: int
    ) -> EvaluatedSequences:
        """Describe sequences as an `Estimator` evaluates them.

        Args:
            data: its data.
            items: the indices that it chooses.
            frequencies: (n,), token frequencies of the training set, all positive.
            seed: its seed, which keys how long sequences are cropped.
            max_length: longer sequences are cropped.
        """
        counts = count_tokens(data, items[:MOST_BY_SEQUENCE], n=len(frequencies), seed=seed, max_length=max_length)
        tokens = counts.sum(0).astype(np.int64)
        if len(items) > MOST_BY_SEQUENCE:
            return EvaluatedSequences(len(items), tokens, *(np.zeros(0) for _ in BY_SEQUENCE))
        controls = unigram(counts, frequencies), composition(counts, frequencies)
        return EvaluatedSequences(len(items), tokens, counts.sum(1), *controls)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with six significant digits."""
        return {
            "sequences": self.sequences,
            "token_counts": self.token_counts.tolist(),
            "residues": self.residues.astype(int).tolist(),
            "unigram": six_digits(self.unigram),
            "composition": six_digits(self.composition),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> EvaluatedSequences:
        """Read what `to_dict` wrote."""
        arrays = {name: np.array(data[name], np.float64) for name in BY_SEQUENCE}
        return EvaluatedSequences(data["sequences"], np.array(data["token_counts"], np.int64), **arrays)


def six_digits(values: Array) -> list[float | None]:
    """Values for JSON with six significant digits; None where not finite."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
