"""The loss of a run at equal mask rates, from line to line: what remains of the loss when the curriculum is left out.

Two groups of lines are compared in the bins of mask rate that both have, weighted by v, the harmonic mean of their
corrupted residues, so that a bin which the curriculum has just opened counts for little:

    log ratio  =  log( sum of v P  /  sum of v P' ),        variance  =  c / sum of v

The constant c, the squared relative error of one corrupted residue, is measured from neighbouring lines of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.bayes import Measured
from sedd.diffusion.loss_profile import BINS
from sedd.runs.metrics import TrainRecord

Array = NDArray[np.float64]

MOST_BLOCKS = 300
"""Blocks into which the older lines of a long run are pooled, at most; an even number."""
FINE = 100
"""Last lines that are not pooled, at least."""
MIN_LINES = 8
"""Lines from which the error of one line can be measured."""
NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True, eq=False)
class Levels:
    """Lines of a run, pooled into consecutive blocks."""

    first: NDArray[np.int64]
    """(blocks,): optimizer step after which the block begins."""
    last: NDArray[np.int64]
    """(blocks,): last optimizer step of the block."""
    lines: NDArray[np.int64]
    """(blocks,): lines in the block."""
    loss: Array
    """(blocks, BINS): sum of the loss over residues, nats."""
    drawn: Array
    """(blocks, BINS): mask rate that was drawn, summed over residues."""
    corrupted: Array
    """(blocks, BINS): corrupted residues."""

    @staticmethod
    def of(lines: Sequence[TrainRecord]) -> Levels:
        """Pool lines; the last ones stay single."""
        pool = LinePool()
        for line in lines:
            pool.append(line)
        return pool.levels()

    def __len__(self) -> int:
        return len(self.last)

    @cached_property
    def _cumulative(self) -> tuple[Array, Array, Array]:
        """Each (blocks + 1, BINS): sums over the blocks before each block."""
        zero = np.zeros((1, self.loss.shape[1]))
        loss, drawn, corrupted = (
            np.concatenate([zero, array.cumsum(0)]) for array in (self.loss, self.drawn, self.corrupted)
        )
        return loss, drawn, corrupted

    def pooled(self, a: NDArray[np.int64] | int, b: NDArray[np.int64] | int) -> tuple[Array, Array]:
        """Loss per unit of mask rate and corrupted residues of blocks a to b (exclusive); each (..., BINS)."""
        loss, drawn, corrupted = (sums[b] - sums[a] for sums in self._cumulative)
        values = np.divide(loss, drawn, out=np.zeros_like(loss), where=drawn > 1e-12)
        return values, np.where(drawn > 1e-12, corrupted, 0.0)

    def log_ratio(self, now: tuple[Array, Array], before: tuple[Array, Array]) -> tuple[Array, Array]:
        """Log of the loss of `now` over that of `before` at equal mask rates, and sum of v; NaN where none is shared.

        Both are outputs of `pooled`, and are broadcast against each other.
        """
        (p, n), (p_before, n_before) = now, before
        total = n + n_before
        v = np.divide(n * n_before, total, out=np.zeros_like(total), where=total > 0)
        size = v.sum(-1)
        above, below = (v * p).sum(-1), (v * p_before).sum(-1)
        known = (size > 0) & (above > 0) & (below > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(known, np.log(above / below), np.nan), size

    def error(self, size: Array | float) -> Array:
        """Standard error of a log ratio whose sum of v is `size`; infinite while the noise is unknown."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.sqrt(self.noise / np.asarray(size, np.float64)))

    def noise_of_last(self, blocks: int) -> float:
        """The constant c, or that of the last blocks (at least `MIN_LINES`) if it is larger there."""
        recent = self.standardised[-max(blocks, MIN_LINES) :]
        recent = recent[np.isfinite(recent)]
        if len(recent) < MIN_LINES - 2:
            return self.noise
        middle = recent - np.median(recent)
        # A jump is one difference among many: the two largest are left out.
        kept = np.sort(middle**2)[:-2]
        return max(self.noise, float(kept.mean()))

    def change(self, now: tuple[int, int], before: tuple[int, int]) -> Measured:
        """Log ratio of the loss at equal mask rates between two ranges of blocks (b exclusive)."""
        ratio, size = self.log_ratio(self.pooled(*now), self.pooled(*before))
        return Measured(float(ratio), float(self.error(size)))

    @cached_property
    def standardised(self) -> Array:
        """(blocks - 1,): log ratio of each block to the one before, times sqrt(sum of v); NaN where none is shared."""
        values = self.pooled(np.arange(len(self)), np.arange(1, len(self) + 1))
        ratio, size = self.log_ratio((values[0][1:], values[1][1:]), (values[0][:-1], values[1][:-1]))
        return np.asarray(ratio * np.sqrt(size))

    @cached_property
    def noise(self) -> float:
        """The constant c; infinite while there are too few lines."""
        return variance_of(self.standardised) if len(self) >= MIN_LINES else math.inf

    def series(self, reference: tuple[int, int]) -> tuple[Array, Array]:
        """(blocks,): log loss of each block relative to blocks a to b at equal mask rates, and its standard error.

        The error of the reference, which all blocks share, is left out.
        """
        blocks = np.arange(len(self))
        ratio, size = self.log_ratio(self.pooled(blocks, blocks + 1), self.pooled(*reference))
        own = np.where(np.isfinite(ratio), np.minimum(size, self.corrupted.sum(1)), np.nan)
        return ratio, self.error(own)


