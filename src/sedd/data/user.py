"""A user's own sequences as a `Dataset`: every item checked once, tokens counted, a part held out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.config.sections import Data
from sedd.data.alphabet import Alphabet
from sedd.data.chosen import fixed_alphabet
from sedd.data.dataset import Dataset
from sedd.data.order import Sequences
from sedd.data.prepare.nucleotides import NEARLY_ALL, is_nucleotides
from sedd.errors import DataError

SURVEYED = 1_000
"""Texts that are examined for nucleotides."""
UserData = Sequences | Sequence[str]
"""Sequences as texts or as integer arrays."""


@dataclass(frozen=True, eq=False)
class Subset:
    """Some items of a source, as ids of `alphabet`."""

    source: UserData
    alphabet: Alphabet
    indices: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        return _ids(self.source[int(self.indices[index])], self.alphabet)


def user_dataset(source: UserData, data: Data, *, seed: int, alphabet: Alphabet | None = None) -> Dataset:
    """Wrap any object with `len` whose items are strings or one-dimensional integer arrays.

    About `data.holdout` of the sequences are set aside, by a hash of the sequence: copies stay on one side. Ids are
    those of `alphabet`, by default the one that `data.alphabet` names. Raises DataError if there are fewer than two
    different sequences, or an item is no sequence of the alphabet.
    """
    if isinstance(source, str | Path):
        raise DataError("a path belongs in the configuration, as data.train", file=Path(source))
    if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
        raise DataError(f"your data is a {type(source).__name__}, without a length or items; make a list of it")
    source = by_position(source)
    if alphabet is None:
        alphabet = fixed_alphabet(data.alphabet)
        if alphabet is None:
            raise DataError(
                f"your own data with data.alphabet={data.alphabet}: build a sedd.Dataset, which has its own alphabet"
            )
    if alphabet.has_amino_acids and data.residues.nucleotides == "refuse":
        _refuse_nucleotides(source)
    lengths = np.empty(len(source), np.int64)
    hashes = np.empty(len(source), np.uint64)
    token_counts = np.zeros(alphabet.n, np.int64)
    for index in range(len(source)):
        ids = _checked(source[index], index, alphabet)
        lengths[index], hashes[index] = len(ids), _hash(ids, seed)
        token_counts += np.bincount(ids, minlength=alphabet.n)
    held = _held(hashes, data.holdout)
    train, valid = (
        Subset(source, alphabet, part, lengths[part]) for part in (np.flatnonzero(~held), np.flatnonzero(held))
    )
    for index in valid.indices:
        token_counts -= np.bincount(_ids(source[int(index)], alphabet), minlength=alphabet.n)
    summary = f"your data: {len(train):,} sequences to train on, {len(valid):,} held out"
    return Dataset(train, valid, alphabet, token_counts, None, summary)


def _refuse_nucleotides(source: UserData) -> None:
    """Raise DataError if nearly all of the first texts are DNA or RNA."""
    texts = [text for index in range(min(len(source), SURVEYED)) if isinstance(text := source[index], str)]
    found = sum(is_nucleotides(text.encode("ascii", "replace")) for text in texts)
    if texts and found >= NEARLY_ALL * len(texts):
        raise DataError(
            f"your data: {found:,} of the first {len(texts):,} sequences are nucleotides (DNA or RNA); set "
            "data.alphabet=dna (or rna). If these are proteins, set data.residues.nucleotides=keep"
        )


class _Positional:
    """The items of a pandas Series in their order; its own `[]` takes labels, which a filter leaves with gaps."""

    def __init__(self, series: Any) -> None:
        self.series = series

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index: int, /) -> Any:
        return self.series.iloc[index]


def by_position(source: Any) -> Any:
    """`source` with items that are counted from 0, as those of a list.

    Raises DataError for a table or a dictionary, which have several columns, or keys, in place of positions.
    """
    if isinstance(source, Mapping):
        raise DataError("your data is a dictionary; give its sequences: data=list(YOURS.values())")
    if hasattr(source, "iloc"):
        if getattr(source, "ndim", 1) != 1:
            columns = ", ".join(map(repr, list(source.columns)[:20]))
            raise DataError(f"your data is a table; give one of its columns ({columns}): data=YOURS['sequence']")
        return _Positional(source)
    return source


def _held(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Mask of the held-out items: those with the lowest hashes, at least one and not all."""
    distinct = np.unique(hashes)
    if len(distinct) < 2:
        raise DataError(
            f"your data has {len(hashes)} sequences, {len(distinct)} of them different; "
            "at least 2 different ones are needed, one to train on and one to hold out"
        )
    lowest, highest = int(distinct[0]), int(distinct[-1])
    threshold = min(max(int(share * 2**64), lowest + 1), highest)
    return np.asarray(hashes < np.uint64(threshold))


def _hash(ids: NDArray[Any], seed: int) -> int:
    key = seed.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(ids.astype("<i8").tobytes(), digest_size=8, key=key).digest(), "little")


def _ids(item: Any, alphabet: Alphabet) -> NDArray[Any]:
    return alphabet.encode(item) if isinstance(item, str) else np.asarray(item)


def _checked(item: Any, index: int, alphabet: Alphabet) -> NDArray[Any]:
    record = f"item {index} of your data"
    try:
        ids = _ids(item, alphabet)
    except DataError as error:
        raise DataError(str(error), record=record) from None
    if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(
            f"it has shape {ids.shape} and type {ids.dtype}; "
            "expected a string or a one-dimensional integer array, with at least one residue",
            record=record,
        )
    if ids.min() < 0 or ids.max() >= alphabet.n:
        expected = f"the alphabet {alphabet.name!r} has 0 to {alphabet.n - 1}"
        raise DataError(f"it has ids from {ids.min()} to {ids.max()}; {expected}", record=record)
    return ids
