"""What a forecast has to know of the data: how often each letter occurs, and how long sequences are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.config.config import Config
from sedd.data import Dataset, length_counts
from sedd.data.alphabet import ESM, PROTEIN
from sedd.data.synthetic import FREQUENCIES
from sedd.errors import ConfigError

SURVEY = 4096
"""Sequences whose lengths are looked at, where the data do not know how often each length occurs."""
USUAL_LENGTH = 300.0
"""Residues in a protein, where no data say otherwise."""


@dataclass(frozen=True, eq=False)
class DataStatistics:
    """Letter frequencies and the mean length of sequences."""

    frequencies: NDArray[np.float64]
    """(n,), summing to 1."""
    length: float
    """Mean length of a sequence after cropping, residues."""
    source: str
    """Where the numbers come from, for people."""

    @staticmethod
    def of(dataset: Dataset, *, longest: int) -> DataStatistics:
        """Those of the training part of a data set; sequences are cropped to `longest`."""
        counts = dataset.token_counts.astype(np.float64)
        indices = np.unique(np.linspace(0, len(dataset.train) - 1, SURVEY).astype(np.int64))
        lengths, number = length_counts(dataset.train, indices)
        length = float(np.average(np.minimum(lengths, longest), weights=number))
        return DataStatistics(counts / counts.sum(), length, f"{len(dataset.train):,} training sequences")

    @staticmethod
    def usual(config: Config) -> DataStatistics:
        """Those of proteins in general, for a forecast without data.

        Raises:
            ConfigError: if the alphabet is that of a text, which only the text knows.
        """
        if config.data.alphabet == "text":
            raise ConfigError(
                "data.alphabet=text: which symbols there are only the text can say; give it with --data",
                keys=["data.alphabet"],
            )
        alphabet = PROTEIN if config.data.alphabet == "protein" else ESM
        percent = np.array([FREQUENCIES.get(symbol, 0.0) for symbol in alphabet.symbols])
        length = min(USUAL_LENGTH, float(config.model.length))
        return DataStatistics(
            percent / percent.sum(), length, "the letter frequencies of UniProtKB/Swiss-Prot (no data given)"
        )

    def among(self, symbols: int) -> DataStatistics:
        """The same letters in an alphabet of `symbols`, the others of which never occur.

        Raises:
            ConfigError: if these are fewer than the letters.
        """
        more = symbols - len(self.frequencies)
        if more < 0:
            raise ConfigError(f"symbols={symbols}: the data have {len(self.frequencies)} already; give as many or more")
        return DataStatistics(np.append(self.frequencies, np.zeros(more)), self.length, self.source)
