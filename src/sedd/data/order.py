"""In which order a run sees its sequences, and how they are cut into batches that hardly need pads.

The stream is endless: position p, the *global sample index*, belongs to epoch p // n and stands for item
`Permutation(epoch)(p % n)`. A *window* is a stretch of consecutive positions. Inside it, samples are sorted by length
and cut into strata, each stratum into chunks of neighbours, and a global batch is one chunk of each stratum, at random.
So a batch has short and long sequences, as a random one has (batches of one length teach less per step), and is still
computed without pads, chunk by chunk. Everything follows from (seed, window), so that a `Cursor` of two numbers is all
that a checkpoint has to keep, and neither accumulation nor workers have a part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sedd.data.permutation import Permutation
from sedd.errors import DataError
from sedd.randomness import generator

Ints = NDArray[np.int64]
STRATA = 2
"""Chunks of different lengths in a global batch. Four taught no more, and their smaller products cost a tenth."""
_CHUNK = 8
"""Sequences that a chunk should have: smaller batches have fewer strata."""
_NARROWER = 0.9
"""A chunk is computed by itself if it is so much narrower than the next one; else the pads cost less."""
_SURVEY = 4096
"""Sequences whose mean length decides how many make `batch_residues`."""


class Sequences(Protocol):
    """Sequences to train on: any object with a length and integer arrays as items.

    With an array `lengths` (or a method `lengths_at(indices)`), planning does not have to read the sequences.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Cursor:
    """Position of a run in the stream: the next batch is `batch` of `window`."""

    window: int = 0
    batch: int = 0


@dataclass(frozen=True, eq=False)
class GlobalBatch:
    """The samples of one optimizer step (or of a part of it), shortest first unless their order is random."""

    samples: Ints
    """Global sample indices: what random draws are keyed by. Never repeated."""
    indices: Ints
    """Items of the source."""
    lengths: Ints
    """Residues of each, after cropping to `max_length`."""
    cuts: tuple[int, ...] = ()
    """Positions where much longer sequences begin."""

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def residues(self) -> int:
        """Residues in all samples: what the loss of a step is normalised by."""
        return int(self.lengths.sum())

    def parts(self) -> list[GlobalBatch]:
        """The parts between the cuts: sequences of similar length, to be computed together."""
        return self._cut(self.cuts)

    def split(self, most: int) -> list[GlobalBatch]:
        """At most so many parts of nearly equal numbers of sequences; neighbours in length stay together."""
        sizes = [len(part) for part in np.array_split(self.samples, min(most, len(self)))]
        return self._cut(tuple(np.cumsum(sizes)[:-1].tolist()))

    def _cut(self, cuts: tuple[int, ...]) -> list[GlobalBatch]:
        columns = (np.split(column, cuts) for column in (self.samples, self.indices, self.lengths))
        return [type(self)(*part) for part in zip(*columns, strict=True)]


