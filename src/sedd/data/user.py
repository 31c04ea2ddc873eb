"""A user's own sequences as a `Dataset`: some set aside, letters counted, every item checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import ESM, PROTEIN, Alphabet
from sedd.data.dataset import Dataset
from sedd.data.order import Sequences
from sedd.data.permutation import Permutation
from sedd.errors import DataError
from sedd.sections import Data


@dataclass(frozen=True, eq=False)
class Subset:
    """Some items of a source."""

    source: Sequences
    indices: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        return np.asarray(self.source[int(self.indices[index])])


def user_dataset(source: Sequences, data: Data, *, seed: int, alphabet: Alphabet | None = None) -> Dataset:
    """Wrap any object with `len` and one-dimensional integer arrays as items.

    `data.holdout` of the items, chosen by the seed, are set aside. The ids are those of `alphabet`, by default the one
    that `data.alphabet` names.

    Raises:
        DataError: if there are fewer than two items, or an item is not a sequence of ids of the alphabet.
    """
    if alphabet is None:
        if data.alphabet == "text":
            raise DataError(
                "your own data with data.alphabet=text: build a sedd.Dataset, whose alphabet says what the ids mean"
            )
        alphabet = {"protein": PROTEIN, "esm": ESM}[data.alphabet]
    if len(source) < 2:
        raise DataError(
            f"your data has {len(source)} sequences; at least 2 are needed, one to train on and one to hold out"
        )
    order = Permutation(len(source), seed, 0)(np.arange(len(source), dtype=np.int64))
    held = max(1, min(len(source) - 1, round(data.holdout * len(source))))
    valid, train = np.sort(order[:held]), np.sort(order[held:])
    lengths = np.empty(len(source), np.int64)
    letters = {True: np.zeros(alphabet.n, np.int64), False: np.zeros(alphabet.n, np.int64)}
    is_held = np.isin(np.arange(len(source)), valid)
    for index in range(len(source)):
        counts = _counts(source[index], index, alphabet)
        lengths[index] = counts.sum()
        letters[bool(is_held[index])] += counts
    summary = f"your data: {len(train):,} sequences to train on, {held:,} held out"
    kept, held_out = (Subset(source, chosen, lengths[chosen]) for chosen in (train, valid))
    return Dataset(kept, held_out, alphabet, letters[False], None, summary)


def _counts(item: Any, index: int, alphabet: Alphabet) -> NDArray[np.int64]:
    ids = np.asarray(item)
    if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(
            f"item {index} of your data has shape {ids.shape} and type {ids.dtype}; "
            "expected a one-dimensional integer array with at least one id"
        )
    if ids.min() < 0 or ids.max() >= alphabet.n:
        raise DataError(
            f"item {index} of your data has ids from {ids.min()} to {ids.max()}; "
            f"the alphabet {alphabet.name!r} has 0 to {alphabet.n - 1}"
        )
    return np.bincount(ids, minlength=alphabet.n).astype(np.int64)
