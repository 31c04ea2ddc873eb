"""Training sequences that go wrong while the run is on, and held-out ones of another kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sedd
from judging.setting import Random

Ids = NDArray[Any]


@dataclass
class Clock:
    """The optimizer step whose batch is being read, for data that change with it."""

    step: int = 0


@dataclass(frozen=True, eq=False)
class Changing:
    """Sequences whose tokens are changed by the step at which they are read."""

    sequences: Any
    clock: Clock
    change: Callable[[Ids, int, int], Ids]
    """From the ids of a sequence, its index and the step to ids of the same length."""

    @property
    def lengths(self) -> Ids:
        """(sequences,): residues in each."""
        return sedd.data.lengths_of(self.sequences, np.arange(len(self.sequences)))

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int, /) -> Ids:
        return self.change(np.asarray(self.sequences[index]), int(index), self.clock.step)


@dataclass(frozen=True, eq=False)
class Rows:
    """Sequences in memory."""

    rows: list[Ids] = field(default_factory=list)

    @property
    def lengths(self) -> Ids:
        """(sequences,): residues in each."""
        return np.array([len(row) for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Ids:
        return self.rows[index]


def changing(data: sedd.Dataset, clock: Clock, change: Callable[[Ids, int, int], Ids]) -> sedd.Dataset:
    """A data set whose training sequences change with the step."""
    return replace(data, train=Changing(data.train, clock, change))


def only(data: sedd.Dataset, count: int, *, times: int = 1) -> sedd.Dataset:
    """A data set with the first `count` training sequences, each `times` times."""
    rows = [np.asarray(data.train[i]) for i in range(min(count, len(data.train)))]
    counts = np.bincount(np.concatenate(rows), minlength=data.alphabet.n).astype(np.int64)
    return replace(data, train=Rows(rows * times), token_counts=counts * times)


def held_out(data: sedd.Dataset, change: Callable[[Ids], Ids]) -> sedd.Dataset:
    """A data set whose held-out sequences are of another kind."""
    rows = [change(np.asarray(data.valid[i])) for i in range(min(len(data.valid), 400))]
    return replace(data, valid=Rows(rows), exact_nll=None)


def random_tokens(random: Random, n: int, concentration: float) -> Callable[[Ids], Ids]:
    """Independent tokens of another composition, in place of those of a sequence."""
    frequencies = random.dirichlet(np.full(n, concentration))
    return lambda ids: random.choice(n, len(ids), p=frequencies)


def by_composition(data: sedd.Dataset, steps: int, clock: Clock) -> sedd.Dataset:
    """Training sequences sorted by how often they have their commonest token, read in this order.

    A sequence is replaced by one of equal length, since the plan of the batches holds lengths.
    """
    lengths = sedd.data.lengths_of(data.train, np.arange(len(data.train)))
    commonest = int(np.argmax(data.token_counts))
    score = np.array([np.mean(np.asarray(data.train[i]) == commonest) for i in range(len(data.train))])
    groups = {int(size): np.flatnonzero(lengths == size) for size in np.unique(lengths)}
    groups = {size: group[np.argsort(score[group])] for size, group in groups.items()}

    def sorted_by_step(ids: Ids, index: int, step: int) -> Ids:
        group = groups[len(ids)]
        place = min(step / steps + 0.05 * (hash((index, step)) % 1000) / 1000, 0.999)
        return np.asarray(data.train[int(group[int(place * len(group))])])

    return changing(data, clock, sorted_by_step)