def variance_of(values: Array) -> float:
    """Robust variance around the median; NaN are left out, infinite if fewer than six remain."""
    values = values[np.isfinite(values)]
    if len(values) < MIN_LINES - 2:
        return math.inf
    values = values - np.median(values)
    return float(max(NORMAL * np.median(np.abs(values)), 0.6 * values.std()) ** 2)


class LinePool:
    """Lines that are pooled as they come, so that a look costs the same however long the run is.

    The last `FINE` to 2 `FINE` lines stay single. Older ones are summed in blocks of equal size; when there are more
    than `MOST_BLOCKS` of them, neighbours are summed. The result depends on the order of the lines alone.
    """

    def __init__(self) -> None:
        self._size = 1  # lines in an old block
        self._old: list[_Block] = []
        self._fine: list[_Block] = []
        self._end = 0

    def append(self, line: TrainRecord) -> None:
        """Take in the next line."""
        sums = np.array([line.bins.loss, line.bins.drawn, line.bins.corrupted])
        self._fine.append(_Block(self._end, line.step, 1, sums))
        self._end = line.step
        if len(self._fine) == 2 * FINE:
            for block in self._fine[:FINE]:
                self._append_old(block)
            self._fine = self._fine[FINE:]

    def levels(self) -> Levels:
        """The blocks so far."""
        blocks = self._old + self._fine
        sums = np.array([block.sums for block in blocks]).reshape(len(blocks), 3, BINS)
        steps = np.array([(block.first, block.last, block.lines) for block in blocks], np.int64).reshape(-1, 3)
        return Levels(*steps.T, *(sums[:, i] for i in range(3)))

    def _append_old(self, block: _Block) -> None:
        if self._old and self._old[-1].lines < self._size:
            self._old[-1] = self._old[-1] + block
        else:
            self._old.append(block)
        if len(self._old) > MOST_BLOCKS:
            pairs = zip(self._old[:-1:2], self._old[1::2], strict=True)
            self._old = [*(a + b for a, b in pairs), *self._old[MOST_BLOCKS:]]
            self._size *= 2


@dataclass(frozen=True, eq=False)
class _Block:
    """Some consecutive lines."""

    first: int
    last: int
    lines: int
    sums: Array
    """(3, BINS): loss, drawn mask rate, corrupted residues."""

    def __add__(self, other: _Block) -> _Block:
        return _Block(self.first, other.last, self.lines + other.lines, self.sums + other.sums)
