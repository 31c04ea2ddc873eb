"""A set of sequences as one array, so that each metric is a few numpy calls over all residues."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data import Alphabet, Permutation, Sequences, crop
from sedd.data.user import by_position
from sedd.errors import DataError
from sedd.evaluation.quality.statistic import Ratio
from sedd.randomness import generator

Ints = NDArray[np.int64]
TextsOrIds = Sequence[str] | Sequences
"""Sequences as text, or as arrays of token ids."""


@dataclass(frozen=True, eq=False)
class PackedSequences:
    """Sequences one after the other."""

    tokens: NDArray[Any]
    """(residues,): ids of the alphabet, in its type."""
    offsets: Ints
    """(sequences + 1,): sequence i is `tokens[offsets[i]:offsets[i + 1]]`."""
    alphabet: Alphabet

    @staticmethod
    def of(rows: Iterable[NDArray[Any]], alphabet: Alphabet) -> PackedSequences:
        """Pack arrays of token ids."""
        arrays = [np.asarray(row, alphabet.dtype) for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in arrays])]).astype(np.int64)
        return PackedSequences(np.concatenate([*arrays, np.empty(0, alphabet.dtype)]), offsets, alphabet)

    @staticmethod
    def drawn(
        rows: TextsOrIds, alphabet: Alphabet, *, most: int, longest: int | None = None, seed: int = 0
    ) -> PackedSequences:
        """At most `most` sequences in a keyed order, cropped at a keyed position to at most `longest` residues.

        Raises:
            DataError: if a sequence is empty or not of the alphabet; names it, counted from 1.
        """
        rows = by_position(rows)
        chosen = Permutation(len(rows), seed, 0)(np.arange(min(len(rows), most), dtype=np.int64)).tolist()
        ids = (_checked(rows[index], index, alphabet) for index in chosen)
        if longest is not None:
            ids = (crop(row, seed=seed, sample=i, max_length=longest) for i, row in zip(chosen, ids, strict=True))
        return PackedSequences.of(ids, alphabet)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def residues(self) -> int:
        """Number of residues in all sequences."""
        return len(self.tokens)

    @cached_property
    def lengths(self) -> Ints:
        """(sequences,), residues."""
        return np.diff(self.offsets)

    @cached_property
    def owner(self) -> NDArray[np.int32]:
        """(residues,): which sequence each belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.lengths)

    def row(self, index: int) -> NDArray[Any]:
        """The ids of one sequence."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def part(self, first: int, last: int) -> PackedSequences:
        """Sequences `first` to `last`, without the last."""
        begin, end = int(self.offsets[first]), int(self.offsets[last])
        return PackedSequences(self.tokens[begin:end], self.offsets[first : last + 1] - begin, self.alphabet)

    def of_residues(self, most: int) -> PackedSequences:
        """The first sequences with at most `most` residues together; at least one sequence."""
        count = int(np.searchsorted(self.offsets, most, side="right")) - 1
        return self.part(0, max(1, min(count, len(self))))

    def cut(self, residues: int) -> PackedSequences:
        """Exactly the first `residues` residues; the last sequence loses its end."""
        count = int(np.searchsorted(self.offsets, residues, side="left"))
        return PackedSequences(self.tokens[:residues], np.minimum(self.offsets[: count + 1], residues), self.alphabet)

    def shuffled(self, *, seed: int = 0) -> PackedSequences:
        """The residues of each sequence in random order: equal composition and lengths, no order."""
        keys = generator(seed, "shuffle").random(self.residues)
        return PackedSequences(self.tokens[np.lexsort((keys, self.owner))], self.offsets, self.alphabet)

    def kmers(self, k: int) -> tuple[Ints, NDArray[np.int32]]:
        """The codes of all stretches of k residues, and the sequence of each: two of (stretches,)."""
        starts = max(self.residues - k + 1, 0)
        codes = np.zeros(starts, np.int64)
        for place in range(k):
            codes = codes * self.alphabet.n + self.tokens[place : place + starts]
        inside = self.owner[:starts] == self.owner[k - 1 : k - 1 + starts]
        return codes[inside], self.owner[:starts][inside]


def _checked(row: str | NDArray[Any], index: int, alphabet: Alphabet) -> NDArray[Any]:
    try:
        ids = ids_of(row, alphabet) if isinstance(row, str) else np.asarray(row)
    except DataError as error:
        raise DataError(f"sequence {index + 1}: {error}") from None
    if not len(ids):
        raise DataError(f"sequence {index + 1} is empty; expected at least one residue")
    if ids.min() < 0 or ids.max() >= alphabet.n:
        expected = f"the alphabet {alphabet.name!r} has 0 to {alphabet.n - 1}"
        raise DataError(f"sequence {index + 1} has ids from {ids.min()} to {ids.max()}; {expected}")
    return ids


def residue_share(sequences: PackedSequences, flags: NDArray[np.bool_]) -> Ratio:
    """The share of residues that `flags`, (residues,), marks."""
    marked = np.bincount(sequences.owner, flags.astype(np.float64), minlength=len(sequences))
    return Ratio(marked.astype(np.float64), sequences.lengths.astype(np.float64))


def ids_of(text: str, alphabet: Alphabet) -> NDArray[Any]:
    """Token ids of text from `Alphabet.decode`: single characters, and names such as ESM's `<cls>`."""
    names = {symbol: number for number, symbol in enumerate(alphabet.symbols) if len(symbol) > 1}
    if alphabet.has_words or "<" not in text or not names:
        return alphabet.encode(text)
    pieces = [piece for piece in re.split(f"({'|'.join(map(re.escape, names))})", text) if piece]
    return np.concatenate([np.array([names[p]]) if p in names else alphabet.encode(p) for p in pieces])
