"""Batches in the order of the stream itself, whatever the lengths: for devices that pack sequences into one row."""

from __future__ import annotations

import numpy as np

from sedd.data.order import Batches, GlobalBatch, Ints


class RandomBatch(GlobalBatch):
    """A batch in random order, which is split into parts of nearly equal numbers of residues."""

    def split(self, most: int) -> list[GlobalBatch]:
        """At most so many parts: a cut is where the residues before it come closest to their share."""
        before = np.concatenate([[0], np.cumsum(self.lengths)])
        shares = np.arange(1, most) * (before[-1] / most)
        after = np.searchsorted(before, shares)  # the first cut that is not below the share
        cuts = after - (shares - before[after - 1] < before[after] - shares)
        return [part for part in self._cut(tuple(cuts.tolist())) if len(part)]


class RandomBatches(Batches):
    """The plan of an endless training stream whose batches are consecutive samples of it, without sorting by length.

    The stream is a random permutation in each epoch, so that the batches are plain random ones. Arguments are those of
    `Batches`; with `batch_residues`, no batch has more residues, unless a single sequence has.
    """

    def _plan(self, number: int) -> list[GlobalBatch]:
        samples = np.arange(number * self.window_samples, (number + 1) * self.window_samples, dtype=np.int64)
        indices = self.items(samples)
        lengths = self._lengths(indices)
        cuts = self._consecutive_cuts(lengths)
        columns = (np.split(column, cuts) for column in (samples, indices, lengths))
        return [RandomBatch(*part) for part in zip(*columns, strict=True)]

    def _consecutive_cuts(self, lengths: Ints) -> Ints:
        """Where a window is cut into batches, whose samples keep their order."""
        if self.batch_residues is None:
            return np.arange(self.batch_sequences, len(lengths), self.batch_sequences)
        # As many batches as the budget needs, each filled to the least capacity with which so many suffice: the last
        # one of a window would otherwise be a remnant.
        low, high = int(lengths.max()), max(self.batch_residues, int(lengths.max()))
        needed = len(filled(lengths, high))
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if len(filled(lengths, middle)) == needed else (middle + 1, high)
        return filled(lengths, low)


def filled(lengths: Ints, capacity: int) -> Ints:
    """Where samples are cut into parts of at most `capacity` residues, each filled before the next one begins."""
    ends, start = np.cumsum(lengths), 0
    cuts: list[int] = []
    while True:
        before = int(ends[start - 1]) if start else 0
        start = max(start + 1, int(np.searchsorted(ends, before + capacity, side="right")))
        if start >= len(lengths):
            return np.array(cuts, np.int64)
        cuts.append(start)