class Batches:
    """The plan of an endless training stream over `source`.

    Args:
        source: the sequences.
        seed: of the run; decides the order.
        batch_size: sequences in a micro-batch; a global batch has `batch_size * accum`.
        accum: micro-batches in a global batch.
        batch_residues: instead of a number of sequences, about this many residues in a global batch.
        max_length: longer sequences count as cropped to it.
        window: global batches that are sorted by length together; never more than an epoch has.
    """

    def __init__(
        self,
        source: Sequences,
        *,
        seed: int,
        batch_size: int,
        accum: int = 1,
        batch_residues: int | None = None,
        max_length: int,
        window: int = 64,
    ) -> None:
        if not len(source):
            raise DataError("there are no sequences to train on")
        self.source = source
        self.n = len(source)
        self.seed = seed
        self.max_length = max_length
        self.batch_residues = batch_residues
        size = batch_size * accum if batch_residues is None else self._sequences_for(batch_residues)
        self.batch_sequences = size
        """Sequences in a global batch; with `batch_residues`, about how many on average."""
        # A window longer than an epoch would put copies of one sequence, which are equally long, into one batch.
        batches = max(1, min(window, self.n // size))
        self.window_samples = size * batches
        chunks = np.array_split(np.arange(size), max(1, min(STRATA, size // _CHUNK)))
        self._strata = batches * np.cumsum([len(chunk) for chunk in chunks])[:-1]
        self._planned: tuple[int, list[GlobalBatch]] = (-1, [])

    def at(self, cursor: Cursor) -> tuple[GlobalBatch, Cursor]:
        """The batch at `cursor`, and the cursor of the next one."""
        plan = self.window(cursor.window)
        if not 0 <= cursor.batch < len(plan):
            raise DataError(f"{cursor} is not in this stream: window {cursor.window} has {len(plan)} batches")
        last = cursor.batch + 1 == len(plan)
        return plan[cursor.batch], Cursor(cursor.window + 1, 0) if last else Cursor(cursor.window, cursor.batch + 1)

    def after(self, cursor: Cursor, before: Batches) -> Cursor:
        """The position from which no sample is repeated that another plan of the stream, with batches of another size,
        has used before its `cursor`. At most a window of samples is left out."""
        plan = before.window(cursor.window)
        used = cursor.window * before.window_samples
        if cursor.batch:
            used = max(used, 1 + max(int(batch.samples.max()) for batch in plan[: cursor.batch]))
        return Cursor(-(-used // self.window_samples), 0)

    def window(self, number: int) -> list[GlobalBatch]:
        """The batches of a window in the order of training; the last one is cached."""
        if self._planned[0] != number:
            self._planned = (number, self._plan(number))
        return self._planned[1]

    def _plan(self, number: int) -> list[GlobalBatch]:
        # Window w holds the samples w*W, ..., (w+1)*W - 1 of the stream. It is a function of (seed, w) alone: no state
        # has to be saved, and neither accumulation nor the number of workers changes the order.
        samples = np.arange(number * self.window_samples, (number + 1) * self.window_samples, dtype=np.int64)
        indices = self.items(samples)
        lengths = self._lengths(indices)
        count = self._count(lengths)
        random = generator(self.seed, "window", number)
        # Sorting by length inside a window alone would give batches of one length, which teach less per step. So every
        # batch takes one chunk of each stratum of lengths, and which chunks meet is random.
        strata = []
        for stratum in np.split(np.argsort(lengths, kind="stable"), self._strata):
            chunks = np.split(stratum, self._cuts(lengths[stratum], count))
            strata.append([chunks[place] for place in random.permutation(count)])
        batches = []
        for together in zip(*strata, strict=True):
            chosen = np.concatenate(together)
            if len(chosen):
                cuts = _worthwhile([lengths[chunk] for chunk in together])
                batches.append(GlobalBatch(samples[chosen], indices[chosen], lengths[chosen], cuts))
        return batches

    def items(self, samples: Ints) -> Ints:
        """The item that each global sample index stands for."""
        # epoch = sample // n, item = Permutation(epoch)(sample mod n). A Feistel permutation computes any item on its
        # own: a shuffled table would take 8 bytes per sequence in every process, and a seek would redo the shuffle.
        epochs, positions = np.divmod(samples, self.n)
        items = np.empty_like(samples)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            items[chosen] = Permutation(self.n, self.seed, int(epoch))(positions[chosen])
        return items

    def _count(self, lengths: Ints) -> int:
        """Global batches in a window."""
        if self.batch_residues is None:
            return len(lengths) // self.batch_sequences
        return max(1, round(int(lengths.sum()) / self.batch_residues))

    def _cuts(self, lengths: Ints, count: int) -> Ints:
        """Where a sorted stratum is cut into `count` chunks: at equal numbers of sequences, or of residues."""
        if self.batch_residues is None:
            return np.arange(1, count) * (len(lengths) // count)
        # Chunk k of c ends where the cumulative residues reach k/c of the total.
        total = np.cumsum(lengths)
        cuts: Ints = np.searchsorted(total, np.arange(1, count) * (total[-1] / count)) + 1
        return np.minimum(cuts, len(lengths))

    def _lengths(self, indices: Ints) -> Ints:
        return np.minimum(lengths_of(self.source, indices), self.max_length).astype(np.int64)

    def _sequences_for(self, residues: int) -> int:
        """Number of sequences with about this many residues, estimated from a sample that depends on the seed only."""
        sample = Permutation(self.n, self.seed, 0)(np.arange(min(self.n, _SURVEY), dtype=np.int64))
        return max(1, round(residues / max(1.0, float(self._lengths(sample).mean()))))


def lengths_of(source: Sequences, indices: Ints) -> Ints:
    """Residues of the items at `indices`; the items are read only if the source has no lengths."""
    if (lengths_at := getattr(source, "lengths_at", None)) is not None:
        result = lengths_at(indices)
    elif (lengths := getattr(source, "lengths", None)) is not None:  # tried second: a store computes them all
        result = np.asarray(lengths)[indices]
    else:
        result = [len(source[int(i)]) for i in indices]
    return np.asarray(result, np.int64)


def length_counts(source: Sequences, survey: Ints) -> tuple[Ints, Ints]:
    """The lengths that occur, ascending, and how many sequences have each.

    They are those of all sequences if the source records them (a store does), else of the items in `survey`.
    """
    known = getattr(source, "length_counts", None)
    if known is not None:
        lengths, counts = known
        return np.asarray(lengths, np.int64), np.asarray(counts, np.int64)
    lengths, counts = np.unique(lengths_of(source, survey), return_counts=True)
    return lengths, counts.astype(np.int64)


def _worthwhile(chunks: list[Ints]) -> tuple[int, ...]:
    """The ends of chunks at which a batch is cut, from the sorted lengths in each chunk.

    A cut saves pads if the chunk before it is narrower than `_NARROWER` times the next one, and costs another pass.
    """
    lengths = np.concatenate(chunks)
    cuts: list[int] = []
    longest = lengths[-1]
    for end in reversed(np.cumsum([len(chunk) for chunk in chunks])[:-1].tolist()):
        if end and lengths[end - 1] < _NARROWER * longest:
            cuts.insert(0, end)
            longest = lengths[end - 1]
    return tuple(cuts)
