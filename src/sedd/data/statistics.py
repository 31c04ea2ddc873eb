"""The statistics of the data that a forecast needs: token frequencies and the mean length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.config.config import Config
from sedd.data import Dataset, Sequences, length_counts
from sedd.data.chosen import fixed_alphabet
from sedd.data.synthetic import FREQUENCIES
from sedd.errors import ConfigError

SURVEY = 4096
"""Sequences from which the mean length is estimated, if the data set does not record its length counts."""
USUAL_LENGTH = 300.0
"""Mean residues in a protein, assumed without data."""


@dataclass(frozen=True, eq=False)
class DataStatistics:
    """Token frequencies and the mean length of sequences."""

    frequencies: NDArray[np.float64]
    """(n,), summing to 1."""
    length: float
    """Mean length of a sequence after cropping, residues."""
    source: str
    """Human-readable origin of the numbers."""

    @staticmethod
    def of(dataset: Dataset, *, longest: int) -> DataStatistics:
        """Statistics of the training part of a data set, whose sequences are cropped to `longest` residues."""
        counts = dataset.token_counts.astype(np.float64)
        length = mean_length(dataset.train, longest=longest)
        return DataStatistics(counts / counts.sum(), length, f"{len(dataset.train):,} training sequences")

    @staticmethod
    def usual(config: Config, symbols: int | None = None) -> DataStatistics:
        """Statistics of proteins in general, for a forecast without data; of other alphabets, and of `symbols` of a
        text or ids, those of equally frequent symbols in sequences of `model.length`. Raises ConfigError for text and
        ids without `symbols`."""
        alphabet = fixed_alphabet(config.data.alphabet)
        n = symbols if alphabet is None or alphabet.is_protein else alphabet.n
        if n is not None and (alphabet is None or not alphabet.is_protein):
            source = f"no data given: each of {n:,} symbols is taken to be equally frequent"
            return DataStatistics(np.full(n, 1.0 / n), float(config.model.length), source)
        if alphabet is None:
            raise ConfigError(
                f"data.alphabet={config.data.alphabet}: which symbols there are only the data can say; give them with "
                "--data",
                keys=["data.alphabet"],
            )
        percent = np.array([FREQUENCIES.get(symbol, 0.0) for symbol in alphabet.symbols])
        length = min(USUAL_LENGTH, float(config.model.length))
        return DataStatistics(
            percent / percent.sum(), length, "the amino acid frequencies of UniProtKB/Swiss-Prot (no data given)"
        )

    def among(self, symbols: int) -> DataStatistics:
        """These statistics in a larger alphabet of `symbols` symbols; the additional ones have frequency 0. Raises
        ConfigError if `symbols` is below the present number."""
        more = symbols - len(self.frequencies)
        if more < 0:
            raise ConfigError(f"symbols={symbols}: the data have {len(self.frequencies)} already; give as many or more")
        return DataStatistics(np.append(self.frequencies, np.zeros(more)), self.length, self.source)


def share_longer(source: Sequences, *, longest: int) -> float:
    """The share of sequences that are longer than `longest` residues, from `SURVEY` of them if there are more."""
    lengths, number = _surveyed(source)
    return float(number[lengths > longest].sum() / number.sum())


def mean_length(source: Sequences, *, longest: int) -> float:
    """Mean length of sequences that are cropped to `longest` residues, from `SURVEY` of them if there are more."""
    lengths, number = _surveyed(source)
    return float(np.average(np.minimum(lengths, longest), weights=number))


def _surveyed(source: Sequences) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lengths that occur, and how many sequences have each."""
    return length_counts(source, np.unique(np.linspace(0, len(source) - 1, SURVEY).astype(np.int64)))
